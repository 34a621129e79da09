package broker

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// sweepEvery is how late a message may expire, and how old the last seen of a member may be after a crash. Messages live for
// days.
const sweepEvery = time.Minute

// sweep does what time asks for, until the context ends. Nothing is forgotten by a clock that was set a moment ago: it may be
// set back, and what was acknowledged must be there then.
func (s *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.visits.sweep()
		s.refusedKeys.sweep()
		settled, spare := s.clock.Settled(), lasting
		if settled {
			spare = nil
		}
		e := expiry{srv: s}
		if _, err := s.queue.Expire(ctx, spare, e.expired); err != nil && ctx.Err() == nil {
			s.log.Error("messages not expired", "err", err)
		}
		s.sweepBlobs(settled)
		for _, m := range s.allMeshes() {
			if err := m.sweep(settled); err != nil {
				s.log.Error("mesh sweep failed", "mesh", m.id, "err", err)
			}
		}
	}
}

// sweep ends the connections of those whose link is over, and saves who is here. By a clock that is settled it also forgets
// their enrolments, and keys and statements that are over.
func (m *mesh) sweep(settled bool) error {
	now := m.srv.now()
	m.publishing.Lock() // no enrolment comes between the look and the commit
	defer m.publishing.Unlock()
	var seen, over []*member
	m.mu.Lock()
	m.expelLocked()
	m.forgetNewsLocked()
	for _, p := range m.members {
		switch {
		case len(p.conns) > 0:
			p.lastSeen = now.UnixMilli()
			seen = append(seen, p)
		case settled && p.enrol != nil && len(p.certs) == 0 && m.standingLocked(p, now) == stranger:
			over = append(over, p)
		}
	}
	m.mu.Unlock()
	m.dropRevoked()
	m.sweepShares()
	old := now
	if !settled {
		old = time.Time{} // by which nothing is
	}
	if err := m.sweepKeys(old); err != nil {
		return err
	}
	m.noteLeftOut(false)
	if err := m.sweepSessions(old); err != nil {
		return err
	}
	if err := m.sweepLog(old); err != nil {
		return err
	}
	if len(seen)+len(over) == 0 {
		return nil
	}
	err := m.srv.db.Commit(func(tx *store.Tx) error {
		for _, p := range seen {
			if err := putSeen(tx, m.id, p.key, now.UnixMilli()); err != nil {
				return err
			}
		}
		for _, p := range over {
			if err := m.deletePerson(tx, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	var gone []*address
	for _, p := range over {
		for k := range p.sessions.all() {
			gone = append(gone, m.addresses[k])
			delete(m.addresses, k)
		}
		if m.addresses[p.key] != nil { // else it was among the sessions
			gone = append(gone, p.address)
			delete(m.addresses, p.key)
		}
		delete(m.members, p.key)
	}
	m.forgetLocked(gone)
	m.mu.Unlock()
	m.giveUp(gone, dropNotMember, "the link that admitted the recipient is over")
	return nil
}

// sweepLog forgets the closings of links that expired long ago, and what gave way to others in the set. Their numbers stay
// empty: those of the others are told to connections. publishing is held.
func (m *mesh) sweepLog(now time.Time) error {
	next := m.set.Clone()
	next.Drop(now)
	var over []int
	m.mu.Lock()
	for i, st := range m.log {
		if st == nil || st.Kind == protocol.KindCharter {
			continue
		}
		if _, held := next.Get(st.ID); !held {
			over = append(over, i)
		}
	}
	m.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	err := m.srv.db.Commit(func(tx *store.Tx) error {
		for _, i := range over {
			if err := tx.Delete(bucketStatements, numberKey(m.id, uint64(i)+1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set = next
	for _, i := range over {
		m.log[i] = nil
	}
	m.refreshLocked(nil)
	return nil
}

// deletePerson removes the rows of somebody whose link expired before he was admitted.
func (m *mesh) deletePerson(tx *store.Tx, p *member) error {
	for k := range p.sessions.all() {
		if err := tx.Delete(bucketSessions, memberKey(m.id, k)); err != nil {
			return err
		}
	}
	if err := tx.Delete(bucketEnrols, memberKey(m.id, p.key)); err != nil {
		return err
	}
	return tx.Delete(bucketSeen, memberKey(m.id, p.key))
}

// lasting reports whether a row is to be kept for longer than a clock may be wrong. A ping is not.
func lasting(r queue.Row) bool {
	if len(r.Header) == 0 || r.Header[0] != rowMessage {
		return true
	}
	row, err := parseMessageRow(r.Header)
	return err != nil || r.Expires-row.created > pingLife.Milliseconds()
}

// expiry is one sweep of what waited too long. The rows of a queue come one behind the other: it remembers whose the last was.
type expiry struct {
	srv  *Server
	last queue.Recipient
	mesh *mesh
	of   *address // nil: of somebody who is gone
}

// expired tells the sender of a message that its time was over.
func (e *expiry) expired(to queue.Recipient, r queue.Row) {
	if len(r.Header) > 0 && r.Header[0] == rowMessage {
		e.srv.metrics.drops.WithLabelValues(dropExpired).Inc()
	}
	if e.last != to {
		e.last = to
		e.mesh, e.of = e.srv.findQueue(to)
	}
	if e.of != nil {
		e.mesh.release(e.of, sharerOf(r.Header), to == e.of.side, int64(r.Size))
		e.mesh.tellSender(e.of, r, stateExpired, "not fetched in time")
	}
}

// stateExpired is the broker's word for a message that nobody fetched in its time.
const stateExpired protocol.State = "expired"

// findQueue returns whose queue that is. Messages expire seldom enough to look everywhere.
func (s *Server) findQueue(to queue.Recipient) (*mesh, *address) {
	for _, m := range s.allMeshes() {
		m.mu.Lock()
		for _, a := range m.addresses {
			if a.mail == to || a.side == to {
				m.mu.Unlock()
				return m, a
			}
		}
		m.mu.Unlock()
	}
	s.log.Debug("message expired for a removed sender")
	return nil, nil
}

// watchQueue puts the queue's own numbers into the metrics.
func (s *Server) watchQueue() {
	stat := func(f func(queue.Stats) float64) func() float64 { return func() float64 { return f(s.queue.Stats()) } }
	m := s.metrics
	m.gauge("queue_messages", "Messages and receipts that wait.", stat(func(q queue.Stats) float64 { return float64(q.Messages) }))
	m.gauge("queue_bytes", "Bytes of them.", stat(func(q queue.Stats) float64 { return float64(q.Bytes) }))
	m.gauge("queue_memory_bytes", "Bytes of them that are held in memory.", stat(func(q queue.Stats) float64 { return float64(q.Memory) }))
	m.gauge("journal_bytes", "Bytes of journal segments.", stat(func(q queue.Stats) float64 { return float64(q.JournalBytes) }))
	m.gauge("flush_lag_seconds", "Age of the oldest commit that is only in the journal.", stat(func(q queue.Stats) float64 { return q.FlushLag.Seconds() }))
	m.count("commits_total", "Commits of the journal.", stat(func(q queue.Stats) float64 { return float64(q.Commits) }))
	m.count("committed_total", "Messages and receipts in them.", stat(func(q queue.Stats) float64 { return float64(q.Accepted) }))
	m.gauge("event_streams", "Open event streams of API keys.", func() float64 { return float64(s.streams.open()) })
	m.gauge("files", "Files that wait for their readers, unfinished uploads included.", func() float64 { n, _ := s.blobs.Stats(); return float64(n) })
	m.gauge("file_bytes", "Bytes that these take or will take.", func() float64 { _, n := s.blobs.Stats(); return float64(n) })
	m.gauge("meshes", "Meshes that this broker carries.", func() float64 { return float64(len(s.allMeshes())) })
}
