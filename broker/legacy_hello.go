package broker

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Codes with which only original clients are refused, in the original's words.
const (
	codeMalformed      protocol.Code = "malformed"
	codeBadSession     protocol.Code = "bad_session_pubkey"
	codeBadParent      protocol.Code = "bad_parent_pubkey"
	codeAttestMismatch protocol.Code = "attestation_mismatch"
	codeTTLTooLong     protocol.Code = "ttl_too_long"
	codeParentMismatch protocol.Code = "parent_member_id_mismatch"
	codeBadArgument    protocol.Code = "invalid_argument"
	codeBadPrefix      protocol.Code = "ambiguous_prefix"
)

// legacyConn is what is different on a connection of an original client.
type legacyConn struct {
	slot    *slot // guarded by the mesh's mutex, except its fields id, kind, key and member
	kind    legacyKind
	busy    atomic.Bool // working or dnd: only what is urgent is pushed to those who do not acknowledge
	waiting []string    // ids of pushes whose ping was not answered, guarded by conn.mu

	// owned by the writer
	unacked []unconfirmed // pushes to a client that acknowledges, by when they are due again
	again   *time.Timer   // wakes the writer for the first of them
}

// helloMemory remembers signatures of accepted hellos while their timestamp is good, so that none works twice. What was signed
// before the process started is refused: that memory is gone.
type helloMemory struct {
	started int64 // Unix ms

	mu   sync.Mutex
	seen map[string]int64 // signature → forget at, Unix ms
}

func newHelloMemory(now time.Time) *helloMemory {
	return &helloMemory{started: now.UnixMilli(), seen: make(map[string]int64)}
}

// take reports whether the signature is new, and remembers it.
func (h *helloMemory) take(signature string, timestamp int64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s, until := range h.seen {
		if until < now.UnixMilli() {
			delete(h.seen, s)
		}
	}
	if _, again := h.seen[signature]; again {
		return false
	}
	h.seen[signature] = timestamp + protocol.ClockSkew.Milliseconds()
	return true
}

// legacyHello admits an original client, or says why not. The order of the checks is the original's.
func (c *conn) legacyHello(tag protocol.Tag, h *protocol.Hello) error {
	m := c.srv.mesh(protocol.MeshID(h.MeshID))
	if m == nil || !m.takesOriginals() {
		return protocol.Refuse(protocol.CodeLegacyOff, "this mesh takes signed hello statements only")
	}
	check := m.checkLegacyHello
	if tag.Type == protocol.TypeSessionHello {
		check = m.checkLegacySession
	}
	key, err := check(h)
	if err != nil {
		return err
	}
	return m.admitLegacy(c, tag, h, key)
}

func (m *mesh) takesOriginals() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view.Legacy()
}

func isKeyText(s string) bool {
	_, err := crypto.ParsePublicKey(s) // lower case only
	return err == nil
}

// checkLegacyHello checks a plain hello and returns the member key.
func (m *mesh) checkLegacyHello(h *protocol.Hello) (crypto.PublicKey, error) {
	if h.SessionPubkey != "" && !isKeyText(h.SessionPubkey) {
		return crypto.PublicKey{}, protocol.Refuse(codeBadSession, "sessionPubkey is not 64 lower-case hex digits")
	}
	if err := m.legacyCapacity(); err != nil {
		return crypto.PublicKey{}, err
	}
	err := m.checkLegacySignature(h, h.Pubkey, func() bool {
		return protocol.VerifyLegacyHello(h.MeshID, h.MemberID, h.Pubkey, h.Timestamp, h.Signature)
	})
	if err != nil {
		return crypto.PublicKey{}, err
	}
	key, _ := crypto.ParsePublicKey(h.Pubkey)
	if h.MemberID != protocol.MemberID(m.id, key) {
		return key, protocol.Refuse(protocol.CodeUnauthorized, "memberId is not that of this key")
	}
	return key, nil
}

// checkLegacySession checks a session_hello and returns the member key.
func (m *mesh) checkLegacySession(h *protocol.Hello) (crypto.PublicKey, error) {
	var none crypto.PublicKey
	if !isKeyText(h.SessionPubkey) {
		return none, protocol.Refuse(codeBadSession, "sessionPubkey is not 64 lower-case hex digits")
	}
	if !isKeyText(h.ParentMemberPubkey) {
		return none, protocol.Refuse(codeBadParent, "parentMemberPubkey is not 64 lower-case hex digits")
	}
	var att protocol.LegacyAttestation
	broken := json.Unmarshal(h.ParentAttestation, &att) != nil
	if att.Session != h.SessionPubkey || att.Member != h.ParentMemberPubkey {
		return none, protocol.Refuse(codeAttestMismatch, "the attestation is for other keys")
	}
	if err := m.legacyCapacity(); err != nil {
		return none, err
	}
	now := m.srv.now().UnixMilli()
	switch {
	case broken, att.Expires == 0:
		return none, protocol.Refuse(codeMalformed, "the attestation is not of its shape")
	case att.Expires <= now:
		return none, protocol.Refuse(protocol.CodeExpired, "the attestation is over")
	case att.Expires > now+protocol.LegacyAttestationLimit.Milliseconds():
		return none, protocol.Refuse(codeTTLTooLong, "the attestation lives longer than 24 hours")
	case len(att.Signature) != 2*crypto.SignatureSize:
		return none, protocol.Refuse(codeMalformed, "the attestation is not of its shape")
	case !att.Verify():
		return none, protocol.Refuse(protocol.CodeBadSignature, "the attestation is not signed by the member key")
	}
	err := m.checkLegacySignature(h, h.SessionPubkey, func() bool {
		return protocol.VerifyLegacySession(h.MeshID, h.ParentMemberPubkey, h.SessionPubkey, h.Timestamp, h.Signature)
	})
	key, _ := crypto.ParsePublicKey(h.ParentMemberPubkey)
	return key, err
}

func (m *mesh) legacyCapacity() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.conns) >= m.srv.limits.ConnsPerMesh {
		return protocol.Refuse(protocol.CodeCapacity, "the mesh has %d connections, the most that this broker allows",
			m.srv.limits.ConnsPerMesh).RetryAfter(capacityRetry)
	}
	return nil
}

// checkLegacySignature checks that the hello is of now, signed, and new.
func (m *mesh) checkLegacySignature(h *protocol.Hello, key string, verify func() bool) error {
	now := m.srv.now()
	switch {
	case now.Sub(time.UnixMilli(h.Timestamp)).Abs() > protocol.ClockSkew:
		return protocol.Refuse(protocol.CodeTimestamp, "your clock is off by more than a minute")
	case h.Timestamp < m.srv.hellos.started:
		return protocol.Refuse(protocol.CodeTimestamp, "signed before this broker started: sign again")
	case !isKeyText(key) || len(h.Signature) != 2*crypto.SignatureSize:
		return protocol.Refuse(codeMalformed, "the hello is not of its shape")
	case !verify():
		return protocol.Refuse(protocol.CodeBadSignature, "the hello is not signed by its key")
	case !m.srv.hellos.take(h.Signature, h.Timestamp, now):
		return protocol.Refuse(protocol.CodeBadSignature, "this hello was used before")
	}
	return nil
}

// legacyStandingLocked finds the member of a legacy hello, or says why there is none.
func (m *mesh) legacyStandingLocked(key crypto.PublicKey) (*member, error) {
	p := m.members[key]
	if _, gone := m.view.RevokedOf(key, key); gone {
		return nil, protocol.Refuse(protocol.CodeRevoked, "this key was removed from the mesh")
	}
	if p == nil {
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "this key is no member of the mesh")
	}
	switch m.standingLocked(p, m.srv.now()) {
	case legacy:
		return p, nil
	case verified:
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "this key has a certificate: it says hello with a signed statement")
	}
	return nil, protocol.Refuse(protocol.CodeUnauthorized, "this key is no member of the mesh")
}

// legacyKindOf tells which client says this hello.
func legacyKindOf(h *protocol.Hello) legacyKind {
	switch {
	case h.Type == protocol.TypeSessionHello:
		return legacySession
	case h.Channel == "":
		return legacyPlain
	case h.Channel == "claudemesh-daemon":
		return legacyDaemon
	case h.Channel == "claude-code":
		return legacyCommand
	}
	return legacyService
}

// admitLegacy enters the connection and answers it.
func (m *mesh) admitLegacy(c *conn, tag protocol.Tag, h *protocol.Hello, key crypto.PublicKey) error {
	m.mu.Lock()
	p, err := m.legacyStandingLocked(key)
	if err == nil && tag.Type == protocol.TypeSessionHello && h.ParentMemberID != "" && h.ParentMemberID != p.id {
		err = protocol.Refuse(codeParentMismatch, "parentMemberId is not that of this key")
	}
	var s *slot
	if err == nil {
		s, err = m.legacySlotLocked(p, h)
	}
	if err != nil {
		m.mu.Unlock()
		return err
	}
	fresh := s.kind == legacySession && m.noteLegacySessionLocked(p, s.key)
	m.enterLegacyLocked(c, p, s)
	ack := legacyHelloAck(tag, s, p.original)
	m.mu.Unlock()

	if fresh {
		if err := m.saveOriginal(p); err != nil {
			return err
		}
	}
	now := m.srv.now().UnixMilli()
	if err := m.srv.db.Commit(func(tx *store.Tx) error { return putSeen(tx, m.id, p.key, now) }); err != nil {
		return m.srv.storeError("save last seen", err)
	}
	c.ws.SetReadLimit(protocol.MaxFrame)
	c.heard()
	c.reply(ack)
	c.startPushes()
	if s.kind != legacyCommand {
		m.note(auditJoined, p.key, auditDetail{Key: c.key.String(), Label: s.kind.String()})
	}
	return nil
}

// legacySlotLocked returns the slot that the hello comes back to, or a new one. Only a proved session key and, within one
// member and kind, the session id bring it back.
func (m *mesh) legacySlotLocked(p *member, h *protocol.Hello) (*slot, error) {
	kind, key := legacyKindOf(h), p.key
	if h.SessionPubkey != "" {
		k, err := crypto.ParsePublicKey(h.SessionPubkey)
		if err != nil {
			return nil, protocol.Refuse(codeBadSession, "sessionPubkey is no key")
		}
		taken := kind != legacySession && slices.Contains(p.original.Sessions, k)
		switch {
		case !taken && m.legacyAddressLocked(p, k):
			key = k
		case kind == legacySession:
			return nil, protocol.Refuse(protocol.CodeUnauthorized, "the session key belongs to another member")
		}
	}
	s := &slot{id: protocol.MessageID(m.id, p.key, protocol.NewClientID()), member: p, kind: kind}
	for _, old := range p.original.slots {
		if old.kind == kind && (kind == legacySession && old.key == key || h.SessionID != "" && old.item.SessionID == h.SessionID) {
			s = old
		}
	}
	s.key, s.pid = key, h.PID
	name := plainWord(h.DisplayName, maxLegacyWord)
	if name == "" {
		name = p.original.Name
	}
	s.item = protocol.PeerItem{
		Pubkey: key.String(), MemberPubkey: p.key.String(), DisplayName: name, Status: protocol.StatusIdle,
		Groups: p.original.Groups, SessionID: plainWord(h.SessionID, maxLegacyWord), Cwd: plainWord(h.Cwd, maxLegacyPath),
		ConnectedAt: timeText(m.srv.now().UnixMilli()), PeerRole: kind.role(), Hostname: plainWord(h.Hostname, maxLegacyWord),
		PeerType: plainWord(h.PeerType, maxLegacyWord), Channel: plainWord(h.Channel, maxLegacyWord),
		Model: plainWord(h.Model, maxLegacyWord), Visible: !p.original.Hidden, Legacy: true,
	}
	if s.item.Groups == nil {
		s.item.Groups = []protocol.Group{}
	}
	return s, nil
}

// enterLegacyLocked puts the connection into the tables. The one that had the slot gives way to it.
func (m *mesh) enterLegacyLocked(c *conn, p *member, s *slot) {
	old, back := s.conn, p.original.slots[s.id] != nil
	if s.until != nil {
		s.until.Stop()
		s.until = nil
	}
	if old != nil {
		delete(m.conns, old)
		old.end(ending{code: websocket.CloseNormalClosure, text: "session_replaced", reason: endReplaced})
	}
	m.legacyOpened++
	s.conn, s.opened = c, m.legacyOpened
	c.mu.Lock()
	c.mesh, c.member, c.key, c.presence = m, p, s.key, s.id
	c.legacy = &legacyConn{slot: s, kind: s.kind}
	c.mu.Unlock()
	p.original.slots[s.id] = s
	m.conns[c] = struct{}{}
	p.lastSeen = m.srv.now().UnixMilli()
	m.srv.metrics.conns.WithLabelValues(kindHello).Dec()
	m.srv.metrics.conns.WithLabelValues(kindLegacy).Inc()
	c.log().Info("connected", "channel", s.item.Channel)
	m.legacyFeedsChangedLocked(p)
	m.legacyShownLocked(p, s.key)
	if !back && s.kind != legacyCommand {
		m.tellOriginalsLocked(eventJoined, s.item.DisplayName, s.key, p.key, s.item.Groups)
	}
}

// leftLegacy takes the ended connection of an original client out of the tables.
func (m *mesh) leftLegacy(c *conn, e ending) {
	m.srv.metrics.conns.WithLabelValues(kindLegacy).Dec()
	c.legacy.stopRedelivery()
	if m.endSlot(c, e) && c.legacy.kind != legacyCommand {
		m.note(auditLeft, c.member.key, auditDetail{Key: c.key.String(), Reason: e.reason})
	}
}

// endSlot ends or begins the lease of the slot that c had; it reports false when another connection has it now.
func (m *mesh) endSlot(c *conn, e ending) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, c)
	s, p := c.legacy.slot, c.member
	if s.conn != c {
		return false
	}
	s.conn = nil
	p.lastSeen = m.srv.now().UnixMilli()
	m.legacyFeedsChangedLocked(p)
	switch {
	case e.reason == endClient, e.reason == endRevoked, e.reason == endKicked, e.reason == endNotMember, s.kind == legacyCommand:
		m.dropSlotLocked(s)
	default:
		s.until = time.AfterFunc(c.leaseLeft(), func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if s.conn == nil {
				m.dropSlotLocked(s)
			}
		})
	}
	return true
}

// dropSlotLocked ends a presence.
func (m *mesh) dropSlotLocked(s *slot) {
	p := s.member
	if p.original.slots[s.id] != s {
		return
	}
	delete(p.original.slots, s.id)
	if s.key != p.key && !slices.Contains(p.original.Sessions, s.key) && !m.legacyLiveLocked(p, s.key) {
		delete(m.addresses, s.key) // never proved: nobody else could come back for its mail
	}
	m.legacyShownLocked(p, s.key)
	m.personChangedLocked(p.key)
	if s.kind != legacyCommand {
		m.tellOriginalsLocked(eventLeft, s.item.DisplayName, s.key, p.key, nil)
	}
}

// legacyShownLocked brings what our daemons see of key in line with the slots that have it.
func (m *mesh) legacyShownLocked(p *member, key crypto.PublicKey) {
	var newest *slot
	for _, s := range p.original.slots {
		if s.key == key && s.kind != legacyCommand && (newest == nil || s.opened > newest.opened) {
			newest = s
		}
	}
	if newest == nil {
		if m.presences[key] != nil {
			delete(m.presences, key)
			m.presenceChangedLocked(key)
		}
		return
	}
	if m.presences[key] == nil {
		m.personChangedLocked(p.key)
	}
	m.presences[key] = &presence{slot: newest}
	m.presenceChangedLocked(key)
}

func (m *mesh) stopLegacyLeasesLocked() {
	for _, p := range m.members {
		if p.original == nil {
			continue
		}
		for _, s := range p.original.slots {
			if s.until != nil {
				s.until.Stop()
			}
		}
	}
}
