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
// Three classes are held:
//   - what stands on the authority of an owner or admin, and leaving members' own revokes: at most MaxMeshLog statements of
//     MaxMeshLogSize bytes. Past that only owner-signed ones are taken.
//   - what nobody known signed: at most MaxUnresolved statements of MaxMeshLogSize bytes. They count when a later statement resolves them. Revokes of
//     own session and API keys are here too: an admin repeats those that matter.
//   - what a removed admin or former owner signed and nobody keeps: only in room that the first class leaves, since a later
//     keep list may still name it.
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
			err = Refuse(CodeMeshFull, "the mesh has as many statements as it may: %s statement %s is not kept", st.Kind, st.ID.String()[:8])
		}
	}
	return added, err
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

// fit returns what of the set and fresh there is room for; v is the view of both. What is held goes before what is fresh.
func (s *Set) fit(v *View, fresh []*Statement) []*Statement {
	var held, void []*Statement
	var count, size, aside, asideSize int
	room := func(st *Statement) bool { return count < MaxMeshLog && size+len(st.raw) <= MaxMeshLogSize }
	take := func(st *Statement) {
		held, count, size = append(held, st), count+1, size+len(st.raw)
	}
	for _, st := range slices.Concat(s.all, fresh) {
		switch v.class(st) {
		case classOwner:
			take(st)
		case classAdmin:
			if room(st) {
				take(st)
			}
		case classUnresolved:
			if aside < MaxUnresolved && asideSize+len(st.raw) <= MaxMeshLogSize {
				held, aside, asideSize = append(held, st), aside+1, asideSize+len(st.raw)
			}
		case classVoid:
			void = append(void, st)
		}
	}
	for _, st := range void {
		if room(st) {
			take(st)
		}
	}
	return held
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

// Classes of what a set holds; see Set.
const (
	classOwner = iota
	classAdmin
	classUnresolved
	classVoid
)

// class tells which room st takes in a set whose view is v.
func (v *View) class(st *Statement) int {
	signer := st.Signer()
	switch b := st.Body.(type) {
	case *OwnerChange:
		if force, _ := v.weigh(st); force {
			return classOwner
		}
		return classUnresolved
	case *Revoke:
		if b.Kind == RevokeKey && b.Issuer == b.Target && !v.ownerSigned(signer, st.ID) {
			return v.classOfLeave(st, b)
		}
	}
	_, removed := v.removed[signer]
	_, former := v.kept[signer]
	switch {
	case v.ownerSigned(signer, st.ID):
		return classOwner
	case v.adminSigned(signer, st.ID):
		return classAdmin
	case v.appointed[signer] && removed, former:
		return classVoid
	}
	return classUnresolved
}

// classOfLeave is class for a revoke that its target signed. One such statement of everybody who ever was a member counts.
func (v *View) classOfLeave(st *Statement, b *Revoke) int {
	switch {
	case v.certified[b.Target] == nil:
		return classUnresolved
	case v.revoked[b.Target].ID == st.ID:
		return classAdmin
	}
	return classVoid
}
