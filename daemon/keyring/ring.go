package keyring

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// StatementSpare is what a session statement has left to run when it is renewed.
const StatementSpare = time.Hour

const sharedPeers = 1024 // shared keys remembered per own key: 40 bytes each, 70 µs saved

// What is kept of sessions that ended.
const (
	EndedKept = 60 * 24 * time.Hour // how long an ended session's key is kept: twice what any envelope to it may live
	EndedMost = 256                 // and how many at most: as many as a broker keeps mail for
)

// Ring holds the keys that this machine speaks for in one mesh: the member's, and those of its sessions, live or ended.
type Ring struct {
	db     *store.DB
	mesh   protocol.MeshID
	member *crypto.PrivateKey
	now    func() time.Time

	mu  sync.Mutex
	own map[crypto.PublicKey]*ownKey
}

// ownKey is one key of the ring.
type ownKey struct {
	session   *Session
	shared    *crypto.SharedCache
	live      bool
	ended     time.Time           // of a session that is not live; of one that ended while no daemon ran, when this one started
	statement *protocol.Statement // newest that we signed; nil before the first
	stale     bool                // it says something else than session does
}

// ownRow is an ownKey on disk. The member's own row has no seed: it is in config.json.
type ownRow struct {
	ID      string   `json:"id"`
	Label   string   `json:"label"`
	Seed    []byte   `json:"seed,omitempty"`
	Groups  []string `json:"groups,omitempty"`
	Summary string   `json:"summary,omitempty"`
	EndedAt int64    `json:"ended_at,omitempty"` // Unix ms
}

// Load reads the ring; sessions are taken for ended until they are added again.
func Load(db *store.DB, mesh protocol.MeshID, member *crypto.PrivateKey, name string, now func() time.Time) (*Ring, error) {
	r := &Ring{db: db, mesh: mesh, member: member, now: now, own: make(map[crypto.PublicKey]*ownKey)}
	r.put(&Session{Label: name, Key: member}, true)
	err := db.View(func(tx *store.Tx) error {
		for k := range tx.Scan(table.OwnSessions, []byte(mesh), nil) {
			var row ownRow
			if _, err := table.GetJSON(tx, table.OwnSessions, k, &row); err != nil {
				return err
			}
			s := &Session{ID: row.ID, Label: row.Label, Key: member, Groups: row.Groups, Summary: row.Summary}
			if len(row.Seed) == crypto.SeedSize {
				s.Key = crypto.KeyFromSeed([crypto.SeedSize]byte(row.Seed))
			}
			own := r.put(s, s.Key == member)
			if own.ended = now(); row.EndedAt != 0 {
				own.ended = protocol.TimeOf(row.EndedAt)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the sessions of mesh %s: %w", mesh, err)
	}
	return r, nil
}

// put adds or replaces a key in memory.
func (r *Ring) put(s *Session, live bool) *ownKey {
	pub := s.Public()
	have, ok := r.own[pub]
	if !ok {
		have = &ownKey{shared: crypto.NewSharedCache(s.Key, sharedPeers)}
		r.own[pub] = have
	}
	have.session, have.live = s, live
	return have
}

// save writes a session's row.
func (r *Ring) save(s *Session, endedAt int64) error {
	row := ownRow{ID: s.ID, Label: s.Label, Groups: s.Groups, Summary: s.Summary, EndedAt: endedAt}
	if s.Public() != r.member.Public() {
		seed := s.Key.Seed()
		row.Seed = seed[:]
	}
	pub := s.Public()
	err := r.db.Commit(func(tx *store.Tx) error {
		return table.PutJSON(tx, table.OwnSessions, table.Key(r.mesh, pub[:]), row)
	})
	if err != nil {
		return fmt.Errorf("keep session %s: %w", s.Label, err)
	}
	return nil
}

// Add makes s live. It reports whether what a session statement says has changed.
func (r *Ring) Add(s *Session) (changed bool, err error) {
	if err := r.save(s, 0); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.own[s.Public()]
	changed = old == nil || !old.live || old.session.Label != s.Label || !slices.Equal(old.session.Groups, s.Groups)
	r.put(s, true)
	if changed {
		r.own[s.Public()].stale = true
	}
	return changed, nil
}

// End marks a session as ended and returns its key.
func (r *Ring) End(id string) (crypto.PublicKey, bool, error) {
	r.mu.Lock()
	var s *Session
	for pub, own := range r.own {
		if own.live && own.session.ID == id && pub != r.member.Public() {
			s = own.session
			own.live, own.ended = false, r.now()
		}
	}
	r.mu.Unlock()
	if s == nil {
		return crypto.PublicKey{}, false, nil
	}
	return s.Public(), true, r.save(s, r.now().UnixMilli())
}

// LastLive returns when the session of pub was live last, which is now if it is; zero for a key that is not of this ring.
func (r *Ring) LastLive(pub crypto.PublicKey) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.own[pub]
	switch {
	case !ok:
		return time.Time{}
	case own.live:
		return r.now()
	}
	return own.ended
}

// Private returns the private half of an own key, nil for others.
func (r *Ring) Private(pub crypto.PublicKey) *crypto.PrivateKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		return own.session.Key
	}
	return nil
}

// Shared derives the key of the boxes between an own key and a peer's.
func (r *Ring) Shared(own, peer crypto.PublicKey) (crypto.Key, error) {
	r.mu.Lock()
	k, ok := r.own[own]
	r.mu.Unlock()
	if !ok {
		return crypto.Key{}, crypto.ErrKey
	}
	return k.shared.Shared(peer)
}

// Session returns the session of an own key and whether it is live; nil for keys that are not ours.
func (r *Ring) Session(pub crypto.PublicKey) (s *Session, live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		return own.session, own.live
	}
	return nil, false
}

// Sessions returns the sessions of this machine, the member itself left out.
func (r *Ring) Sessions(live bool) []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Session
	for pub, own := range r.own {
		if pub != r.member.Public() && (own.live || !live) {
			all = append(all, own.session)
		}
	}
	return all
}

// Keys returns all public keys of the ring, the member's first.
func (r *Ring) Keys() []crypto.PublicKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := []crypto.PublicKey{r.member.Public()}
	for pub := range r.own {
		if pub != all[0] {
			all = append(all, pub)
		}
	}
	return all
}

// Statement returns a session statement for an own key with at least StatementSpare to run, signing one when there is
// none or fresh asks for a new one. Its issue time rises, so that receivers prefer it.
func (r *Ring) Statement(pub crypto.PublicKey, fresh bool) (*protocol.Statement, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.own[pub]
	if !ok {
		return nil, fmt.Errorf("sign a session statement: key %s is not ours", pub.Short())
	}
	now := r.now()
	issued := now.UnixMilli()
	if own.statement != nil && own.statement.Body.(*protocol.Session).Issued > now.Add(protocol.ClockSkew).UnixMilli() {
		own.statement = nil // the clock was set back: nobody would believe a statement after that one
	}
	if own.statement != nil {
		last := own.statement.Body.(*protocol.Session)
		if !fresh && !own.stale && last.Expires-issued > StatementSpare.Milliseconds() {
			return own.statement, nil
		}
		issued = max(issued, last.Issued+1)
	}
	s, err := protocol.Sign(&protocol.Session{
		Mesh: r.mesh, Member: r.member.Public(), Session: pub,
		Label: own.session.Label, Groups: own.session.Groups,
		Features: protocol.Capabilities(),
		Issued:   issued, Expires: issued + protocol.SessionLifetime.Milliseconds(),
	}, r.member, own.session.Key)
	if err != nil {
		return nil, fmt.Errorf("sign a session statement: %w", err)
	}
	own.statement, own.stale = s, false
	return s, nil
}

// SignAnew forgets the statement of an own key: the next one is as old as the clock says, whatever was signed before.
func (r *Ring) SignAnew(pub crypto.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		own.statement = nil
	}
}

// Attest returns the `att` of an envelope from an own key, empty for the member's, and the earliest time (Unix ms) that
// such an envelope may bear.
func (r *Ring) Attest(pub crypto.PublicKey) (att string, issued int64, err error) {
	if pub == r.member.Public() {
		return "", 0, nil
	}
	s, err := r.Statement(pub, false)
	if err != nil {
		return "", 0, err
	}
	return s.Text(), s.Body.(*protocol.Session).Issued, nil
}
