package protocol

import (
	"fmt"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
)

// Pins is what the reader of a view had accepted before. It decides only in a fork. The zero value is that of somebody who
// had accepted nothing.
type Pins struct {
	Owner       map[uint64]ID    // by n: the owner statement that was followed
	InviteOwner crypto.PublicKey // the owner that the reader's own link named
}

// Fork is a hand-over that was signed twice: by a thief, or by mistake. A statement of the recovery key settles it.
type Fork struct {
	N        uint64
	Rivals   []ID // ascending
	Followed ID   // zero: none, so the mesh stays with the owner before
}

// followOwners goes from the charter's owner along owner statements 1, 2, … as far as they lead. Statement n is one by the
// current recovery key, else one by the current owner that leaves the recovery key as it is, and its new key was never owner.
func (v *View) followOwners(all []*Statement) {
	c := v.charter.Body.(*Charter)
	v.owners, v.recovery = []crypto.PublicKey{c.Owner}, c.Recovery
	byN := make(map[uint64][]*Statement)
	for _, s := range all {
		if b, ok := s.Body.(*OwnerChange); ok {
			byN[b.N] = append(byN[b.N], s)
		}
	}
	for {
		n := v.N() + 1
		next := v.choose(n, v.candidates(byN[n]), byN)
		if next == nil {
			return
		}
		b := next.Body.(*OwnerChange)
		v.kept[v.Owner()] = b.Keep
		v.owners, v.recovery = append(v.owners, b.New), b.Recovery
		v.chain = append(v.chain, next)
	}
}

// candidates returns those of one rank that may follow the present owner: the recovery key's if it has signed any, otherwise
// the owner's.
func (v *View) candidates(rank []*Statement) []*Statement {
	var byRecovery, byOwner []*Statement
	for _, s := range rank {
		b := s.Body.(*OwnerChange)
		switch {
		case slices.Contains(v.owners, b.New):
		case follows(b, crypto.PublicKey{}, v.recovery):
			byRecovery = append(byRecovery, s)
		case follows(b, v.Owner(), v.recovery):
			byOwner = append(byOwner, s)
		}
	}
	if len(byRecovery) > 0 {
		return byRecovery
	}
	return byOwner
}

// follows reports whether b is signed by the recovery key, or by the owner and leaves the recovery key as it is.
func follows(b *OwnerChange, owner, recovery crypto.PublicKey) bool {
	return b.By == recovery || b.By == owner && b.Recovery == recovery
}

// choose returns the one to follow, and notes a fork where there is more than one: who had accepted one stays with it, a
// joiner takes the one that his link names, others take none.
func (v *View) choose(n uint64, candidates []*Statement, byN map[uint64][]*Statement) *Statement {
	switch len(candidates) {
	case 0:
		return nil
	case 1:
		return candidates[0]
	}
	fork := Fork{N: n}
	var next *Statement
	for _, s := range candidates {
		fork.Rivals = append(fork.Rivals, s.ID)
		if s.ID == v.pins.Owner[n] {
			next = s
		}
	}
	if invite := v.pins.InviteOwner; next == nil && !invite.IsZero() && !slices.Contains(v.owners, invite) {
		if i := slices.IndexFunc(candidates, func(s *Statement) bool { return leadsTo(s, invite, byN) }); i >= 0 {
			next = candidates[i]
		}
	}
	if next != nil {
		fork.Followed = next.ID
	}
	v.forks = append(v.forks, fork)
	return next
}

// leadsTo reports whether s, or hand-overs that may follow it, make key the owner: the link of somebody who joins after the
// fork may name a later owner of its branch.
func leadsTo(s *Statement, key crypto.PublicKey, byN map[uint64][]*Statement) bool {
	seen := map[ID]bool{s.ID: true}
	for queue := []*Statement{s}; len(queue) > 0; queue = queue[1:] {
		b := queue[0].Body.(*OwnerChange)
		if b.New == key {
			return true
		}
		for _, next := range byN[b.N+1] {
			if !seen[next.ID] && follows(next.Body.(*OwnerChange), b.New, b.Recovery) {
				seen[next.ID] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// Accepted returns the pins for the next view: the hand-overs that this one followed.
func (v *View) Accepted() Pins {
	pins := Pins{Owner: maps.Clone(v.pins.Owner), InviteOwner: v.pins.InviteOwner}
	if pins.Owner == nil {
		pins.Owner = make(map[uint64]ID)
	}
	for i, s := range v.chain {
		pins.Owner[uint64(i+1)] = s.ID
	}
	return pins
}

// Fork reports whether there is a fork that no recovery key has settled, also where the reader follows one side of it.
func (v *View) Fork() bool { return len(v.forks) > 0 }

// Forks returns the open forks, by n.
func (v *View) Forks() []Fork { return slices.Clone(v.forks) }

// Alarms returns a sentence for each thing in the set that a person must look into.
func (v *View) Alarms() []string {
	var alarms []string
	for _, f := range v.forks {
		side := "we stay with the owner before"
		if f.Followed != (ID{}) {
			side = "we follow the one that we had accepted or were invited under"
		}
		alarms = append(alarms, fmt.Sprintf("hand-over %d of the mesh was signed %d times in different ways; %s until the recovery key settles it",
			f.N, len(f.Rivals), side))
	}
	return alarms
}
