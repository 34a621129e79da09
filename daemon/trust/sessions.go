package trust

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// SessionsKept is how many session statements of one member are kept, and of all together who came
// by one link and are not admitted: as many as a broker keeps.
const SessionsKept = 256

// Session returns the newest session statement for a key, nil when none is known.
func (t *State) Session(key crypto.PublicKey) *protocol.Statement {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[key]
}

// Sessions returns what is known of the sessions of all members, in no order.
func (t *State) Sessions() []*protocol.Session {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*protocol.Session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s.Body.(*protocol.Session))
	}
	return all
}

// ForgetSessions forgets the statements of sessions that ended: those that expired before over, and
// of each member the oldest beyond SessionsKept. Those of a member's own key stay, and those of
// keys that are live.
func (t *State) ForgetSessions(over time.Time, live func(crypto.PublicKey) bool) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	gone := slices.DeleteFunc(t.oldSessions(over), live)
	if len(gone) == 0 {
		return nil
	}
	err := t.db.Commit(func(tx *store.Tx) error {
		for _, key := range gone {
			if err := tx.Delete(table.Known, table.Key(t.mesh, []byte{'s'}, key[:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget sessions: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range gone {
		delete(t.sessions, key)
	}
	return nil
}

func (t *State) oldSessions(over time.Time) (old []crypto.PublicKey) {
	of := make(map[crypto.PublicKey][]*protocol.Session)
	view := t.View()
	for _, s := range t.Sessions() {
		if s.Session == s.Member {
			continue
		}
		person := s.Member
		if link, ok := t.LinkOf(person); ok && !view.Verified(person) {
			person = link
		}
		of[person] = append(of[person], s)
	}
	for _, sessions := range of {
		slices.SortFunc(sessions, func(a, b *protocol.Session) int { return cmp.Compare(b.Issued, a.Issued) })
		for i, s := range sessions {
			if i >= SessionsKept || s.Expires < over.UnixMilli() {
				old = append(old, s.Session)
			}
		}
	}
	return old
}
