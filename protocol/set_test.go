package protocol

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

func (h *history) addTo(s *Set, stmts ...*Statement) {
	h.t.Helper()
	if _, err := s.Add(stmts...); err != nil {
		h.t.Fatal(err)
	}
}

func TestSetResolvesLater(t *testing.T) {
	h := newHistory(t)
	a := h.cert(owner, alice, "alice", RoleAdmin, 1)
	b := h.cert(alice, bob, "bob", RoleMember, 1)
	s := NewSet(h.charter, Pins{})
	h.addTo(s, b)
	wantMembers(t, s.View())
	h.addTo(s, a)
	wantMembers(t, s.View(), "alice!", "bob")
}

func TestSetAdd(t *testing.T) {
	h := newHistory(t)
	a := h.cert(owner, alice, "alice", RoleAdmin, 1)
	foreign := mustSign(t, &Cert{testMesh, owner.Public(), bob.Public(), "bob", RoleMember, 1}, owner)
	sess := h.session(alice, seeded(4), 1)
	p := h.revoke(owner, RevokeKey, cathy)
	s := NewSet(h.charter, Pins{})
	added, err := s.Add(foreign, h.charter, a, a, sess, p)
	wantCode(t, err, CodeForeign)
	if !slices.Equal(added, []*Statement{a, p}) || s.Len() != 2 || !slices.Equal(s.Statements(), added) {
		t.Errorf("added %v", ids(added))
	}
	_, err = s.Add(sess)
	wantCode(t, err, CodeInvalid)
	if added, err := s.Add(a, h.charter); len(added) != 0 || err != nil {
		t.Errorf("added again: %v, %v", added, err)
	}
	if got, ok := s.Get(a.ID); !ok || got != a {
		t.Error("a is not held")
	}
	if _, ok := s.Get(sess.ID); ok {
		t.Error("a session is held")
	}
}

func TestClone(t *testing.T) {
	h := newHistory(t)
	s := NewSet(h.charter, Pins{InviteOwner: owner2.Public()})
	h.addTo(s, h.cert(owner, alice, "alice", RoleAdmin, 1))
	c := s.Clone()
	h.addTo(c, h.cert(alice, bob, "bob", RoleMember, 1), h.handOver(owner, 1, owner2, recovery, h.set...), h.handOver(owner, 1, owner3, recovery))
	wantMembers(t, s.View(), "alice!")
	wantMembers(t, c.View(), "alice!", "bob")
	wantOwner(t, s.View(), owner)
	wantOwner(t, c.View(), owner2)
	if s.Len() != 1 || c.Len() != 4 || len(s.Pins().Owner) != 0 || len(c.Pins().Owner) != 1 {
		t.Errorf("%d and %d held, pins %v and %v", s.Len(), c.Len(), s.Pins(), c.Pins())
	}
	if _, ok := s.Get(h.set[1].ID); ok {
		t.Error("the first set holds what its clone was given")
	}
	h.addTo(s, h.set[1])
	wantMembers(t, s.View(), "alice!", "bob")
}

// keyNo returns a key that nobody holds.
func keyNo(i int) crypto.PublicKey {
	return crypto.PublicKey{byte(i), byte(i >> 8), 1}
}

// bans returns n revokes by a key, of nobody.
func (h *history) bans(by *crypto.PrivateKey, n int) (stmts []*Statement) {
	for i := range n {
		stmts = append(stmts, h.say(&Revoke{Mesh: h.mesh(), Issuer: by.Public(), Kind: RevokeKey, Target: keyNo(i)}, by))
	}
	return stmts
}

func TestStrangersFillOnlyWhatIsSetAside(t *testing.T) {
	h := newHistory(t)
	h.unsigned = true
	s := NewSet(h.charter, Pins{})
	added, err := s.Add(h.bans(mallory, MaxUnresolved+1)...)
	wantCode(t, err, CodeMeshFull)
	if len(added) != MaxAside || s.Len() != MaxAside {
		t.Errorf("%d statements of a stranger are held", len(added))
	}
	_, err = s.Add(h.strangers(MaxUnresolved, func(by *crypto.PrivateKey) *Statement { return h.revoke(by, RevokeKey, bob) })...)
	wantCode(t, err, CodeMeshFull)
	if s.Len() != MaxUnresolved {
		t.Errorf("%d statements of strangers are held", s.Len())
	}
	b := h.cert(dave, bob, "bob", RoleMember, 1)
	_, err = s.Add(b)
	wantCode(t, err, CodeMeshFull)
	b = h.cert(alice, bob, "bob", RoleMember, 1)
	a := h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.addTo(s, b, a) // what the same call resolves is not set aside
	wantMembers(t, s.View(), "alice!", "bob")
	ban := h.revoke(alice, RevokeKey, bob)
	h.addTo(s, ban)
	wantMembers(t, s.View(), "alice!")
}

func TestAdminsFillTheMeshAndTheOwnerClearsIt(t *testing.T) {
	h := newHistory(t)
	h.unsigned = true
	a, c := h.cert(owner, alice, "alice", RoleAdmin, 1), h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	s := NewSet(h.charter, Pins{})
	h.addTo(s, a, c)
	added, err := s.Add(h.junk(alice, MaxMeshLog+1)...)
	wantCode(t, err, CodeMeshFull)
	if len(added) != MaxMeshLog || s.Len() != MaxMeshLog+2 {
		t.Errorf("%d statements are held", s.Len())
	}
	b := h.cert(cathy, bob, "bob", RoleMember, 1)
	_, err = s.Add(b)
	wantCode(t, err, CodeMeshFull)
	d := h.cert(owner, dave, "dave", RoleMember, 1)
	h.addTo(s, d, h.revoke(owner, RevokeKey, alice, added[0]))
	h.addTo(s, b) // what the removed admin signed gives way
	wantMembers(t, s.View(), "bob", "cathy!", "dave", "junk")
	if !s.View().InForce(added[0].ID) || s.View().InForce(added[1].ID) {
		t.Error("not what was kept is in force")
	}
	if s.Len() > MaxMeshLog+4 {
		t.Errorf("%d statements are held", s.Len())
	}
	h.addTo(s, h.revoke(bob, RevokeKey, bob)) // so does it to somebody who leaves
	wantMembers(t, s.View(), "cathy!", "dave", "junk")
}

func TestSetSize(t *testing.T) {
	h := newHistory(t)
	h.unsigned = true
	s := NewSet(h.charter, Pins{})
	h.addTo(s, h.cert(owner, alice, "alice", RoleAdmin, 1))
	var long []*Statement
	for i := range 100 {
		r := &Revoke{Mesh: h.mesh(), Issuer: alice.Public(), Kind: RevokeKey, Target: keyNo(i), Keep: make([]ID, 1700)}
		for j := range r.Keep {
			r.Keep[j] = ID{byte(j >> 8), byte(j)}
		}
		long = append(long, h.say(r, alice))
	}
	unknown := NewSet(h.charter, Pins{})
	added, err := unknown.Add(long...)
	wantCode(t, err, CodeMeshFull)
	if len(added) != MaxAside {
		t.Errorf("%d long statements are set aside, want %d", len(added), MaxAside)
	}
	added, err = s.Add(long...)
	wantCode(t, err, CodeMeshFull)
	if want := MaxMeshLogSize / len(long[0].Raw()); len(added) != want {
		t.Errorf("%d long statements are held, want %d", len(added), want)
	}
	h.addTo(s, h.revoke(owner, RevokeAdmin, alice))
}

// Of everybody who leaves one statement is kept, the same everywhere.
func TestLeavesAreKeptOnce(t *testing.T) {
	h := newHistory(t)
	h.unsigned = true
	s := NewSet(h.charter, Pins{})
	h.addTo(s, h.cert(owner, bob, "bob", RoleMember, 1))
	for i := range 20 {
		h.say(&Revoke{Mesh: h.mesh(), Issuer: bob.Public(), Kind: RevokeKey, Target: bob.Public(), At: int64(i)}, bob)
	}
	h.addTo(s, h.set...)
	inForce := 0
	for _, st := range s.Statements() {
		if st.Kind == KindRevoke && s.View().InForce(st.ID) {
			inForce++
		}
	}
	if r, _ := s.View().Revoked(bob.Public()); inForce != 1 || r.ID != ids(s.View().Signed(bob.Public()))[0] {
		t.Errorf("%d leaves are in force", inForce)
	}
	full := h.bans(mallory, MaxAside)
	s = NewSet(h.charter, Pins{})
	h.addTo(s, h.set[0])
	h.addTo(s, full...)
	h.addTo(s, h.set[1]) // also where strangers filled what is set aside
	wantMembers(t, s.View())
}

func TestAddInForce(t *testing.T) {
	h := newHistory(t)
	h.cert(alice, bob, "bob", RoleMember, 1)         // rests on the next
	h.cert(owner, alice, "alice", RoleAdmin, 1)      //
	h.cert(mallory, mallory, "m", RoleMember, 1)     // a stranger's
	h.revoke(alice, RevokeKey, recovery)             // above her
	h.revoke(bob, RevokeKey, bob)                    // his own
	h.session(alice, seeded(4), 1)                   // another kind
	h.handOver(owner, 1, owner2, recovery, h.set[1]) //
	h.handOver(owner, 1, owner3, recovery, h.set[1]) // the owner's second thought
	s := NewSet(h.charter, Pins{})
	added, errs := s.AddInForce(append(h.set, h.charter, h.set[1])...)
	want := []Code{"", "", CodeForbidden, CodeForbidden, "", CodeInvalid, "", CodeForbidden, "", ""}
	for i, err := range errs {
		if CodeOf(err) != want[i] {
			t.Errorf("statement %d: %v, want %q", i, err, want[i])
		}
	}
	if len(added) != 4 || s.Len() != 4 {
		t.Errorf("%d added, %d held, want 4", len(added), s.Len())
	}
	wantOwner(t, s.View(), owner2)
	wantMembers(t, s.View(), "alice!")
	if again, errs := s.AddInForce(h.set[0]); len(again) != 0 || errs[0] != nil {
		t.Errorf("again: %v, %v", again, errs)
	}
}

func TestAddInForceWhenFull(t *testing.T) {
	h := newHistory(t)
	h.unsigned = true
	s := NewSet(h.charter, Pins{})
	h.addTo(s, h.cert(owner, alice, "alice", RoleAdmin, 1))
	bans := h.bans(alice, MaxMeshLog+1)
	added, errs := s.AddInForce(bans...)
	if len(added) != MaxMeshLog || errs[0] != nil {
		t.Errorf("%d added, %v", len(added), errs[0])
	}
	wantCode(t, errs[len(errs)-1], CodeMeshFull)
}

func TestDrop(t *testing.T) {
	h := newHistory(t)
	at := func(kind string, at int64) *Statement {
		return h.say(&Revoke{Mesh: h.mesh(), Issuer: owner.Public(), Kind: kind, Target: seeded(9).Public(), At: at}, owner)
	}
	day := int64(24 * time.Hour / time.Second)
	old, young, ban := at(RevokeLink, 0), at(RevokeLink, day), at(RevokeKey, 0)
	s := NewSet(h.charter, Pins{})
	h.addTo(s, old, young, ban)
	if dropped := s.Drop(time.Unix(60*day, 0)); len(dropped) != 0 {
		t.Errorf("dropped %d on the day", len(dropped))
	}
	if dropped := s.Drop(time.Unix(60*day+1, 0)); !slices.Equal(dropped, []*Statement{old}) {
		t.Errorf("dropped %d", len(dropped))
	}
	if !slices.Equal(s.Statements(), []*Statement{young, ban}) || s.View().InForce(old.ID) {
		t.Error("not the others are left")
	}
}

func TestViewWithoutCharterPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewView(samplesStatement(t, KindCert), nil, Pins{})
}

func samplesStatement(t testing.TB, kind string) *Statement {
	t.Helper()
	c := samples()[kind]
	return mustSign(t, c.body, c.keys...)
}

// A view of 600 statements is to take less than a millisecond.
func BenchmarkView600(b *testing.B) {
	h := newHistory(b)
	h.unsigned = true
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	for i := range 500 {
		key := crypto.KeyFromSeed([32]byte{byte(i), byte(i >> 8)})
		h.cert(alice, key, fmt.Sprint("m", i), RoleMember, 1)
		if i < 99 {
			h.revoke(alice, RevokeKey, key)
		}
	}
	for b.Loop() {
		NewView(h.charter, h.set, Pins{})
	}
}
