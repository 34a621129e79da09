package broker

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// maxCiphertext is the base64 of the largest plaintext that an envelope has, with its box.
const maxCiphertext = (protocol.MaxPlaintext + crypto.Overhead + 2) / 3 * 4

// outgoing is one send on its way through the broker.
type outgoing struct {
	mesh      *mesh
	member    *member
	conn      *conn                      // that is answered; nil: answer is called
	answer    func(id string, err error) // with the message id
	row       messageRow
	to        []*address
	wraps     []string // beside to, group messages only
	side      bool     // of a kind that goes to the side queues
	body      int      // bytes of the rows' body
	ping      bool     // worth nothing later: taken only while somebody is there, and not kept
	entry     *sent
	number    uint64 // of entry
	id        clientID
	messageID [messageIDSize]byte
	start     time.Time
	reqID     string
	msg       queue.Message       // for the queue; its slices are used again
	done      func(uint64, error) // committed, bound once
}

// clientID is a copy of the sender's id, which outlives its frame.
type clientID struct {
	buf [64]byte
	n   uint8
}

func (c *clientID) set(id []byte) { c.n = uint8(copy(c.buf[:], id)) }

func (c *clientID) bytes() []byte { return c.buf[:c.n] }

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

// handleSend queues one message: decode, repeat?, may he, limits, commit, ack, wake. The ack comes when the message is on disk.
func (c *conn) handleSend(frame []byte) {
	v, err := protocol.SplitSend(frame)
	if err == nil {
		err = checkSend(&v)
	}
	if err == nil {
		err = c.send(&v)
	}
	if err != nil {
		c.ackRefused(string(v.ReqID), string(v.ID), err)
	}
}

// checkSend refuses what no broker state can make right.
func checkSend(v *protocol.SendView) error {
	switch {
	case !protocol.ValidClientID(string(v.ID)):
		return protocol.Refuse(protocol.CodeInvalid, "id is not 16 to 64 of 0-9, A-Z, a-z, _ and -")
	case len(v.Nonce) != nonceSize:
		return protocol.Refuse(protocol.CodeInvalid, "nonce is not 24 bytes")
	case len(v.Ciphertext) > maxCiphertext:
		return protocol.Refuse(protocol.CodePayloadTooLarge, "the sealed message is longer than %d bytes", maxCiphertext)
	case len(v.Ciphertext) == 0:
		return protocol.Refuse(protocol.CodeInvalid, "the sealed message is empty")
	}
	return nil
}

// send returns an error for a message that was not taken; otherwise the commit answers.
func (c *conn) send(v *protocol.SendView) error {
	m := c.mesh
	now := m.srv.now()
	m.mu.Lock()
	if s, ok := c.member.recent.repeat(v.ID); ok {
		differs := c.member.recent.differs(s, v)
		if !differs {
			c.repeatLocked(s, string(v.ReqID), string(v.ID))
		}
		m.mu.Unlock()
		if differs {
			return errOtherMessage()
		}
		return nil
	}
	o, err := c.acceptLocked(v, now)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	o.conn, o.reqID = c, string(v.ReqID)
	o.put(v, now)
	return nil
}

// repeatLocked answers a message that was accepted before as that was answered, now or when it is committed.
func (c *conn) repeatLocked(s *sent, reqID, id string) {
	c.srv.metrics.repeats.Inc()
	messageID := s.messageID
	answer := func(err error) {
		if err != nil {
			c.ackRefused(reqID, id, c.srv.storeError("queue message", err))
			return
		}
		c.ack([]byte(reqID), []byte(id), messageID[:])
	}
	if s.committed {
		answer(nil)
		return
	}
	c.member.recent.wait(s, answer)
}

func (c *conn) acceptLocked(v *protocol.SendView, now time.Time) (*outgoing, error) {
	sender, err := c.senderLocked(v)
	if err != nil {
		return nil, err
	}
	return c.mesh.acceptLocked(c.member, sender, c.receipts, v, now)
}

// acceptLocked checks to whom p writes, and how much, and remembers the client id. Sender is p's key that sealed it.
func (m *mesh) acceptLocked(p *member, sender crypto.PublicKey, receipts bool, v *protocol.SendView, now time.Time) (*outgoing, error) {
	if m.srv.draining.Load() {
		return nil, errDraining()
	}
	var err error
	o := outgoings.Get().(*outgoing)
	o.mesh, o.member, o.start = m, p, now
	silent := string(v.Kind) == protocol.KindReceipt || string(v.Kind) == protocol.KindLog // has no receipt of its own
	o.ping = string(v.Kind) == protocol.KindPing
	o.side = silent || o.ping
	if v.NumWraps() > 0 || many(v.TargetSpec) {
		err = o.groupLocked(m, v, now)
	} else {
		err = o.directLocked(m, v, now)
		if err == nil && !silent && !o.to[0].member.takesLocked(sender, p.key, protocol.GrantDirect) {
			err = errBlocked()
		}
	}
	if err == nil {
		err = p.takeToken()
	}
	if err == nil {
		o.row = messageRow{
			class: classOf(v.Priority), noReceipt: silent || !receipts, created: now.UnixMilli(), sender: sender, member: p.key,
			messageID: o.messageID[:], clientID: v.ID, target: v.TargetSpec,
			name: []byte(m.nameLocked(p)), sharer: m.sharerLocked(p),
		}
		o.body = nonceSize + len(v.Ciphertext)
		err = o.reserve(m)
	}
	if err != nil {
		o.recycle()
		return nil, err
	}
	o.remember(m, v)
	return o, nil
}

// remember enters the message into the sender's memory, for repeats and message_status.
func (o *outgoing) remember(m *mesh, v *protocol.SendView) {
	r := o.member.recent
	s := r.add(v.ID)
	s.print = printOf(v)
	protocol.AppendMessageID(s.messageID[:0], m.id, o.member.key, v.ID)
	if len(o.to) == 1 && len(o.wraps) == 0 && !many(v.TargetSpec) {
		s.to = o.to[0].key
	} else {
		b := r.more(s)
		b.target, b.recipients = string(v.TargetSpec), make([]recipientState, len(o.to))
		for i, a := range o.to {
			b.recipients[i].to = a.key
		}
	}
	o.entry, o.number, o.messageID = s, s.number, s.messageID
	o.id.set(v.ID)
}

// many tells whether a target is a group.
func many(target []byte) bool { return target[0] == '*' || target[0] == '@' }

// senderLocked is the key that the message is from: the connection's, or that of an ended session of the same member.
func (c *conn) senderLocked(v *protocol.SendView) (crypto.PublicKey, error) {
	if v.Sender == nil {
		return c.key, nil
	}
	var key crypto.PublicKey
	if _, err := hex.Decode(key[:], v.Sender); err != nil {
		return key, protocol.Refuse(protocol.CodeInvalid, "sender is not a key")
	}
	if key == c.key {
		return key, nil
	}
	if !c.control || c.member.sessions.get(key) == nil {
		return key, protocol.Refuse(protocol.CodeForbidden, "sender is no session of this member")
	}
	if _, gone := c.mesh.view.RevokedOf(c.member.key, key); gone {
		return key, protocol.Refuse(protocol.CodeRevoked, "the session key was revoked")
	}
	return key, nil
}

// directLocked finds the one recipient.
func (o *outgoing) directLocked(m *mesh, v *protocol.SendView, now time.Time) error {
	switch m.standingLocked(o.member, now) {
	case verified, invited:
	default:
		return protocol.Refuse(protocol.CodeNotMember, "this key is no member any more")
	}
	var key crypto.PublicKey
	if len(v.TargetSpec) != hex.EncodedLen(len(key)) {
		return protocol.Refuse(protocol.CodeInvalid, "a target is a key, * or @group")
	}
	if _, err := hex.Decode(key[:], v.TargetSpec); err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "a target is a key, * or @group")
	}
	a := m.addresses[key]
	if a == nil || !m.reachableLocked(a, now) {
		return protocol.Refuse(protocol.CodeUnknownRecipient, "nobody of the key %s is in this mesh", key.Short())
	}
	if o.ping && a.member.conns.get(key) == nil && a.member.conns.get(a.member.key) == nil {
		return protocol.Refuse(protocol.CodeUnavailable, "nobody of the key %s is connected", key.Short())
	}
	o.to = append(o.to, a)
	return nil
}

// groupLocked takes the wraps of verified members. Those for keys that were revoked since are left out.
func (o *outgoing) groupLocked(m *mesh, v *protocol.SendView, now time.Time) error {
	if m.standingLocked(o.member, now) != verified {
		return protocol.Refuse(protocol.CodeForbidden, "who was only invited may not write to groups")
	}
	if !validGroupTarget(string(v.TargetSpec)) {
		return protocol.Refuse(protocol.CodeInvalid, "a group target is * or @ and the name of a group")
	}
	if v.NumWraps() == 0 {
		return protocol.Refuse(protocol.CodeInvalid, "a group message needs a wrap for each recipient")
	}
	var key crypto.PublicKey
	for name, wrap := range v.Wraps() {
		if _, err := hex.Decode(key[:], name); err != nil || !m.view.Verified(key) {
			continue
		}
		o.to = append(o.to, m.memberLocked(key).address)
		o.wraps = append(o.wraps, string(wrap))
	}
	if len(o.to) == 0 {
		return protocol.Refuse(protocol.CodeUnknownRecipient, "none of the recipients is a member of this mesh")
	}
	return nil
}

func validGroupTarget(target string) bool {
	name, group := strings.CutPrefix(target, "@")
	return target == "*" || group && protocol.ValidGroup(name)
}

// reserve takes the room for the message in every recipient's queue. A group message is refused as a whole: its sender would
// not know whom to send it to again.
func (o *outgoing) reserve(m *mesh) error {
	for i, a := range o.to {
		size := o.size(i)
		n, waits := m.srv.queue.Depth(o.queueOf(a))
		var err error
		if n >= m.srv.limits.QueueMessages || waits+size > m.srv.limits.QueueBytes {
			err = errFull("the queue of %s is full: %d messages, %s", a.key.Short(), n, inBytes(waits))
		} else {
			err = m.reserve(a, o.row.sharer, o.side, size)
		}
		if err != nil {
			o.release(i)
			return err
		}
	}
	return nil
}

// release gives back the room of the first n rows, which do not come.
func (o *outgoing) release(n int) {
	for i, a := range o.to[:n] {
		o.mesh.release(a, o.row.sharer, o.side, o.size(i))
	}
}

// size is what the row for o.to[i] has, header and body.
func (o *outgoing) size(i int) int64 {
	n := o.row.size() + o.body
	if len(o.wraps) > 0 {
		n += len(o.wraps[i])
	}
	return int64(n)
}

// pingLife is how long a ping is worth pushing: who asked has gone by then.
const pingLife = 30 * time.Second

// queueFullRetry is long enough that a sender's retries do not matter, and short enough that he notices room.
const queueFullRetry = 30 * time.Second

func (o *outgoing) queueOf(a *address) queue.Recipient {
	if o.side {
		return a.side
	}
	return a.mail
}

// put hands the message to the queue.
func (o *outgoing) put(v *protocol.SendView, now time.Time) {
	s := o.mesh.srv
	life := s.limits.Retention
	if o.ping {
		life = pingLife
	}
	o.msg.Class, o.msg.Expires = o.row.class, now.Add(life).UnixMilli()
	n := o.body
	for i := range o.to {
		n += int(o.size(i)) - o.body
	}
	buf := make([]byte, 0, n)
	for i, a := range o.to {
		if len(o.wraps) > 0 {
			o.row.wrap = append(o.row.wrap[:0], o.wraps[i]...)
		}
		start := len(buf)
		buf = o.row.appendTo(buf)
		o.msg.To, o.msg.Headers = append(o.msg.To, o.queueOf(a)), append(o.msg.Headers, buf[start:len(buf):len(buf)])
	}
	o.row.wrap = nil
	start := len(buf)
	buf = append(append(buf, v.Nonce...), v.Ciphertext...)
	o.msg.Body = buf[start:]
	if len(o.to) == 1 {
		o.msg.Owned = buf
	}
	if o.done == nil {
		o.done = o.committed
	}
	s.queue.Put(o.msg, o.done)
}

// committed is called on the queue's committer when the message is on disk, or is not.
func (o *outgoing) committed(_ uint64, err error) {
	m := o.mesh
	m.mu.Lock()
	waiting := o.member.recent.settle(o.entry, o.number, err)
	m.mu.Unlock()
	if err != nil {
		o.release(len(o.to))
	}
	o.tell(err)
	if err == nil {
		m.srv.metrics.acceptedBy[o.row.class].Inc()
		m.srv.metrics.putTime.Observe(time.Since(o.start).Seconds())
	}
	for _, answer := range waiting {
		answer(err)
	}
	o.recycle()
}

// tell answers the sender.
func (o *outgoing) tell(err error) {
	c := o.conn
	switch {
	case c == nil:
		o.answer(string(o.messageID[:]), err)
	case err != nil:
		c.ackRefused(o.reqID, string(o.id.bytes()), c.srv.storeError("queue message", err))
	default:
		c.ack([]byte(o.reqID), o.id.bytes(), o.messageID[:])
	}
}

func (o *outgoing) recycle() {
	clear(o.to)
	clear(o.wraps)
	clear(o.msg.Headers)
	*o = outgoing{
		to: o.to[:0], wraps: o.wraps[:0], done: o.done, msg: queue.Message{To: o.msg.To[:0], Headers: o.msg.Headers[:0]},
	}
	outgoings.Put(o)
}

func (c *conn) ack(reqID, id, messageID []byte) {
	c.enqueue(func(dst []byte) []byte { return protocol.AppendAck(dst, reqID, id, messageID) })
}

// ackRefused answers a send that was not taken.
func (c *conn) ackRefused(reqID, id string, err error) {
	e := c.srv.refusal(err)
	c.log().Debug("message not queued", "id", id, "reason", e.Code, "text", e.Message)
	c.reply(protocol.Ack{
		Tag: protocol.Tag{Type: protocol.TypeAck, ReqID: reqID}, ID: id, Error: fmt.Sprintf("%s: %s", e.Code, e.Message), Code: e.Code,
		Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(),
	})
}

// takeToken takes one request of the member's.
func (p *member) takeToken() error {
	l := p.requests
	if l.Allow() {
		return nil
	}
	wait := time.Duration((1 - l.Tokens()) / float64(l.Limit()) * float64(time.Second))
	return protocol.Refuse(protocol.CodeRateLimit, "more than %d requests at once and %.0f a second", l.Burst(), float64(l.Limit())).
		RetryAfter(max(wait, time.Millisecond))
}
