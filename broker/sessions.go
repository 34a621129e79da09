package broker

import (
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// What one person may have of a mesh: connections, presences, session keys. All of it is counted by
// person, over all keys.

// roomLocked tells why there is no room for another connection of p, or nil. The control connection
// of a member has its place whatever his sessions do.
func (m *mesh) roomLocked(p *member, key crypto.PublicKey) error {
	l := &m.srv.limits
	if len(m.conns) >= l.ConnsPerMesh {
		return protocol.Refuse(protocol.CodeCapacity, "the mesh has %d connections, the most that this broker allows",
			l.ConnsPerMesh).RetryAfter(capacityRetry)
	}
	sessions := len(p.conns)
	if p.conns.get(p.key) != nil {
		sessions--
	}
	if key != p.key && sessions >= l.ConnsPerMember-1 {
		return protocol.Refuse(protocol.CodeCapacity, "%d of your sessions are connected, the most that this broker allows one member",
			sessions).RetryAfter(capacityRetry)
	}
	if s := m.sharerLocked(p); s.invited() && connsOf(m.peopleLocked(p)) >= l.ConnsPerLink {
		return protocol.Refuse(protocol.CodeCapacity, "%d connections are of those who came by your link and are not admitted, the most that this broker allows",
			l.ConnsPerLink).RetryAfter(capacityRetry)
	}
	return nil
}

func connsOf(people []*member) (n int) {
	for _, p := range people {
		n += len(p.conns)
	}
	return n
}

// trimPresencesLocked takes the presences of p away that only a lease keeps, the oldest first,
// until one more than he has is allowed. Of those who came by one link and are not admitted it
// counts all together.
func (m *mesh) trimPresencesLocked(p *member) {
	most, keys := m.srv.limits.ConnsPerMember, m.presencesOfLocked(p)
	if m.sharerLocked(p).invited() {
		most = m.srv.limits.ConnsPerLink
	}
	for n := len(keys); n >= most; n-- {
		var oldest crypto.PublicKey
		var of *presence
		for _, k := range keys {
			if pr := m.presences[k]; pr != nil && pr.conn == nil && (of == nil || pr.shown.since < of.shown.since) {
				oldest, of = k, pr
			}
		}
		if of == nil {
			return
		}
		m.endLeaseLocked(oldest, of)
	}
}

// presencesOfLocked lists the keys under which p is seen; of somebody who is not admitted, those of
// all who came by his link.
func (m *mesh) presencesOfLocked(p *member) (keys []crypto.PublicKey) {
	for _, who := range m.peopleLocked(p) {
		for k := range who.sessions.all() {
			if m.presences[k] != nil {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// endLeaseLocked takes away a presence whose connection has ended.
func (m *mesh) endLeaseLocked(key crypto.PublicKey, p *presence) {
	if p.until != nil {
		p.until.Stop()
	}
	m.vanishLocked(key)
}

// forgetSessionsLocked drops the oldest session keys of p above the limit and returns them. It
// keeps those with a connection, and the one that is getting one. Those who came by one link and
// are not admitted have as many together as a member.
func (m *mesh) forgetSessionsLocked(p *member, entering crypto.PublicKey) []*address {
	people, count := m.peopleLocked(p), 0
	for _, who := range people {
		count += len(who.sessions)
	}
	if len(people) > 1 {
		count -= len(people) // their own keys
	}
	var gone []*address
	for ; count > m.srv.limits.MaxSessions; count-- {
		who, key, found := oldestEnded(people, entering)
		if !found {
			break
		}
		if a := m.dropSessionLocked(who, key); a != nil {
			gone = append(gone, a)
		}
	}
	m.forgetLocked(gone)
	return gone
}

// peopleLocked are p, or all who came by p's link and are not admitted.
func (m *mesh) peopleLocked(p *member) []*member {
	s := m.sharerLocked(p)
	if !s.invited() {
		return []*member{p}
	}
	var people []*member
	for _, other := range m.members {
		if m.sharerLocked(other) == s {
			people = append(people, other)
		}
	}
	return people
}

// oldestEnded finds the session key without a connection, but for one, whose statement is the
// oldest.
func oldestEnded(people []*member, but crypto.PublicKey) (who *member, key crypto.PublicKey, found bool) {
	at := int64(-1)
	for _, p := range people {
		for k, st := range p.sessions.all() {
			if issued := st.Body.(*protocol.Session).Issued; p.conns.get(k) == nil && k != p.key && k != but && (at < 0 || issued < at) {
				who, key, at = p, k, issued
			}
		}
	}
	return who, key, at >= 0
}

// dropSessionLocked takes a session key out of the tables, and returns its address. Nil: the key is somebody else's by now.
func (m *mesh) dropSessionLocked(p *member, key crypto.PublicKey) *address {
	if pr := m.presences[key]; pr != nil {
		m.endLeaseLocked(key, pr)
	}
	p.sessions.remove(key)
	a := m.addresses[key]
	if a == nil || !m.ownsLocked(p, key) || a == p.address {
		return nil
	}
	delete(m.addresses, key)
	return a
}

// forgetEndedLocked drops the session keys whose statement has been over for as long as a message
// waits and then its receipt: whatever came for them while they lived has expired.
func (m *mesh) forgetEndedLocked(now time.Time) (gone []*address) {
	over := now.Add(-2 * m.srv.limits.Retention).UnixMilli()
	for _, p := range m.members {
		var ended []crypto.PublicKey
		for k, st := range p.sessions.all() {
			if k != p.key && st.Body.(*protocol.Session).Expires < over && p.conns.get(k) == nil {
				ended = append(ended, k)
			}
		}
		for _, k := range ended {
			if a := m.dropSessionLocked(p, k); a != nil {
				gone = append(gone, a)
			}
		}
	}
	m.forgetLocked(gone)
	return gone
}

// sweepSessions forgets the sessions that ended long ago. publishing is held.
func (m *mesh) sweepSessions(now time.Time) error {
	m.mu.Lock()
	gone := m.forgetEndedLocked(now)
	m.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	defer m.giveUp(gone, dropForgotten, "the session ended long ago")
	return m.srv.db.Commit(func(tx *store.Tx) error { return deleteSessions(tx, m.id, gone) })
}

func deleteSessions(tx *store.Tx, id protocol.MeshID, gone []*address) error {
	for _, a := range gone {
		if err := tx.Delete(bucketSessions, memberKey(id, a.key)); err != nil {
			return err
		}
	}
	return nil
}

// forgetSessions takes session keys from the disk that gave way to newer ones, and tells whose
// messages waited for them.
func (m *mesh) forgetSessions(gone []*address) error {
	if len(gone) == 0 {
		return nil
	}
	m.giveUp(gone, dropForgotten, "the session ended, and newer ones took its place")
	err := m.srv.db.Commit(func(tx *store.Tx) error { return deleteSessions(tx, m.id, gone) })
	if err != nil {
		return m.srv.storeError("forget sessions", err)
	}
	return nil
}
