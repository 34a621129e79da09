// Package trust is what a daemon believes of one mesh: the statements that it accepted and the view that
// they make, the names that it pinned, the newest session and API keys, the enrolments, and what this
// user lets single peers do. State commits before it believes: a merge that fails has changed nothing.
// It guards itself. Nobody outside takes its lock, and a View never changes once it is handed out.
package trust

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// State is what one mesh's statements say, on disk and evaluated.
type State struct {
	db   *store.DB
	mesh protocol.MeshID
	now  func() time.Time

	saving sync.Mutex // held over a whole merge, its commit included, and taken before mu

	mu       sync.Mutex
	set      *protocol.Set
	view     *protocol.View
	sessions map[crypto.PublicKey]*protocol.Statement // newest session statement per key
	apiKeys  map[crypto.PublicKey]*protocol.Statement // newest apikey statement per key
	invited  map[crypto.PublicKey]Enrolment
	names    map[string]crypto.PublicKey // pinned: the first living key seen under a name
	inPerson map[crypto.PublicKey]bool
}

// Change tells what a merge changed in what is believed.
type Change struct {
	Added   []*protocol.Statement
	Revoked []crypto.PublicKey // keys that were not revoked before
	Members bool               // somebody became, or ceased to be, a verified member, or changed name or role
	Moved   []string           // names that passed to another key
	Alarms  []string           // alarms of the view that were not there before
}

// Load reads the state of a mesh and adds the statements that config.json holds.
func Load(db *store.DB, mesh protocol.MeshID, now func() time.Time, charter *protocol.Statement, extra ...*protocol.Statement) (*State, error) {
	t := &State{
		db: db, mesh: mesh, now: now,
		sessions: make(map[crypto.PublicKey]*protocol.Statement),
		apiKeys:  make(map[crypto.PublicKey]*protocol.Statement),
		invited:  make(map[crypto.PublicKey]Enrolment),
		names:    make(map[string]crypto.PublicKey),
		inPerson: make(map[crypto.PublicKey]bool),
	}
	pins := protocol.Pins{Owner: make(map[uint64]protocol.ID)}
	var statements []*protocol.Statement
	err := db.View(func(tx *store.Tx) error {
		t.readPins(tx, &pins)
		if err := t.readKnown(tx); err != nil {
			return err
		}
		for _, raw := range tx.Scan(table.Trust, []byte(mesh), nil) {
			s, err := protocol.Parse(append([]byte(nil), raw...))
			if err != nil {
				return fmt.Errorf("stored statement: %w", err)
			}
			statements = append(statements, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the trust state of mesh %s: %w", mesh, err)
	}
	for _, s := range extra {
		if inv, ok := s.Body.(*protocol.Invite); ok {
			pins.InviteOwner = inv.Owner
		}
	}
	t.set = protocol.NewSet(charter, pins)
	if _, err := t.set.Add(statements...); err != nil && protocol.CodeOf(err) != protocol.CodeMeshFull { // what does not fit counts for nothing
		return nil, fmt.Errorf("evaluate the trust state of mesh %s: %w", mesh, err)
	}
	t.view = t.set.View()
	if _, err := t.Merge(extra...); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *State) readPins(tx *store.Tx, pins *protocol.Pins) {
	for k, v := range tx.Scan(table.Pins, []byte(t.mesh), nil) {
		kind, rest := k[len(t.mesh)], k[len(t.mesh)+1:]
		switch kind {
		case 'o':
			pins.Owner[table.ParseU64(rest)] = protocol.ID(v)
		case 'n':
			t.names[string(rest)] = crypto.PublicKey(v)
		case 'p':
			t.inPerson[crypto.PublicKey(rest)] = true
		}
	}
}

func (t *State) readKnown(tx *store.Tx) error {
	for k, v := range tx.Scan(table.Known, []byte(t.mesh), nil) {
		kind, key := k[len(t.mesh)], crypto.PublicKey(k[len(t.mesh)+1:])
		switch kind {
		case 's', 'k':
			s, err := protocol.Parse(append([]byte(nil), v...))
			if err != nil {
				return fmt.Errorf("stored session statement: %w", err)
			}
			if kind == 's' {
				t.sessions[key] = s
			} else {
				t.apiKeys[key] = s
			}
		case 'e':
			var row enrolmentRow
			if err := json.Unmarshal(v, &row); err != nil {
				return fmt.Errorf("stored enrolment: %w", err)
			}
			e, err := ParseEnrolment(row.Invite, row.Enrol)
			if err != nil {
				return fmt.Errorf("stored enrolment: %w", err)
			}
			e.Arrived = row.Arrived
			t.invited[key] = e
		}
	}
	return nil
}

// View returns the view, which does not change any more.
func (t *State) View() *protocol.View {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// Merge takes statements of any kind into the state and returns what that changed. What is new is committed before anybody
// believes it: a merge that fails has changed nothing. Statements of other meshes and what the caps refuse are passed over: a
// broker may offer anything.
func (t *State) Merge(statements ...*protocol.Statement) (Change, error) {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	before, next, names := t.view, t.set.Clone(), maps.Clone(t.names)
	t.mu.Unlock()

	added, _ := next.Add(statements...) // an error names what did not fit; the rest is in
	c := compare(before, next.View())
	c.Added = added
	c.Moved = pinNames(names, next.View())
	if len(added) == 0 && len(c.Moved) == 0 && !c.Members {
		return c, nil
	}
	if err := t.keep(next, added, names); err != nil {
		return Change{}, fmt.Errorf("keep statements: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set, t.view, t.names = next, next.View(), names
	return c, nil
}

// keep commits what a merge added to the set, and the pins that follow from it. What the set has no room for any longer goes.
func (t *State) keep(next *protocol.Set, added []*protocol.Statement, names map[string]crypto.PublicKey) error {
	t.mu.Lock()
	lost := next.Lost(t.set)
	t.mu.Unlock()
	return t.db.Commit(func(tx *store.Tx) error {
		for _, s := range lost {
			if err := tx.Delete(table.Trust, table.Key(t.mesh, s.ID[:])); err != nil {
				return err
			}
		}
		for _, s := range added {
			if err := tx.Put(table.Trust, table.Key(t.mesh, s.ID[:]), s.Raw()); err != nil {
				return err
			}
		}
		for n, id := range next.Pins().Owner {
			if err := tx.Put(table.Pins, table.Key(t.mesh, []byte{'o'}, table.U64(n)), id[:]); err != nil {
				return err
			}
		}
		for name, key := range names {
			if err := tx.Put(table.Pins, table.Key(t.mesh, []byte{'n'}, []byte(name)), key[:]); err != nil {
				return err
			}
		}
		return nil
	})
}

// compare lists what differs between two views for those who act on it.
func compare(before, after *protocol.View) Change {
	var c Change
	was := make(map[crypto.PublicKey]protocol.Member)
	for _, m := range before.Members() {
		was[m.Key] = m
	}
	for _, m := range after.Members() {
		if old, ok := was[m.Key]; !ok || old != m {
			c.Members = true
		}
		delete(was, m.Key)
	}
	for key := range was {
		c.Members = true
		if _, ok := after.Revoked(key); ok {
			c.Revoked = append(c.Revoked, key)
		}
	}
	known := make(map[string]bool)
	for _, a := range before.Alarms() {
		known[a] = true
	}
	for _, a := range after.Alarms() {
		if !known[a] {
			c.Alarms = append(c.Alarms, a)
		}
	}
	return c
}

// Trust is what is shown of a member key.
func (t *State) Trust(key crypto.PublicKey) protocol.Trust {
	switch {
	case t.View().Verified(key):
		return protocol.TrustVerified
	case t.IsInvited(key):
		return protocol.TrustInvited
	}
	return protocol.TrustUnverified
}

// Statements returns everything in the set, in force or not.
func (t *State) Statements() []*protocol.Statement {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set.Statements()
}

// Statement returns one of the set, nil when it is not there.
func (t *State) Statement(id protocol.ID) *protocol.Statement {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, _ := t.set.Get(id)
	return s
}

// CertifiedKey is a key that a member certified.
type CertifiedKey struct{ Member, Key crypto.PublicKey }

// CertifiedKeys lists the session and API keys that are known, in no order.
func (t *State) CertifiedKeys() (all []CertifiedKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, s := range t.sessions {
		all = append(all, CertifiedKey{s.Body.(*protocol.Session).Member, key})
	}
	for key, s := range t.apiKeys {
		all = append(all, CertifiedKey{s.Body.(*protocol.APIKey).Member, key})
	}
	return all
}

// MarkInPerson records that the user compared safety numbers with this key, or takes that back.
func (t *State) MarkInPerson(key crypto.PublicKey, met bool) error {
	row := table.Key(t.mesh, []byte{'p'}, key[:])
	err := t.db.Commit(func(tx *store.Tx) error {
		if !met {
			return tx.Delete(table.Pins, row)
		}
		return tx.Put(table.Pins, row, []byte{1})
	})
	if err != nil {
		return table.Refusal("keep the comparison", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inPerson[key] = met
	return nil
}

// MetInPerson reports whether the user compared safety numbers with this key.
func (t *State) MetInPerson(key crypto.PublicKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inPerson[key]
}

// Sweep drops what the set need not keep any longer: closings of links that expired long ago.
func (t *State) Sweep() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	t.mu.Lock()
	next, names := t.set.Clone(), t.names
	t.mu.Unlock()
	if len(next.Drop(t.now())) == 0 {
		return nil
	}
	if err := t.keep(next, nil, names); err != nil {
		return fmt.Errorf("drop old statements: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set, t.view = next, next.View()
	return nil
}
