package protocol

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

// What each standing could do against the room of a set, and what keeps him from it:
//
//	stranger  signs with as many keys as he likes: strangers share what members leave, and hand-overs have a room of their own
//	member    revokes any number of keys that nobody has: each signer has a quota, and everybody's first comes before anybody's second
//	admin     certifies or bans until the mesh is full: removals have a reserve, shared in the same way
//	removed   what he signed goes but for a rest; what he revoked of his own stays while there is room: a thief's ban must
//	          not give a stolen key back
//	broker    sends strangers' junk in any order: the same as a stranger

// crowd is alice, an admin, and bob and mallory, whom she admitted.
func crowd(t *testing.T) (*history, *Set) {
	h := newHistory(t)
	h.unsigned = true
	s := NewSet(h.charter, Pins{})
	h.addTo(s, h.cert(owner, alice, "alice", RoleAdmin, 1), h.cert(owner, cathy, "cathy", RoleAdmin, 1),
		h.cert(alice, bob, "bob", RoleMember, 1), h.cert(alice, mallory, "mallory", RoleMember, 1))
	return h, s
}

// junk returns n certificates by a key, for nobody. They are made without the cost of a check.
func (h *history) junk(by *crypto.PrivateKey, n int) (stmts []*Statement) {
	for i := range n {
		issuer := by.Public()
		stmts = append(stmts, &Statement{
			Kind: KindCert, ID: ID(crypto.Hash(issuer[:], []byte{byte(i), byte(i >> 8)})), mesh: h.mesh(), raw: make([]byte, 300),
			Body: &Cert{h.mesh(), issuer, keyNo(i), "junk", RoleMember, 1},
		})
	}
	return stmts
}

// strangers returns one statement of each of n keys that nobody knows.
func (h *history) strangers(n int, say func(by *crypto.PrivateKey) *Statement) (stmts []*Statement) {
	for i := range n {
		stmts = append(stmts, say(crypto.KeyFromSeed([32]byte{byte(i), byte(i >> 8), 7})))
	}
	return stmts
}

func TestRevocationFindsRoom(t *testing.T) {
	phone := seeded(4)
	for name, flood := range map[string]func(h *history) []*Statement{
		"one stranger": func(h *history) []*Statement { return h.bans(dave, MaxUnresolved+100) },
		"many strangers": func(h *history) []*Statement {
			return h.strangers(MaxUnresolved+100, func(by *crypto.PrivateKey) *Statement { return h.revoke(by, RevokeKey, bob) })
		},
		"a member revokes":   func(h *history) []*Statement { return h.bans(mallory, MaxUnresolved+100) },
		"a member certifies": func(h *history) []*Statement { return h.junk(mallory, MaxUnresolved+100) },
		"a member hands over": func(h *history) (all []*Statement) {
			for i := range MaxUnresolved + 100 {
				all = append(all, h.handOver(mallory, uint64(i+1), mallory, recovery))
			}
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, s := crowd(t)
			if _, err := s.Add(flood(h)...); CodeOf(err) != CodeMeshFull {
				t.Errorf("the flood is refused with %v", err)
			}
			h.addTo(s, h.revoke(bob, RevokeKey, phone))
			if _, ok := s.View().RevokedOf(bob.Public(), phone.Public()); !ok {
				t.Error("bob's stolen key is not revoked")
			}
			again := NewSet(h.charter, s.Pins())
			h.addTo(again, byID(s.Statements())...)
			if lost := again.Lost(s); len(lost) != 0 {
				t.Errorf("read again in another order %d of %d are not held", len(lost), s.Len())
			}
		})
	}
}

// byID is the order in which a store lists statements.
func byID(stmts []*Statement) []*Statement {
	slices.SortFunc(stmts, func(a, b *Statement) int { return slices.Compare(a.ID[:], b.ID[:]) })
	return stmts
}

// The broker's set takes only what has force. A member's revokes of keys that nobody has do have it.
func TestRevocationFindsRoomAtTheBroker(t *testing.T) {
	h, s := crowd(t)
	_, errs := s.AddInForce(h.bans(mallory, MaxUnresolved+100)...)
	refused := 0
	for _, err := range errs {
		if err != nil {
			wantCode(t, err, CodeMeshFull)
			refused++
		}
	}
	if held := MaxUnresolved + 100 - refused; held != MaxOwnRevokes {
		t.Errorf("%d revokes of one member are held", held)
	}
	for i := range 10 { // and many members together do no better
		member := crypto.KeyFromSeed([32]byte{byte(i), 9})
		h.addTo(s, h.cert(alice, member, "m", RoleMember, 1))
		s.AddInForce(h.bans(member, MaxOwnRevokes)...)
	}
	own := h.revoke(bob, RevokeKey, seeded(4))
	if _, errs := s.AddInForce(own); errs[0] != nil || !s.View().InForce(own.ID) {
		t.Errorf("bob's stolen key is not revoked: %v", errs[0])
	}
}

// A hand-over that comes before the one that it follows waits for that, whoever floods.
func TestHandOverFindsRoom(t *testing.T) {
	for name, flood := range map[string]func(h *history) []*Statement{
		"one stranger": func(h *history) (all []*Statement) {
			for i := range MaxUnresolved + 100 {
				all = append(all, h.handOver(dave, uint64(i+1), mallory, recovery))
			}
			return all
		},
		"many strangers": func(h *history) []*Statement {
			return h.strangers(MaxUnresolved+100, func(by *crypto.PrivateKey) *Statement { return h.handOver(by, 2, by, recovery) })
		},
		"strangers who certify": func(h *history) []*Statement {
			return h.strangers(MaxUnresolved+100, func(by *crypto.PrivateKey) *Statement { return h.cert(by, by, "x", RoleMember, 1) })
		},
		"a member": func(h *history) []*Statement { return h.bans(mallory, MaxUnresolved+100) },
	} {
		t.Run(name, func(t *testing.T) {
			h, s := crowd(t)
			s.Add(flood(h)...)
			h.addTo(s, h.handOver(owner2, 2, owner3, recovery))
			s.Add(h.bans(seeded(77), 100)...)
			h.addTo(s, h.handOver(owner, 1, owner2, recovery))
			wantOwner(t, s.View(), owner3)
		})
	}
}

// An admin who fills the mesh keeps out neither the removals of the others nor those who leave.
func TestRemovalsFindRoomInAFullMesh(t *testing.T) {
	for name, flood := range map[string]func(h *history) []*Statement{
		"certificates": func(h *history) []*Statement { return h.junk(alice, MaxMeshLog+50) },
		"bans":         func(h *history) []*Statement { return h.bans(alice, MaxMeshLog+50) },
	} {
		t.Run(name, func(t *testing.T) {
			h, s := crowd(t)
			_, err := s.Add(flood(h)...)
			wantCode(t, err, CodeMeshFull)
			h.addTo(s, h.revoke(cathy, RevokeKey, mallory))
			wantRevoked(t, s.View(), mallory, true)
			h.addTo(s, h.revoke(bob, RevokeKey, bob))
			wantRevoked(t, s.View(), bob, true)
			if s.Len() > MaxMeshLog+4 {
				t.Errorf("%d statements are held", s.Len())
			}
		})
	}
}

// What a removed member signed goes, and with the removal void he has revoked what he had revoked.
func TestStatementsOfTheRemovedGo(t *testing.T) {
	h, s := crowd(t)
	s.Add(h.junk(mallory, MaxUnresolved)...)
	own := h.revoke(mallory, RevokeKey, seeded(4))
	h.addTo(s, own)
	if n := s.Len(); n < 40 {
		t.Fatalf("%d statements are held", n)
	}
	h.addTo(s, h.revoke(cathy, RevokeKey, mallory))
	if n := s.Len(); n != 6+MaxAsideRemoved {
		t.Errorf("%d statements are held, want 4 certificates, the ban, one own revoke and %d others", n, MaxAsideRemoved)
	}
	h.addTo(s, h.revoke(owner, RevokeKey, cathy)) // who is the thief of her key, and none of it is kept
	if _, ok := s.View().RevokedOf(mallory.Public(), seeded(4).Public()); !ok || !s.View().Verified(mallory.Public()) {
		t.Error("mallory is back without what was revoked")
	}
}
