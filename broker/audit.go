package broker

import (
	"encoding/json"
	"sync"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Events of the audit log. Messages are not in it: who writes to whom is nothing that a broker need remember.
const (
	auditCreated    = "mesh_created"
	auditJoined     = "peer_joined" // a connection was accepted
	auditLeft       = "peer_left"
	auditEnrolled   = "enrolled" // somebody came with a link
	auditStatement  = "statement"
	auditKeyCreated = "apikey_created"
	auditKeyRevoked = "apikey_revoked"
	auditKicked     = "kicked"
	auditLeftOut    = "entries_left_out" // of one person in an hour: the first time without their number, and with it when the hour is over
)

const (
	// auditKept is how many entries a mesh has at most; the oldest give way.
	auditKept = 50_000

	// auditPerHour is how many entries one person causes in an hour, statements aside, which are bounded elsewhere. Whoever goes on
	// like this washes out the log in five weeks, and it says who did.
	auditPerHour = 60

	// auditPage is how many entries one answer has at most: half a megabyte.
	auditPage = 1000
)

type auditDetail = protocol.AuditDetail

// auditTail is the end of a mesh's audit log.
type auditTail struct {
	mu    sync.Mutex // held over the commit of an entry, so that the chain is in order; taken after no other lock
	first uint64     // number of the oldest entry
	last  uint64
	hash  string
	hour  int64                  // since 1970
	of    map[sharer]*auditShare // of each person
}

// auditShare is how many entries somebody caused in an hour, those that were left out included.
type auditShare struct {
	actor crypto.PublicKey // the last of those who are counted together
	count int
}

// loadAudit finds the end of the log.
func (m *mesh) loadAudit(tx *store.Tx) error {
	m.audit.first, m.audit.hash = 1, protocol.AuditGenesis
	var end []byte
	for _, v := range tx.Scan(bucketAudit, []byte(m.id), nil) {
		if m.audit.last == 0 {
			var e protocol.AuditEntry
			if err := json.Unmarshal(v, &e); err != nil {
				return err
			}
			m.audit.first = e.N
		}
		m.audit.last++
		end = v
	}
	if end == nil {
		return nil
	}
	var e protocol.AuditEntry
	if err := json.Unmarshal(end, &e); err != nil {
		return err
	}
	m.audit.last, m.audit.hash = e.N, e.Hash
	return nil
}

// note appends to the audit log. What it tells has happened: where the disk refuses, the broker's own log says so. The caller
// holds neither the mesh's mutex nor a transaction.
func (m *mesh) note(event string, actor crypto.PublicKey, detail auditDetail) {
	person := m.sharerOf(actor)
	a := &m.audit
	a.mu.Lock()
	defer a.mu.Unlock()
	m.leftOutLocked(false)
	if event == auditStatement || actor.IsZero() {
		m.appendLocked(event, actor, detail)
		return
	}
	share := a.of[person]
	if share == nil {
		share = new(auditShare)
		a.of[person] = share
	}
	share.actor = actor
	share.count++
	switch {
	case share.count <= auditPerHour:
		m.appendLocked(event, actor, detail)
	case share.count == auditPerHour+1:
		m.appendLocked(auditLeftOut, actor, auditDetail{Reason: "too many in this hour"})
	}
}

// noteLeftOut appends how many entries of each person were left out in the hour that is over, or that ends now.
func (m *mesh) noteLeftOut(now bool) {
	m.audit.mu.Lock()
	defer m.audit.mu.Unlock()
	m.leftOutLocked(now)
}

func (m *mesh) leftOutLocked(now bool) {
	a := &m.audit
	hour := m.srv.now().Unix() / 3600
	if hour == a.hour && a.of != nil && !now {
		return
	}
	for _, share := range a.of {
		if n := share.count - auditPerHour; n > 0 {
			m.appendLocked(auditLeftOut, share.actor, auditDetail{Count: n})
		}
	}
	a.hour, a.of = hour, make(map[sharer]*auditShare)
}

// appendLocked writes one entry.
func (m *mesh) appendLocked(event string, actor crypto.PublicKey, detail auditDetail) {
	if m.gone.Load() {
		return
	}
	e := protocol.AuditEntry{At: timeText(m.srv.now().UnixMilli()), Event: event, Detail: detail}
	if !actor.IsZero() {
		e.Actor = actor.String()
	}
	a := &m.audit
	e.N, e.Prev = a.last+1, a.hash
	if e.Prev == "" {
		e.Prev, a.first = protocol.AuditGenesis, 1
	}
	e.Hash = e.Sum()
	line, err := json.Marshal(e)
	if err != nil {
		m.srv.log.Error("audit entry cannot be encoded", "event", event, "err", err)
		return
	}
	full := e.N-a.first >= auditKept
	err = m.srv.db.Commit(func(tx *store.Tx) error {
		if full {
			if err := tx.Delete(bucketAudit, numberKey(m.id, a.first)); err != nil {
				return err
			}
		}
		return tx.Put(bucketAudit, numberKey(m.id, e.N), line)
	})
	if err != nil {
		m.srv.storeError("write the audit log", err)
		return
	}
	if full {
		a.first++
	}
	a.last, a.hash = e.N, e.Hash
}

// noteStatements appends what was published.
func (m *mesh) noteStatements(added []*protocol.Statement) {
	for _, st := range added {
		d := auditDetail{Statement: st.ID.String(), Kind: st.Kind}
		switch b := st.Body.(type) {
		case *protocol.Cert:
			d.Key, d.Label, d.Role = b.Member.String(), b.Name, b.Role
		case *protocol.Revoke:
			d.Key, d.Reason = b.Target.String(), b.Reason
		case *protocol.OwnerChange:
			d.Key = b.New.String()
		}
		m.note(auditStatement, st.Signer(), d)
	}
}

// opAudit returns a page of the log.
func opAudit(c *conn, _ crypto.PublicKey, args []byte) (any, error) {
	var a protocol.AuditArgs
	if err := json.Unmarshal(args, &a); err != nil || a.Limit < 0 {
		return nil, protocol.Refuse(protocol.CodeInvalid, `audit wants {"after": number, "limit": number}`)
	}
	if a.Limit == 0 || a.Limit > auditPage {
		a.Limit = auditPage
	}
	m := c.mesh
	page := protocol.AuditPage{Entries: []protocol.AuditEntry{}}
	m.audit.mu.Lock()
	first := m.audit.first
	page.Last = m.audit.last
	m.audit.mu.Unlock() // who writes holds it across a commit, so nobody may wait for it within a View
	err := m.srv.db.View(func(tx *store.Tx) error {
		for n := max(a.After+1, first); n <= page.Last && len(page.Entries) < a.Limit; n++ {
			var e protocol.AuditEntry
			line := tx.Peek(bucketAudit, numberKey(m.id, n))
			if line == nil {
				continue
			}
			if err := json.Unmarshal(line, &e); err != nil {
				return err
			}
			page.Entries = append(page.Entries, e)
		}
		return nil
	})
	return page, err
}
