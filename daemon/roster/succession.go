package roster

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// Succession says whose the mail for session keys is. It is read once for each decision.
type Succession struct {
	owner   map[crypto.PublicKey]string // id of the live session that has the key, or whose process had it before
	holder  map[string]string           // id of the live session that has the label
	resting func(own crypto.PublicKey) bool
}

// ResumeWithin is how long mail for a session that ended is kept for it, or for a session that takes its label. People close a
// terminal, or start their machine anew, and resume; what was for one project is not to turn up in another meanwhile.
const ResumeWithin = 5 * time.Minute

// Resting says whether the session of a key ended so lately that it may be resumed.
func (s *Succession) Resting(own crypto.PublicKey) bool { return s.resting(own) }

func (r *Roster) resting(own crypto.PublicKey) bool {
	now := r.Now()
	return slices.ContainsFunc(r.Meshes(), func(m *mesh.Mesh) bool { return wallclock.Recent(m.LastLive(own), now, ResumeWithin) })
}

// Succession looks at the sessions that live now.
func (r *Roster) Succession() *Succession {
	s := &Succession{owner: make(map[crypto.PublicKey]string), holder: make(map[string]string), resting: r.resting}
	r.formerKeys(s.owner)
	for _, l := range r.liveSessions() {
		s.owner[l.Public()], s.holder[l.Label] = l.ID, l.ID
	}
	return s
}

// Heir returns the id of the session that gets the mail for a session key. Ended says that nobody lives by the key any
// more: then the mail is the member's, and goes to the session that has the label now, or with an empty id to any.
func (s *Succession) Heir(own crypto.PublicKey, label string) (id string, ended bool) {
	if id, ok := s.owner[own]; ok {
		return id, false
	}
	return s.holder[label], true
}

// formerKeys enters, for each process of a live session, the keys of the sessions that it had before.
func (r *Roster) formerKeys(owner map[crypto.PublicKey]string) {
	process := make(map[registry.Process]string)
	for _, s := range r.Live.Live() {
		process[s.Process] = s.ID
	}
	former := make(map[string]string) // id of the session that goes on, by the old one's
	r.mu.Lock()
	for id, p := range r.replaced {
		if now, ok := process[p]; ok && now != id {
			former[id] = now
		}
	}
	r.mu.Unlock()
	if len(former) == 0 {
		return
	}
	err := r.DB.View(func(tx *store.Tx) error {
		for id, now := range former {
			if seed := tx.Get(table.Sessions, []byte(id)); seed != nil {
				owner[crypto.KeyFromSeed([crypto.SeedSize]byte(seed)).Public()] = now
			}
		}
		return nil
	})
	if err != nil {
		r.Log.Warn("mail of former sessions not offered", "err", err)
	}
}

// Viewer is who a request acts for, nil for the person.
func (r *Roster) Viewer(acting *keyring.Session) *inbox.Viewer {
	if acting == nil {
		return nil
	}
	heirs := r.Succession()
	return &inbox.Viewer{ID: acting.ID, Key: acting.Public(), Label: acting.Label, Heir: func(own crypto.PublicKey, label string) bool {
		id, _ := heirs.Heir(own, label)
		return id == "" || id == acting.ID
	}}
}
