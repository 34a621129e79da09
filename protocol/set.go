package protocol

import (
	"maps"
	"slices"
	"time"
)

// Set is what one reader knows about one mesh: the statements from which its view is made. It takes statements in any order
// and from anybody, since each stands alone; all that a stranger can do is to fill what is set aside for signers not known
// yet.
//
// A Set is bounded; see fit.
//
// A Set is not safe for concurrent use. The views it gives are.
type Set struct {
	charter *Statement
	pins    Pins
	all     []*Statement // in order of arrival
	byID    map[ID]*Statement
	view    *View // of all
}

// NewSet returns an empty set for the mesh of charter, for a reader with these pins.
func NewSet(charter *Statement, pins Pins) *Set {
	return &Set{charter: charter, pins: pins, byID: make(map[ID]*Statement), view: NewView(charter, nil, pins)}
}

// Clone returns a set that holds the same: for who adds first, commits to disk, and keeps the old set when that goes wrong.
func (s *Set) Clone() *Set {
	return &Set{charter: s.charter, pins: s.pins, all: slices.Clone(s.all), byID: maps.Clone(s.byID), view: s.view}
}

// View returns the view of the set. It costs nothing.
func (s *Set) View() *View { return s.view }

// Pins returns what the reader has accepted so far, for storing beside the statements.
func (s *Set) Pins() Pins { return s.view.Accepted() }

// Statements returns all statements held, in order of arrival, without the charter.
func (s *Set) Statements() []*Statement { return slices.Clone(s.all) }

// Get returns a statement of the set by its id.
func (s *Set) Get(id ID) (*Statement, bool) {
	st, ok := s.byID[id]
	return st, ok
}

// Len returns the number of statements held.
func (s *Set) Len() int { return len(s.all) }

// Add takes owner, cert and revoke statements, in force or not, and returns those that are new and held from now on.
// The charter and what is held already are passed over. err is the first refusal, if any, and does not keep the others out:
// an *Error of CodeForeign, CodeInvalid for another kind of statement, or CodeMeshFull.
func (s *Set) Add(stmts ...*Statement) (added []*Statement, err error) {
	fresh, err := s.fresh(stmts)
	if len(fresh) == 0 {
		return nil, err
	}
	s.replace(s.fit(NewView(s.charter, slices.Concat(s.all, fresh), s.pins), fresh))
	for _, st := range fresh {
		if _, ok := s.byID[st.ID]; ok {
			added = append(added, st)
		} else if err == nil {
			err = s.noRoom(st)
		}
	}
	return added, err
}

// noRoom says why st is not held.
func (s *Set) noRoom(st *Statement) error {
	return Refuse(CodeMeshFull, "%s statement: the mesh, or its signer %s, has as many as may be kept", st.Kind, st.Signer().Short())
}

// AddInForce is Add for a broker: it takes only what is in force then, so that it stores nothing for strangers. Statements of
// one call may rest on each other in any order. errs has an entry for each of stmts: nil where it is held and in force in the
// end, also when it was held before; otherwise the refusal, for what has no force an *Error of CodeForbidden.
func (s *Set) AddInForce(stmts ...*Statement) (added []*Statement, errs []error) {
	full := make(map[ID]error)
	for {
		fresh, _ := s.fresh(stmts)
		next := s.inForceWith(fresh)
		if len(next) == 0 {
			break
		}
		taken, err := s.Add(next...)
		for _, st := range next {
			if s.byID[st.ID] == nil {
				full[st.ID] = err
			}
		}
		if added = append(added, taken...); len(taken) == 0 {
			break
		}
	}
	added = slices.DeleteFunc(added, func(st *Statement) bool { // it gave way to one behind it
		if s.byID[st.ID] == nil {
			full[st.ID] = s.noRoom(st)
		}
		return s.byID[st.ID] == nil
	})
	errs = make([]error, len(stmts))
	for i, st := range stmts {
		_, errs[i] = s.fresh(stmts[i : i+1])
		switch {
		case errs[i] != nil || st.ID == s.charter.ID || s.byID[st.ID] != nil && s.view.InForce(st.ID):
		case full[st.ID] != nil:
			errs[i] = full[st.ID]
		default:
			errs[i] = Refuse(CodeForbidden, "%s statement: its signer %s has not the authority, or it changes nothing", st.Kind, st.Signer().Short())
		}
	}
	return added, errs
}

// inForceWith returns what of fresh is in force together with what is held. Of hand-overs that rival each other none is: then
// it is the first that would be in force alone.
func (s *Set) inForceWith(fresh []*Statement) (next []*Statement) {
	if len(fresh) == 0 {
		return nil
	}
	v := NewView(s.charter, slices.Concat(s.all, fresh), s.pins)
	for _, st := range fresh {
		if v.InForce(st.ID) {
			next = append(next, st)
		}
	}
	for _, st := range fresh {
		b, ok := st.Body.(*OwnerChange)
		if len(next) > 0 || !ok || b.By != s.view.Owner() && b.By != s.view.Recovery() {
			continue
		}
		if NewView(s.charter, append(slices.Clone(s.all), st), s.pins).InForce(st.ID) {
			return []*Statement{st}
		}
	}
	return next
}

// Forgotten reports whether s closed a link more than RevokedLinkMemory before now: every link has expired by then.
func (s *Statement) Forgotten(now time.Time) bool {
	b, ok := s.Body.(*Revoke)
	return ok && b.Kind == RevokeLink && b.At < now.Add(-RevokedLinkMemory).Unix()
}

// Premature reports whether s is a certificate whose date is ahead of now, the reader's own clock, by more than CertAhead. It is
// void until then: nobody takes it, and whoever made it may offer it again. What is held already is not asked again, so that a
// clock that was set back undoes nothing.
func (s *Statement) Premature(now time.Time) bool {
	b, ok := s.Body.(*Cert)
	return ok && b.Issued > now.Add(CertAhead).Unix()
}

// CheckDate returns an *Error of CodeTimestamp for what is Premature.
func (s *Statement) CheckDate(now time.Time) error {
	if !s.Premature(now) {
		return nil
	}
	return Refuse(CodeTimestamp, "the certificate is dated %s, which is yet to come", TimeOfSeconds(s.Body.(*Cert).Issued).Format(time.DateTime+" MST")).
		WithHint("the clock of the machine that signed it is ahead, or this one's is behind: set it, and sign again")
}

// Lost returns what earlier held and s does not: what gave way to others, or went with its signer.
func (s *Set) Lost(earlier *Set) (lost []*Statement) {
	for _, st := range earlier.all {
		if s.byID[st.ID] == nil {
			lost = append(lost, st)
		}
	}
	return lost
}

// Drop gives up what is Forgotten at now, and returns it.
func (s *Set) Drop(now time.Time) (dropped []*Statement) {
	for _, st := range s.all {
		if st.Forgotten(now) {
			dropped = append(dropped, st)
		}
	}
	if len(dropped) > 0 {
		s.replace(slices.DeleteFunc(slices.Clone(s.all), func(st *Statement) bool { return st.Forgotten(now) }))
	}
	return dropped
}

// fresh returns what of stmts is of this mesh, of the kinds that a view is made of, and not held yet.
func (s *Set) fresh(stmts []*Statement) (fresh []*Statement, err error) {
	seen := make(map[ID]bool)
	for _, st := range stmts {
		switch {
		case st.mesh != s.charter.mesh:
			if err == nil {
				err = Refuse(CodeForeign, "%s statement: it is about another mesh", st.Kind)
			}
			continue
		case st.ID == s.charter.ID || seen[st.ID] || s.byID[st.ID] != nil:
			continue
		}
		seen[st.ID] = true
		switch st.Kind {
		case KindOwner, KindCert, KindRevoke:
			fresh = append(fresh, st)
		default:
			if err == nil {
				err = Refuse(CodeInvalid, "a statement of kind %s does not belong to the log of a mesh", st.Kind)
			}
		}
	}
	return fresh, err
}

func (s *Set) replace(held []*Statement) {
	s.all = held
	clear(s.byID)
	for _, st := range held {
		s.byID[st.ID] = st
	}
	s.view = NewView(s.charter, held, s.pins)
	s.pins = s.view.Accepted()
}
