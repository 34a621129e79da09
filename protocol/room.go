package protocol

import (
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// classes sorts statements by the room that they take in a set.
type classes struct {
	owner     []*Statement // on the authority of an owner
	certs     []*Statement // on that of an admin
	revokes   []*Statement // likewise, and of everybody who ever was a member the one revoke of his own key that counts
	own       []*Statement // session and API keys that members revoked
	known     []*Statement // of members and owners, without force
	former    []*Statement // what removed members had revoked of their own, and more leaves than one: a removal may turn out void
	strangers []*Statement // of signers not known (yet)
	removed   []*Statement // what else the removed signed: a later statement may make one of them an owner or admin
	handOvers []*Statement // without force (yet), by members and owners
	rivals    []*Statement // the same by others
	void      []*Statement // what a removed admin or former owner signed and nobody keeps: a later keep list may name it
}

// fit returns what of the set and fresh there is room for, in the order of arrival; v is the view of both.
//
// What an owner signed always finds room. So does a revocation, and a hand-over that came before the one that it follows:
// signers share their room, so that everybody's first comes before anybody's second, and members come before strangers, who
// have as many keys as they like; of what the removed signed a rest is kept, where nobody needs the room. Otherwise what is held goes
// before what is fresh.
//
// A set that fitted once fits again in any order.
func (s *Set) fit(v *View, fresh []*Statement) []*Statement {
	all := slices.Concat(s.all, fresh)
	c := v.classify(all)
	keep := make(map[*Statement]bool, len(all))
	for _, st := range c.owner {
		keep[st] = true
	}
	certs, revokes := newRoom(keep, MaxMeshLog), newRoom(keep, MaxMeshLog)
	certs.take(c.certs)
	revokes.take(shared(c.revokes, MaxMeshLog))
	for _, st := range c.void {
		if st.Kind == KindRevoke {
			revokes.take([]*Statement{st})
		} else {
			certs.take([]*Statement{st})
		}
	}
	aside := newRoom(keep, MaxUnresolved)
	aside.take(shared(c.own, MaxOwnRevokes))
	aside.take(shared(c.known, MaxAside))
	aside.take(shared(c.strangers, MaxAside))
	aside.take(shared(c.former, MaxOwnRevokes))
	aside.take(shared(c.removed, MaxAsideRemoved))
	handOvers := newRoom(keep, MaxHandOvers)
	handOvers.take(shared(c.handOvers, MaxHandOvers))
	slices.Reverse(c.rivals) // the newest: it waits for what comes next
	handOvers.take(shared(c.rivals, MaxHandOvers))
	return slices.DeleteFunc(all, func(st *Statement) bool { return !keep[st] })
}

// room is how much more of a class is kept.
type room struct {
	keep        map[*Statement]bool
	count, size int
}

func newRoom(keep map[*Statement]bool, count int) *room {
	return &room{keep: keep, count: count, size: MaxMeshLogSize}
}

// take keeps of stmts what there is room for.
func (r *room) take(stmts []*Statement) {
	for _, st := range stmts {
		if r.count > 0 && len(st.raw) <= r.size {
			r.keep[st] = true
			r.count--
			r.size -= len(st.raw)
		}
	}
}

// shared returns at most quota statements of each signer, everybody's first before anybody's second.
func shared(stmts []*Statement, quota int) []*Statement {
	of, nth := make(map[crypto.PublicKey]int), make(map[*Statement]int, len(stmts))
	for _, st := range stmts {
		nth[st] = of[st.Signer()]
		of[st.Signer()]++
	}
	stmts = slices.DeleteFunc(stmts, func(st *Statement) bool { return nth[st] >= quota })
	slices.SortStableFunc(stmts, func(a, b *Statement) int { return nth[a] - nth[b] })
	return stmts
}

func (v *View) classify(all []*Statement) *classes {
	c := new(classes)
	for _, st := range all {
		class := v.class(c, st)
		*class = append(*class, st)
	}
	return c
}

// class returns which of c takes st.
func (v *View) class(c *classes, st *Statement) *[]*Statement {
	signer := st.Signer()
	_, revoked := v.revoked[signer]
	_, replaced := v.kept[signer]
	_, removed := v.removed[signer]
	known := v.certified[signer] != nil || replaced || signer == v.Owner() || signer == v.recovery
	b, revoke := st.Body.(*Revoke)
	switch {
	case st.Kind == KindOwner:
		return v.classOfHandOver(c, st, known && !revoked)
	case v.ownerSigned(signer, st.ID):
		return &c.owner
	case revoke && b.Kind == RevokeKey && b.Issuer == b.Target:
		return v.classOfLeave(c, st, b)
	case v.adminSigned(signer, st.ID) && revoke:
		return &c.revokes
	case v.adminSigned(signer, st.ID):
		return &c.certs
	case v.appointed[signer] && removed, replaced:
		return &c.void
	case revoke && v.disowns(st, b) && revoked:
		return &c.former
	case revoke && v.disowns(st, b) && known:
		return &c.own
	case revoked:
		return &c.removed
	case known:
		return &c.known
	}
	return &c.strangers
}

// disowns reports whether b may be the one revoke by which its signer took back a session or API key, and no admin repeated
// it.
func (v *View) disowns(st *Statement, b *Revoke) bool {
	r, revoked := v.revoked[b.Target]
	return v.ofNobodyElse(b) && b.Kind == RevokeKey && v.disowned[ownKey{b.Issuer, b.Target}].ID == st.ID && (!revoked || r.Own)
}

func (v *View) classOfHandOver(c *classes, st *Statement, known bool) *[]*Statement {
	force, _ := v.weigh(st)
	switch {
	case force:
		return &c.owner
	case known:
		return &c.handOvers
	}
	return &c.rivals
}

// classOfLeave is class for a revoke that its target signed. One such statement of everybody who ever was a member counts.
func (v *View) classOfLeave(c *classes, st *Statement, b *Revoke) *[]*Statement {
	switch {
	case v.certified[b.Target] == nil:
		return &c.strangers
	case v.revoked[b.Target].ID == st.ID:
		return &c.revokes
	}
	return &c.former
}
