package daemon

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

// localSession is one session of this machine. It is never changed after addSession: whoever changes something gives
// a changed copy to addSession again. With the member's own key it stands for the member without a session.
type localSession struct {
	ID       string // Claude session id
	Label    string
	Key      *crypto.PrivateKey
	PID      int
	Cwd      string
	Host     string
	Model    string
	Channel  string
	PeerType string
	Groups   []string // without @, ascending
	Status   string
	Summary  string
	Title    string
}

func (s *localSession) public() crypto.PublicKey { return s.Key.Public() }

// sessionKey returns the key of a Claude session id: made at first use, the same for ever and on all meshes.
func sessionKey(db *store.DB, id string) (*crypto.PrivateKey, error) {
	var seed [crypto.SeedSize]byte
	err := db.Commit(func(tx *store.Tx) error {
		if have := tx.Get(table.Sessions, []byte(id)); have != nil {
			seed = [crypto.SeedSize]byte(have)
			return nil
		}
		seed = [crypto.SeedSize]byte(crypto.RandomBytes(crypto.SeedSize))
		return tx.Put(table.Sessions, []byte(id), append([]byte(nil), seed[:]...))
	})
	if err != nil {
		return nil, fmt.Errorf("keep the session's key: %w", err)
	}
	return crypto.KeyFromSeed(seed), nil
}

const (
	sharedPeers    = 1024                // shared keys remembered per own key: 40 bytes each, 70 µs saved
	statementSpare = time.Hour           // a session statement is renewed when it has less than this to run
	endedKept      = 60 * 24 * time.Hour // how long an ended session's key is kept: twice what any envelope to it may live
)

// keyring holds the keys that this machine speaks for in one mesh: the member's, and those of its sessions, live or ended.
type keyring struct {
	db     *store.DB
	mesh   protocol.MeshID
	member *crypto.PrivateKey
	now    func() time.Time

	mu  sync.Mutex
	own map[crypto.PublicKey]*ownKey
}

// ownKey is one key of the ring.
type ownKey struct {
	session   *localSession
	shared    *crypto.SharedCache
	live      bool
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

// loadKeyring reads the ring; sessions are taken for ended until they are added again.
func loadKeyring(db *store.DB, mesh protocol.MeshID, member *crypto.PrivateKey, name string, now func() time.Time) (*keyring, error) {
	r := &keyring{db: db, mesh: mesh, member: member, now: now, own: make(map[crypto.PublicKey]*ownKey)}
	r.put(&localSession{Label: name, Key: member}, true)
	err := db.View(func(tx *store.Tx) error {
		for k := range tx.Scan(table.OwnSessions, []byte(mesh), nil) {
			var row ownRow
			if _, err := table.GetJSON(tx, table.OwnSessions, k, &row); err != nil {
				return err
			}
			s := &localSession{ID: row.ID, Label: row.Label, Key: member, Groups: row.Groups, Summary: row.Summary}
			if len(row.Seed) == crypto.SeedSize {
				s.Key = crypto.KeyFromSeed([crypto.SeedSize]byte(row.Seed))
			}
			r.put(s, s.Key == member)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the sessions of mesh %s: %w", mesh, err)
	}
	return r, nil
}

// put adds or replaces a key in memory.
func (r *keyring) put(s *localSession, live bool) {
	pub := s.public()
	have, ok := r.own[pub]
	if !ok {
		have = &ownKey{shared: crypto.NewSharedCache(s.Key, sharedPeers)}
		r.own[pub] = have
	}
	have.session, have.live = s, live
}

// save writes a session's row.
func (r *keyring) save(s *localSession, endedAt int64) error {
	row := ownRow{ID: s.ID, Label: s.Label, Groups: s.Groups, Summary: s.Summary, EndedAt: endedAt}
	if s.public() != r.member.Public() {
		seed := s.Key.Seed()
		row.Seed = seed[:]
	}
	pub := s.public()
	err := r.db.Commit(func(tx *store.Tx) error {
		return table.PutJSON(tx, table.OwnSessions, table.Key(r.mesh, pub[:]), row)
	})
	if err != nil {
		return fmt.Errorf("keep session %s: %w", s.Label, err)
	}
	return nil
}

// add makes s live. It reports whether what a session statement says has changed.
func (r *keyring) add(s *localSession) (changed bool, err error) {
	if err := r.save(s, 0); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.own[s.public()]
	changed = old == nil || !old.live || old.session.Label != s.Label || !slices.Equal(old.session.Groups, s.Groups)
	r.put(s, true)
	if changed {
		r.own[s.public()].stale = true
	}
	return changed, nil
}

// end marks a session as ended and returns its key.
func (r *keyring) end(id string) (crypto.PublicKey, bool, error) {
	r.mu.Lock()
	var s *localSession
	for pub, own := range r.own {
		if own.live && own.session.ID == id && pub != r.member.Public() {
			s = own.session
			own.live = false
		}
	}
	r.mu.Unlock()
	if s == nil {
		return crypto.PublicKey{}, false, nil
	}
	return s.public(), true, r.save(s, r.now().UnixMilli())
}

// private returns the private half of an own key, nil for others.
func (r *keyring) private(pub crypto.PublicKey) *crypto.PrivateKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		return own.session.Key
	}
	return nil
}

// shared derives the key of the boxes between an own key and a peer's.
func (r *keyring) shared(own, peer crypto.PublicKey) (crypto.Key, error) {
	r.mu.Lock()
	k, ok := r.own[own]
	r.mu.Unlock()
	if !ok {
		return crypto.Key{}, crypto.ErrKey
	}
	return k.shared.Shared(peer)
}

// session returns the session of an own key and whether it is live; nil for keys that are not ours.
func (r *keyring) session(pub crypto.PublicKey) (s *localSession, live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		return own.session, own.live
	}
	return nil, false
}

// sessions returns the sessions of this machine, the member itself left out.
func (r *keyring) sessions(live bool) []*localSession {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*localSession
	for pub, own := range r.own {
		if pub != r.member.Public() && (own.live || !live) {
			all = append(all, own.session)
		}
	}
	return all
}

// keys returns all public keys of the ring, the member's first.
func (r *keyring) keys() []crypto.PublicKey {
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

// statement returns a session statement for an own key with at least statementSpare to run, signing one when there is
// none or fresh asks for a new one. Its issue time rises, so that receivers prefer it.
func (r *keyring) statement(pub crypto.PublicKey, fresh bool) (*protocol.Statement, error) {
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
		if !fresh && !own.stale && last.Expires-issued > statementSpare.Milliseconds() {
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

// signAnew forgets the statement of an own key: the next one is as old as the clock says, whatever was signed before.
func (r *keyring) signAnew(pub crypto.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own, ok := r.own[pub]; ok {
		own.statement = nil
	}
}

// attest returns the `att` of an envelope from an own key, empty for the member's, and the earliest time (Unix ms) that
// such an envelope may bear.
func (r *keyring) attest(pub crypto.PublicKey) (att string, issued int64, err error) {
	if pub == r.member.Public() {
		return "", 0, nil
	}
	s, err := r.statement(pub, false)
	if err != nil {
		return "", 0, err
	}
	return s.Text(), s.Body.(*protocol.Session).Issued, nil
}

// sweep forgets sessions that ended long ago.
func (r *keyring) sweep() error {
	old := r.now().Add(-endedKept).UnixMilli()
	var gone []crypto.PublicKey
	err := r.db.Commit(func(tx *store.Tx) error {
		gone = nil
		for k := range tx.Scan(table.OwnSessions, []byte(r.mesh), nil) {
			var row ownRow
			if _, err := table.GetJSON(tx, table.OwnSessions, k, &row); err != nil {
				return err
			}
			if row.EndedAt != 0 && row.EndedAt < old {
				gone = append(gone, crypto.PublicKey(k[len(r.mesh):]))
			}
		}
		for _, pub := range gone {
			if err := tx.Delete(table.OwnSessions, table.Key(r.mesh, pub[:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget old sessions: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pub := range gone {
		if own, ok := r.own[pub]; ok && !own.live {
			delete(r.own, pub)
		}
	}
	return nil
}
