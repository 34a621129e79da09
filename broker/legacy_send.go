package broker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// legacySend is a send of an original client: a box to one key, or clear text to many.
type legacySend struct {
	ID          string  `json:"id"`
	ClientID    string  `json:"client_message_id"`
	Target      string  `json:"targetSpec"`
	Priority    string  `json:"priority"`
	Nonce       *string `json:"nonce"`
	Ciphertext  *string `json:"ciphertext"`
	Fingerprint string  `json:"request_fingerprint"`
}

func (c *conn) handleLegacySend(frame []byte) {
	var s legacySend
	err := error(nil)
	if json.Unmarshal(frame, &s) != nil {
		err = protocol.Refuse(protocol.CodeInvalid, "send is not of its shape")
	}
	if err == nil {
		err = s.check()
	}
	if err == nil {
		err = c.legacySend(&s)
	}
	if err != nil {
		c.legacyRefused(s.ID, err)
	}
}

// check refuses what no broker state can make right.
func (s *legacySend) check() error {
	switch {
	case s.Nonce == nil || s.Ciphertext == nil || s.Target == "":
		return protocol.Refuse(protocol.CodeInvalid, "send needs targetSpec, nonce and ciphertext")
	case !protocol.ValidPriority(s.Priority):
		return protocol.Refuse(protocol.CodeInvalid, "priority is now, next or low")
	case len(*s.Ciphertext)+len(*s.Nonce)+len(s.Target) > maxLegacyPayload:
		return protocol.Refuse(protocol.CodePayloadTooLarge, "payload too large: %d bytes > MAX_MESSAGE_BYTES=%d",
			len(*s.Ciphertext)+len(*s.Nonce)+len(s.Target), maxLegacyPayload)
	case strings.HasPrefix(s.Target, "#"):
		return protocol.Refuse(protocol.CodeInvalid, "this broker has no topics for original clients")
	case s.many() && *s.Nonce == "": // as connectors send it
		*s.Nonce = base64.StdEncoding.EncodeToString(crypto.RandomBytes(crypto.NonceSize))
	}
	if !validNonce([]byte(*s.Nonce)) || !validBase64([]byte(*s.Ciphertext)) {
		return protocol.Refuse(protocol.CodeInvalid, "nonce and ciphertext are base64, the nonce of 24 bytes")
	}
	return nil
}

func (s *legacySend) many() bool { return s.Target[0] == '*' || s.Target[0] == '@' }

// clientID is the id under which a repeat is known: only what the client calls its message id counts as one.
func (s *legacySend) clientID() string {
	switch {
	case s.ClientID == "":
		return protocol.NewClientID()
	case protocol.ValidClientID(s.ClientID):
		return s.ClientID
	}
	h := crypto.Hash([]byte(s.ClientID))
	return base64.RawURLEncoding.EncodeToString(h[:])
}

func (c *conn) legacySend(s *legacySend) error {
	m, id := c.mesh, s.clientID()
	now := m.srv.now()
	m.mu.Lock()
	if old, ok := c.member.recent.get([]byte(id)); ok {
		defer m.mu.Unlock()
		return c.legacyRepeatLocked(s, old)
	}
	o, err := c.acceptLegacyLocked(s, id, now)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if len(o.to) == 0 { // nobody is there to hear it, which is no error to the original
		o.committed(0, nil)
		return nil
	}
	o.put(&protocol.SendView{Nonce: []byte(*s.Nonce), Ciphertext: []byte(*s.Ciphertext)}, now)
	return nil
}

// legacyRepeatLocked answers a message that came before as that was answered.
func (c *conn) legacyRepeatLocked(s *legacySend, old *sent) error {
	if c.member.original.usedFor(c.member.recent.clientID(old), s.Fingerprint) {
		return protocol.Refuse(protocol.CodeInvalid, "idempotency key reused")
	}
	c.srv.metrics.repeats.Inc()
	answer := c.legacyAnswer(s.ID, old.messageID)
	if old.committed {
		answer(nil)
	} else {
		c.member.recent.wait(old, answer)
	}
	return nil
}

// legacyAnswer is what the sender hears when the message is on disk, or is not.
func (c *conn) legacyAnswer(id string, messageID [messageIDSize]byte) func(error) {
	return func(err error) {
		if err != nil {
			c.legacyRefused(id, c.srv.storeError("queue message", err))
			return
		}
		c.reply(legacyAck{Tag: protocol.Tag{Type: protocol.TypeAck}, ID: id, MessageID: string(messageID[:]), Queued: true})
	}
}

func (c *conn) acceptLegacyLocked(s *legacySend, id string, now time.Time) (*outgoing, error) {
	m, p := c.mesh, c.member
	if m.srv.draining.Load() {
		return nil, errDraining()
	}
	if err := c.member.takeToken(); err != nil {
		return nil, err
	}
	o := outgoings.Get().(*outgoing)
	o.mesh, o.member, o.start = m, p, time.Now()
	target := s.Target
	var err error
	if s.many() {
		if target == "@all" {
			target = "*"
		}
		err = o.legacyAudienceLocked(m, target, now)
	} else {
		err = o.legacyDirectLocked(c, target, now)
	}
	if err == nil {
		err = o.roomFor(m.srv, len(*s.Ciphertext))
	}
	if err != nil {
		o.recycle()
		return nil, err
	}
	o.remember(m, &protocol.SendView{ID: []byte(id), TargetSpec: []byte(target)})
	p.original.notePrint(id, s.Fingerprint, m.srv.limits.Dedupe)
	answer := c.legacyAnswer(s.ID, o.messageID)
	o.answer = func(_ string, err error) { answer(err) }
	o.row = messageRow{
		class: classOf([]byte(s.Priority)), noReceipt: true, created: now.UnixMilli(), sender: c.key, member: p.key,
		messageID: o.messageID[:], clientID: []byte(id), target: []byte(target), name: []byte(c.legacy.slot.item.DisplayName),
	}
	return o, nil
}

// legacyDirectLocked finds the one recipient.
func (o *outgoing) legacyDirectLocked(c *conn, target string, now time.Time) error {
	m := c.mesh
	key, err := crypto.ParsePublicKey(target)
	if err != nil {
		return protocol.Refuse(protocol.CodeNotFound, "unknown target: a key of 64 lower-case hex digits, * or @group is wanted")
	}
	if key == c.key {
		return protocol.Refuse(protocol.CodeInvalid, "invalid target: it is your own key")
	}
	a := m.addresses[key]
	if a == nil || a.api != nil || !m.reachableLocked(a, now) {
		return protocol.Refuse(protocol.CodeNotFound, "unknown target: nobody of the key %s is in this mesh", key.Short())
	}
	if !a.member.takesLocked(c.key, c.member.key, protocol.GrantDirect) {
		return protocol.Refuse(protocol.CodeForbidden, "blocked by recipient grants (sender lacks dm capability)")
	}
	o.to = append(o.to, a)
	return nil
}

// legacyAudienceLocked finds who hears clear text: everybody else who is in, or is in the group, by member; hidden ones do not, nor
// those who take none from the sender.
func (o *outgoing) legacyAudienceLocked(m *mesh, target string, now time.Time) error {
	if !validGroupTarget(target) {
		return protocol.Refuse(protocol.CodeInvalid, "invalid target: a group is named by lower-case letters, digits and . _ / -")
	}
	group := strings.TrimPrefix(target, "@")
	for key, p := range m.members {
		if key == o.member.key {
			continue
		}
		switch m.standingLocked(p, now) {
		case verified:
			if (target == "*" || p.inGroup(group)) && p.takesLocked(o.member.key, o.member.key, protocol.GrantGroup) {
				o.to = append(o.to, p.address)
			}
		case legacy:
			if !p.original.Hidden && (target == "*" || hasGroup(p.original.Groups, group)) {
				o.to = append(o.to, p.address)
			}
		}
	}
	return nil
}

func hasGroup(groups []protocol.Group, name string) bool {
	return slices.ContainsFunc(groups, func(g protocol.Group) bool { return g.Name == name })
}

// inGroup reports whether a session of p says that it is in the group.
func (p *member) inGroup(name string) bool {
	for _, st := range p.sessions.all() {
		if slices.Contains(st.Body.(*protocol.Session).Groups, name) {
			return true
		}
	}
	return false
}

// legacyRefused answers a send that was not taken: with an error, of which 0.1.4 and the SDK show code and text, then with an
// ack, whose text the others read. 1.37 tries again unless it finds one of its words in the text; those words stand in refusals that are final, and
// in no other.
func (c *conn) legacyRefused(id string, err error) {
	e := c.srv.refusal(err)
	c.log().Debug("not queued", "id", id, "reason", e.Code, "text", e.Message)
	text := fmt.Sprintf("%s: %s", e.Code, e.Message)
	switch e.Code {
	case protocol.CodeRateLimit, protocol.CodeQueueFull, protocol.CodeDraining, protocol.CodeStoreFull, protocol.CodeStoreFailed:
		text = string(e.Code) + ": try again later"
	case protocol.CodePayloadTooLarge:
		text = e.Message + " (payload_too_large, invalid)"
	case protocol.CodeNotFound:
		text = "target_not_found: " + e.Message
	}
	c.reply(protocol.ErrorFrame{
		Tag: protocol.Tag{Type: protocol.TypeError}, ID: id, Code: e.Code, Message: e.Message, Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(),
	})
	c.reply(legacyAck{Tag: protocol.Tag{Type: protocol.TypeAck}, ID: id, Error: text})
}

// confirmAfter asks, by a ping behind the push, whether the client has read it: those who do not acknowledge would get it
// twice otherwise. Only the writer calls it.
func (c *conn) confirmAfter(id string) {
	c.mu.Lock()
	c.legacy.waiting = append(c.legacy.waiting, id)
	c.mu.Unlock()
	c.ws.WriteControl(websocket.PingMessage, []byte(id), time.Time{})
}

// confirmed takes the pong that answers the ping behind a push: that push was read, and all before it.
func (c *conn) confirmed(id string) {
	c.mu.Lock()
	i := slices.Index(c.legacy.waiting, id)
	ids := slices.Clone(c.legacy.waiting[:i+1])
	c.legacy.waiting = slices.Delete(c.legacy.waiting, 0, i+1)
	c.mu.Unlock()
	for _, read := range ids {
		if err := c.clientAck(&protocol.ClientAckView{BrokerMessageID: []byte(read)}); err != nil {
			c.log().Warn("a push was not acknowledged", "msg", read, "err", err)
		}
	}
}
