package trust

import (
	"cmp"
	"fmt"
	"maps"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Enrolment is how somebody came who is not, or was not at once, certified.
type Enrolment struct {
	Invite, Enrol *protocol.Statement
	Arrived       int64 // as how manieth of the mesh, by the broker's word; 0: it did not say
}

// enrolmentRow is an enrolment on disk, as statement texts.
type enrolmentRow struct {
	Invite  string `json:"invite"`
	Enrol   string `json:"enrol"`
	Arrived int64  `json:"arrived,omitempty"`
}

func ParseEnrolment(invite, enrol string) (Enrolment, error) {
	i, err := protocol.ParseText(invite)
	if err != nil {
		return Enrolment{}, err
	}
	e, err := protocol.ParseText(enrol)
	return Enrolment{Invite: i, Enrol: e}, err
}

// Learn takes session statements and enrolments: the newest session per key, and one enrolment per member. It reports
// whether anything was new.
func (t *State) Learn(sessions []*protocol.Statement, enrolments []Enrolment) (bool, error) {
	t.saving.Lock()
	defer t.saving.Unlock()
	now := t.now()
	t.mu.Lock()
	newSessions := make(map[crypto.PublicKey]*protocol.Statement)
	for _, s := range sessions {
		body, ok := s.Body.(*protocol.Session)
		if !ok || body.Mesh != t.mesh {
			continue
		}
		have := cmp.Or(newSessions[body.Session], t.sessions[body.Session])
		if have == nil || s.SupersedesAt(have, now) {
			newSessions[body.Session] = s
		}
	}
	newEnrolments := make(map[crypto.PublicKey]Enrolment)
	for _, e := range enrolments {
		body, ok := e.Enrol.Body.(*protocol.Enrol)
		if !ok || body.Mesh != t.mesh {
			continue
		}
		if t.learnsLocked(body.Member, e, newEnrolments, now) {
			newEnrolments[body.Member] = e
		}
	}
	t.mu.Unlock()
	if len(newSessions) == 0 && len(newEnrolments) == 0 {
		return false, nil
	}
	err := t.db.Commit(func(tx *store.Tx) error {
		for key, s := range newSessions {
			if err := tx.Put(table.Known, table.Key(t.mesh, []byte{'s'}, key[:]), s.Raw()); err != nil {
				return err
			}
		}
		for key, e := range newEnrolments {
			row := enrolmentRow{Invite: e.Invite.Text(), Enrol: e.Enrol.Text(), Arrived: e.Arrived}
			if err := table.PutJSON(tx, table.Known, table.Key(t.mesh, []byte{'e'}, key[:]), row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("keep sessions and enrolments: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.sessions, newSessions)
	maps.Copy(t.invited, newEnrolments)
	return true, nil
}

// unfoundedKept bounds the enrolments whose link is of nobody who may invite, as far as is known.
const unfoundedKept = 256

// learnsLocked reports whether an enrolment is kept. The first one of a key stays, unless nobody who may invite made its link: a broker
// can put a genuine enrolment behind a link that it signed itself. Such ones are kept, since the log may be late, up to a bound.
func (t *State) learnsLocked(key crypto.PublicKey, e Enrolment, others map[crypto.PublicKey]Enrolment, now time.Time) bool {
	founded := func(e Enrolment) bool {
		code := protocol.CodeOf(t.view.CheckInvite(e.Invite, now))
		return code != protocol.CodeForbidden && code != protocol.CodeForeign
	}
	have, known := others[key]
	if !known {
		have, known = t.invited[key]
	}
	if known || founded(e) {
		return !known || !founded(have) && founded(e)
	}
	n := 0
	for _, all := range []map[crypto.PublicKey]Enrolment{t.invited, others} {
		for _, other := range all {
			if !founded(other) {
				n++
			}
		}
	}
	return n < unfoundedKept
}

// Forget gives up the enrolments of these members.
func (t *State) Forget(keys []crypto.PublicKey) error {
	if len(keys) == 0 {
		return nil
	}
	t.saving.Lock()
	defer t.saving.Unlock()
	err := t.db.Commit(func(tx *store.Tx) error {
		for _, key := range keys {
			if err := tx.Delete(table.Known, table.Key(t.mesh, []byte{'e'}, key[:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget enrolments: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		delete(t.invited, key)
	}
	return nil
}

// Enrolments returns a copy of all enrolments by member key.
func (t *State) Enrolments() map[crypto.PublicKey]Enrolment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.invited)
}

// LinkOf is the link that a key came by.
func (t *State) LinkOf(key crypto.PublicKey) (link crypto.PublicKey, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.invited[key]
	if !ok {
		return link, false
	}
	return e.Invite.Body.(*protocol.Invite).Link, true
}

// IsInvited reports whether key came by a link that is open, unexpired and by somebody who may invite.
func (t *State) IsInvited(key crypto.PublicKey) bool {
	t.mu.Lock()
	e, ok := t.invited[key]
	view := t.view
	t.mu.Unlock()
	return ok && view.Invited(e.Invite, e.Enrol, t.now()) == nil
}
