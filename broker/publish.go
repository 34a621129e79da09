package broker

import (
	"encoding/json"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// handlePublish takes statements that are in force into the log, or says for each why not.
func (c *conn) handlePublish(tag protocol.Tag, frame []byte) error {
	var f protocol.Publish
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	if len(f.Statements) > protocol.MaxMeshLog {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "more than %d statements in one frame", protocol.MaxMeshLog)
	}
	answer := protocol.Published{Tag: protocol.Tag{Type: protocol.TypePublished, ReqID: tag.ReqID}, Accepted: []string{}}
	var offered []*protocol.Statement
	for _, text := range f.Statements {
		st, err := protocol.ParseTextIn(c.mesh.id, text)
		if err == nil {
			err = c.mayPublish(st)
		}
		if err != nil {
			answer.Refused = append(answer.Refused, c.refusedStatement(st, err))
			continue
		}
		offered = append(offered, st)
	}
	refused, err := c.mesh.publish(offered)
	if err != nil {
		return err
	}
	for _, st := range offered {
		if err := refused[st.ID]; err != nil {
			answer.Refused = append(answer.Refused, c.refusedStatement(st, err))
		} else {
			answer.Accepted = append(answer.Accepted, st.ID.String())
		}
	}
	c.reply(answer) // before the end: who leaves hears that it was taken
	c.mesh.expel()
	return nil
}

// mayPublish tells which kinds may come this way. Whether they count is for the view.
func (c *conn) mayPublish(st *protocol.Statement) error {
	if st.Forgotten(c.srv.now()) {
		return protocol.Refuse(protocol.CodeExpired, "the link that it closes has expired long ago")
	}
	if err := st.CheckDate(c.srv.now()); err != nil {
		return err
	}
	switch b := st.Body.(type) {
	case *protocol.Charter, *protocol.OwnerChange, *protocol.Cert, *protocol.Revoke:
		return nil
	case *protocol.Session:
		if b.Member != c.member.key {
			return protocol.Refuse(protocol.CodeForbidden, "a session statement is published by its own member")
		}
		return st.InTime(c.srv.now())
	}
	return protocol.Refuse(protocol.CodeInvalid, "a statement of kind %s is not published", st.Kind)
}

func (c *conn) refusedStatement(st *protocol.Statement, err error) protocol.RefusedStatement {
	e := c.srv.refusal(err)
	r := protocol.RefusedStatement{Code: e.Code, Message: e.Message}
	if st != nil {
		r.ID = st.ID.String()
	}
	c.log().Info("statement refused", "id", r.ID, "reason", e.Code, "text", e.Message)
	return r
}

// publish adds the statements to the log, commits, and tells the mesh. The map says which were refused; an error means that
// nothing was kept. What is offered is judged together: a certificate may come with that of its issuer.
func (m *mesh) publish(offered []*protocol.Statement) (map[protocol.ID]error, error) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	refused := make(map[protocol.ID]error)
	var sessions, log []*protocol.Statement
	for _, st := range offered {
		if _, ok := st.Body.(*protocol.Session); ok {
			sessions = append(sessions, st)
		} else {
			log = append(log, st)
		}
	}
	next := m.set.Clone()
	added, errs := next.AddInForce(log...)
	for i, err := range errs {
		if err != nil {
			refused[log[i].ID] = err
		}
	}
	m.mu.Lock()
	sessions = m.newSessionsLocked(sessions, refused)
	first := uint64(len(m.log)) + 1
	m.mu.Unlock()
	if len(added)+len(sessions) == 0 {
		return refused, nil
	}
	err := m.srv.db.Commit(func(tx *store.Tx) error {
		for _, st := range sessions {
			if err := tx.Put(bucketSessions, memberKey(m.id, st.Body.(*protocol.Session).Session), st.Raw()); err != nil {
				return err
			}
		}
		return putStatements(tx, m.id, first, added)
	})
	if err != nil {
		return nil, m.srv.storeError("save statements", err)
	}
	m.mu.Lock()
	m.set = next
	gone := m.appliedLocked(added, sessions)
	m.mu.Unlock()
	m.noteStatements(added)
	return refused, m.forgetSessions(gone)
}

// newSessionsLocked returns those that are newer than what is known of their key. Of one member it takes as many at once as he
// may have.
func (m *mesh) newSessionsLocked(offered []*protocol.Statement, refused map[protocol.ID]error) []*protocol.Statement {
	var fresh []*protocol.Statement
	count := make(map[crypto.PublicKey]int)
	for _, st := range offered {
		s := st.Body.(*protocol.Session)
		p := m.memberLocked(s.Member)
		if !m.ownsLocked(p, s.Session) {
			refused[st.ID] = protocol.Refuse(protocol.CodeForbidden, "the session key belongs to another member")
			continue
		}
		if !m.newerSession(st, p.sessions.get(s.Session)) {
			continue
		}
		if count[s.Member]++; count[s.Member] > m.srv.limits.MaxSessions {
			refused[st.ID] = protocol.Refuse(protocol.CodeCapacity, "a member has at most %d session keys at this broker", m.srv.limits.MaxSessions)
			continue
		}
		fresh = append(fresh, st)
	}
	return fresh
}

// appliedLocked makes committed statements visible: the view, the log of every control connection, the members concerned.
// Those who are out are for expel. It returns the session keys that gave way.
func (m *mesh) appliedLocked(log, sessions []*protocol.Statement) (gone []*address) {
	concerned := make(map[crypto.PublicKey]bool)
	for _, st := range sessions {
		if m.noteSessionLocked(st) {
			member := st.Body.(*protocol.Session).Member
			concerned[member] = true
			m.feedsChangedLocked(m.memberLocked(member)) // what waits for a key that never connected itself comes over the control connection
		}
	}
	m.log = append(m.log, log...)
	if len(log) > 0 {
		m.refreshLocked(log)
		m.newsLocked()
	}
	for _, st := range log {
		switch b := st.Body.(type) {
		case *protocol.Cert:
			concerned[b.Member] = true
		case *protocol.Revoke:
			if a := m.addresses[b.Target]; a != nil {
				concerned[a.member.key] = true
			}
		}
	}
	for key := range concerned {
		if p := m.members[key]; p != nil {
			gone = append(gone, m.forgetSessionsLocked(p, crypto.PublicKey{})...)
		}
		m.personChangedLocked(key)
		m.renameLocked(key)
	}
	return gone
}

// renameLocked brings the name of a member into his presences.
func (m *mesh) renameLocked(key crypto.PublicKey) {
	p := m.members[key]
	if p == nil {
		return
	}
	name := m.nameLocked(p)
	for k, pr := range m.presences {
		if a := m.addresses[k]; a != nil && a.member == p && pr.shown.name != name {
			pr.shown.name = name
			m.presenceChangedLocked(k)
		}
	}
}

// expel ends the connections of those who are not in any more, and gives up what waits for them.
func (m *mesh) expel() {
	m.mu.Lock()
	m.expelLocked()
	m.mu.Unlock()
	m.dropRevoked()
}

// expelLocked ends the connections of keys that are not in any more, and the presences of those who are away.
func (m *mesh) expelLocked() {
	now := m.srv.now()
	for key, p := range m.presences {
		if a := m.addresses[key]; p.conn == nil && (a == nil || !m.reachableLocked(a, now)) {
			p.until.Stop()
			m.vanishLocked(key)
		}
	}
	for c := range m.conns {
		_, gone := m.view.RevokedOf(c.member.key, c.key)
		s := m.standingLocked(c.member, now)
		switch {
		case gone || s == revoked:
			c.expel(protocol.CodeRevoked, "this key was revoked", ending{code: protocol.CloseBanned, text: "banned", reason: endRevoked})
		case s == stranger:
			c.expel(protocol.CodeNotMember, "the link that admitted this key is over",
				ending{code: websocket.ClosePolicyViolation, text: string(protocol.CodeNotMember), reason: endNotMember})
		}
	}
}

// expel says why and ends the connection.
func (c *conn) expel(code protocol.Code, message string, e ending) {
	c.reply(protocol.ErrorFrame{Tag: protocol.Tag{Type: protocol.TypeError}, Code: code, Message: message})
	c.end(e)
}

// logPerFrame bounds the statements of one log frame, in base64: the frame limit with room for its other fields.
const logPerFrame = protocol.MaxFrame - 64<<10

// logAfterLocked returns the statements behind number after, as many as fit a frame.
func (m *mesh) logAfterLocked(after uint64) protocol.Log {
	f := protocol.Log{Tag: protocol.Tag{Type: protocol.TypeLog}, Cursor: uint64(len(m.log)), Statements: []string{}}
	if after >= uint64(len(m.log)) {
		return f
	}
	size := 0
	for i, st := range m.log[after:] {
		if st == nil {
			continue
		}
		text := st.Text()
		if size += len(text) + 3; size > logPerFrame {
			f.Cursor, f.More = after+uint64(i), true
			break
		}
		f.Statements = append(f.Statements, text)
	}
	return f
}

// handleLog answers with the statements after the cursor of the request.
func (c *conn) handleLog(tag protocol.Tag, frame []byte) error {
	var f protocol.Log
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	m := c.mesh
	m.mu.Lock()
	answer := m.logAfterLocked(f.After)
	m.mu.Unlock()
	answer.ReqID = tag.ReqID
	c.reply(answer)
	return nil
}
