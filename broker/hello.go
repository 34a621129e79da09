package broker

import (
	"crypto/subtle"
	"encoding/json"
	"slices"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// A connection opens in four frames:
//
//	client                              broker
//	hello_challenge {meshId}      →
//	                              ←     challenge {nonce}
//	hello {auth, session}         →     auth: this nonce, this host, now, this mesh and key; session: newest of the key
//	                              ←     hello_ack {logCursor}, or error and close

// handleChallenge makes a nonce for the next hello or op of this connection; an unused one is void.
func (c *conn) handleChallenge(tag protocol.Tag) {
	c.nonce = (*[32]byte)(crypto.RandomBytes(32))
	c.reply(protocol.Challenge{
		Tag:   protocol.Tag{Type: protocol.TypeChallenge, ReqID: tag.ReqID},
		Nonce: crypto.PublicKey(*c.nonce).String(), ProtocolVersion: protocol.Version, Capabilities: capabilities(),
		Time: c.srv.now().UnixMilli(),
	})
}

// takeNonce reports whether n is the nonce of this connection, and makes it void.
func (c *conn) takeNonce(n [32]byte) bool {
	own := c.nonce
	c.nonce = nil
	return own != nil && subtle.ConstantTimeCompare(own[:], n[:]) == 1
}

// handleHello admits the connection or ends it.
func (c *conn) handleHello(tag protocol.Tag, frame []byte) {
	err := c.hello(tag, frame)
	if err == nil {
		return
	}
	e := c.srv.refusal(err)
	c.log().Info("hello refused", "reason", e.Code, "text", e.Message)
	c.reply(protocol.ErrorFrame{
		Tag: protocol.Tag{Type: protocol.TypeError, ReqID: tag.ReqID}, Code: e.Code, Message: e.Message,
		Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(),
	})
	end := ending{code: websocket.ClosePolicyViolation, text: string(e.Code), reason: endHelloRefused}
	if e.Code == protocol.CodeRevoked {
		end.code, end.text = protocol.CloseBanned, "banned"
	}
	c.end(end)
}

// errOriginal refuses a client of the original claudemesh. Such a client signs a timestamp, not a statement, and cannot seal what it
// sends to many.
func errOriginal() error {
	return protocol.Refuse(protocol.CodeNotSupported,
		"this is a client of the original claudemesh, and this broker does not serve those: install this claudemesh and ask for a new link")
}

func (c *conn) hello(tag protocol.Tag, frame []byte) error {
	var h protocol.Hello
	if err := json.Unmarshal(frame, &h); err != nil {
		return protocol.Refuse(protocol.CodeBadFrame, "hello is not of its shape")
	}
	if h.Auth == "" && h.Signature != "" {
		return errOriginal()
	}
	m := c.srv.mesh(protocol.MeshID(h.MeshID))
	if m == nil {
		return protocol.Refuse(protocol.CodeNotMember, "this key is no member of that mesh")
	}
	auth, err := c.checkAuth(m, h, tag.Type == protocol.TypeHello)
	if err != nil {
		return err
	}
	session, err := checkSession(m, auth, h.Session)
	if err != nil {
		return err
	}
	return m.admit(c, tag, h, auth, session)
}

// checkAuth verifies the hello statement: who is there, and that he is there now and talks to us.
func (c *conn) checkAuth(m *mesh, h protocol.Hello, control bool) (*protocol.HelloAuth, error) {
	st, err := protocol.ParseTextIn(m.id, h.Auth)
	if err != nil {
		return nil, err
	}
	auth, ok := st.Body.(*protocol.HelloAuth)
	if !ok {
		return nil, protocol.Refuse(protocol.CodeBadStatement, "auth is no hello statement")
	}
	if !c.takeNonce(auth.Nonce) {
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "the hello does not answer this connection's challenge")
	}
	if !c.ownHost(auth.Host) {
		return nil, protocol.Refuse(protocol.CodeUnauthorized, "the hello is for another broker, %s", auth.Host)
	}
	if d := c.srv.now().Sub(protocol.TimeOf(auth.At)); d.Abs() > protocol.ClockSkew {
		return nil, protocol.Refuse(protocol.CodeTimestamp, "your clock is off by %s", d.Abs().Round(time.Second))
	}
	if control != auth.Session.IsZero() {
		return nil, protocol.Refuse(protocol.CodeInvalid, "hello is for the member key, session_hello for a session key")
	}
	return auth, nil
}

// ownHost tells whether a hello may name the broker so.
func (c *conn) ownHost(host string) bool {
	public := c.srv.cfg.publicHost()
	return host == c.host || public != "" && host == public
}

// checkSession verifies the session statement that comes with a hello: by the same member, for the connecting key.
func checkSession(m *mesh, auth *protocol.HelloAuth, text string) (*protocol.Statement, error) {
	st, err := protocol.ParseTextIn(m.id, text)
	if err != nil {
		return nil, err
	}
	s, ok := st.Body.(*protocol.Session)
	if !ok {
		return nil, protocol.Refuse(protocol.CodeBadStatement, "session is no session statement")
	}
	key := auth.Session
	if key.IsZero() {
		key = auth.Member
	}
	if s.Member != auth.Member || s.Session != key {
		return nil, protocol.Refuse(protocol.CodeForeign, "the session statement is not for this mesh, member and key")
	}
	return st, nil
}

// admit enters the connection into the tables of its mesh and answers it.
func (m *mesh) admit(c *conn, tag protocol.Tag, h protocol.Hello, auth *protocol.HelloAuth, session *protocol.Statement) error {
	now := m.srv.now()
	s := session.Body.(*protocol.Session)
	m.mu.Lock()
	if err := m.mayEnterLocked(auth, session, now); err != nil {
		m.mu.Unlock()
		return err
	}
	p := m.memberLocked(s.Member)
	fresh := m.noteSessionLocked(session)
	gone := m.forgetSessionsLocked(p, s.Session)
	m.enterLocked(c, p, s.Session, auth, h, session)
	cursor := uint64(len(m.log))
	name := m.nameLocked(p)
	m.mu.Unlock()

	if err := m.saveSession(p.key, session, fresh, gone, now); err != nil {
		return m.srv.storeError("save session", err)
	}
	c.ws.SetReadLimit(protocol.MaxFrame)
	c.heard()
	c.reply(protocol.HelloAck{
		Tag: protocol.Tag{Type: protocol.TypeHelloAck, ReqID: tag.ReqID}, PresenceID: c.presence, MemberDisplayName: name,
		ProtocolVersion: protocol.Version, Capabilities: capabilities(), LogCursor: cursor, RetentionDays: m.srv.limits.retentionDays(),
	})
	c.startPushes()
	m.giveUp(gone, dropForgotten, "the session ended, and newer ones took its place")
	m.note(auditJoined, p.key, auditDetail{Key: s.Session.String(), Label: s.Label})
	return nil
}

// mayEnterLocked tells why the key may not connect, or nil.
func (m *mesh) mayEnterLocked(auth *protocol.HelloAuth, session *protocol.Statement, now time.Time) error {
	key := session.Body.(*protocol.Session).Session
	p, known := m.members[auth.Member]
	if err := m.view.CheckSession(session, known && m.standingLocked(p, now) == invited, now); err != nil {
		return err
	}
	p = m.memberLocked(auth.Member) // the view knows him, also if the tables had forgotten him
	if !m.ownsLocked(p, key) {
		return protocol.Refuse(protocol.CodeForbidden, "the session key belongs to another member")
	}
	for _, other := range p.conns.all() {
		if other.instance != auth.Instance && !other.givesWay(auth) {
			return protocol.Refuse(protocol.CodeCloned, "the same member is connected from another machine or a copy of this one").
				WithHint("claudemesh daemon accept-host, if the other is gone for good")
		}
	}
	if p.conns.get(key) != nil { // it takes the place of that one
		return nil
	}
	return m.roomLocked(p, key)
}

// enterLocked puts the connection into the tables. One of the same key gives way to it.
func (m *mesh) enterLocked(c *conn, p *member, key crypto.PublicKey, auth *protocol.HelloAuth, h protocol.Hello, session *protocol.Statement) {
	m.displaceLocked(p, auth)
	old := p.conns.get(key)
	if old != nil {
		delete(m.conns, old)
		old.end(ending{code: websocket.CloseNormalClosure, text: "session_replaced", reason: endReplaced})
	}
	kind := kindSession
	if auth.Session.IsZero() {
		kind = kindControl
	}
	c.mu.Lock()
	c.mesh, c.member, c.key, c.control, c.instance, c.atHome = m, p, key, kind == kindControl, auth.Instance, atHome(auth)
	c.receipts = slices.Contains(h.Capabilities, protocol.CapReceipts)
	c.presence = crypto.PublicKey(crypto.RandomBytes(32)).Short()
	c.told = readTo{uint64(len(m.log)), m.presenceNews.count, m.peopleNews.count}
	c.mu.Unlock()
	p.conns.set(key, c)
	m.conns[c] = struct{}{}
	p.lastSeen = m.srv.now().UnixMilli()
	m.srv.metrics.conns.WithLabelValues(kindHello).Dec()
	m.srv.metrics.conns.WithLabelValues(kind).Inc()
	c.log().Info("connected")
	m.appearLocked(c, h, session)
	m.feedsChangedLocked(p)
}

// feedsChangedLocked has the control connection of p look again at which sessions it drains.
func (m *mesh) feedsChangedLocked(p *member) {
	if c := p.conns.get(p.key); c != nil {
		c.restale()
	}
}

// saveSession writes what a hello changes.
func (m *mesh) saveSession(key crypto.PublicKey, session *protocol.Statement, fresh bool, gone []*address, now time.Time) error {
	return m.srv.db.Commit(func(tx *store.Tx) error {
		if err := deleteSessions(tx, m.id, gone); err != nil {
			return err
		}
		if fresh {
			s := session.Body.(*protocol.Session)
			if err := tx.Put(bucketSessions, memberKey(m.id, s.Session), session.Raw()); err != nil {
				return err
			}
		}
		return putSeen(tx, m.id, key, now.UnixMilli())
	})
}

// left takes an ended connection out of the tables.
func (m *mesh) left(c *conn, e ending) {
	kind := kindSession
	if c.control {
		kind = kindControl
	}
	m.srv.metrics.conns.WithLabelValues(kind).Dec()
	now := m.srv.now().UnixMilli()
	m.mu.Lock()
	delete(m.conns, c)
	last := c.member.conns.get(c.key) == c
	if last {
		c.member.conns.remove(c.key)
		c.member.lastSeen = now
		m.disappearLocked(c, e)
		m.feedsChangedLocked(c.member)
	}
	m.mu.Unlock()
	if !last {
		return
	}
	m.note(auditLeft, c.member.key, auditDetail{Key: c.key.String(), Reason: e.reason})
	if m.gone.Load() {
		return
	}
	err := m.srv.db.Commit(func(tx *store.Tx) error { return putSeen(tx, m.id, c.member.key, now) })
	if err != nil {
		c.log().Warn("last seen not saved", "err", err)
	}
}
