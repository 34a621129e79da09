package roster

import (
	"slices"

	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/protocol"
)

func (r *Roster) liveSessions() []*keyring.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*keyring.Session
	for _, s := range r.sessions {
		all = append(all, s)
	}
	return all
}

// Acting finds the session that a request speaks for: by Claude's id, by key, or by label. Empty means the member, nil.
func (r *Roster) Acting(ref string) (*keyring.Session, error) {
	if ref == "" {
		return nil, nil
	}
	var labelled []*keyring.Session
	live := r.liveSessions()
	for _, s := range live {
		if s.ID == ref || s.Public().String() == ref {
			return s, nil
		}
		if s.Label == ref {
			labelled = append(labelled, s)
		}
	}
	if s := r.successor(ref); s != nil {
		return s, nil
	}
	switch len(labelled) {
	case 1:
		return labelled[0], nil
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "no session %q on this machine", ref)
		for _, s := range live {
			e.Names = append(e.Names, s.Label)
		}
		slices.Sort(e.Names)
		return nil, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "session %q matches more than one", ref)
	for _, s := range labelled {
		e.Names = append(e.Names, s.ID)
	}
	slices.Sort(e.Names)
	return nil, e
}
