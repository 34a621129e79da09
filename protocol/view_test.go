package protocol

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// The people of these tests. Alice and cathy are admins where a test makes them so; bob, dave and mallory never are.
var (
	owner, recovery   = seeded(1), seeded(14)
	owner2, recovery2 = seeded(21), seeded(22)
	owner3            = seeded(23)
	alice, bob        = seeded(2), seeded(3)
	cathy, dave       = seeded(5), seeded(6)
	mallory           = seeded(7)
	everyone          = []*crypto.PrivateKey{owner, recovery, owner2, recovery2, owner3, alice, bob, cathy, dave, mallory}
)

// A history is a mesh and the statements that were made about it.
type history struct {
	t        testing.TB
	charter  *Statement
	set      []*Statement
	unsigned bool // views do not look at signatures, and they take their time
}

func newHistory(t testing.TB) *history {
	t.Helper()
	return &history{t: t, charter: mustSign(t, &Charter{Owner: owner.Public(), Recovery: recovery.Public(), Created: 1, Slug: "demo"}, owner)}
}

func (h *history) mesh() MeshID { return h.charter.Mesh() }

func (h *history) say(b Body, keys ...*crypto.PrivateKey) *Statement {
	h.t.Helper()
	var s *Statement
	if h.unsigned {
		block, err := encodeBody(b)
		if err != nil {
			h.t.Fatal(err)
		}
		s = &Statement{Kind: b.kind(), ID: ID(crypto.Hash(block)), Body: b, mesh: h.mesh(), raw: append(block, make([]byte, 128)...)}
	} else {
		s = mustSign(h.t, b, keys...)
	}
	h.set = append(h.set, s)
	return s
}

func (h *history) cert(by, member *crypto.PrivateKey, name, role string, issued int64) *Statement {
	h.t.Helper()
	return h.say(&Cert{h.mesh(), by.Public(), member.Public(), name, role, issued}, by)
}

func (h *history) revoke(by *crypto.PrivateKey, kind string, target *crypto.PrivateKey, keep ...*Statement) *Statement {
	h.t.Helper()
	return h.say(&Revoke{h.mesh(), by.Public(), kind, target.Public(), ids(keep), 1, "because"}, by)
}

func (h *history) handOver(by *crypto.PrivateKey, n uint64, to, rec *crypto.PrivateKey, keep ...*Statement) *Statement {
	h.t.Helper()
	o := &OwnerChange{Mesh: h.mesh(), By: by.Public(), N: n, New: to.Public(), Keep: ids(keep)}
	if rec != nil {
		o.Recovery = rec.Public()
	}
	return h.say(o, by)
}

func (h *history) session(member, key *crypto.PrivateKey, issued int64) *Statement {
	h.t.Helper()
	return h.say(&Session{Mesh: h.mesh(), Member: member.Public(), Session: key.Public(), Label: "web", Issued: issued, Expires: issued + 1000}, member, key)
}

func (h *history) view() *View { return NewView(h.charter, h.set, Pins{}) }

// ids returns the ids of stmts, ascending.
func ids(stmts []*Statement) (ids []ID) {
	for _, s := range stmts {
		ids = append(ids, s.ID)
	}
	slices.SortFunc(ids, func(a, b ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

// dump shows all that a view says, for comparing two.
func dump(v *View) string {
	var b strings.Builder
	fmt.Fprintln(&b, "owners", v.Owners(), "recovery", v.Recovery(), "n", v.N(), "forks", v.Forks())
	for _, m := range v.Members() {
		fmt.Fprintf(&b, "member %+v\n", m)
	}
	for _, k := range everyone {
		r, ok := v.Revoked(k.Public())
		fmt.Fprintln(&b, k.Public().Short(), v.IsAdmin(k.Public()), ok, r)
		for _, m := range everyone {
			r, ok := v.RevokedOf(m.Public(), k.Public())
			fmt.Fprint(&b, ok, r.ID, " ")
		}
	}
	digest := v.Digest()
	fmt.Fprintln(&b, "log", ids(v.Log()), "force", ids(v.Statements()), hex.EncodeToString(digest[:]))
	return b.String()
}

// wantMembers wants exactly these verified members, as "name" or "name!" for an admin.
func wantMembers(t *testing.T, v *View, want ...string) {
	t.Helper()
	var got []string
	for _, m := range v.Members() {
		name := m.Name
		if m.Role == RoleAdmin {
			name += "!"
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}

func wantRevoked(t *testing.T, v *View, key *crypto.PrivateKey, want bool) {
	t.Helper()
	if r, got := v.Revoked(key.Public()); got != want {
		t.Errorf("%s: revoked %v (%+v), want %v", key.Public().Short(), got, r, want)
	}
}

func wantOwner(t *testing.T, v *View, key *crypto.PrivateKey) {
	t.Helper()
	if v.Owner() != key.Public() {
		t.Errorf("owner %s, want %s", v.Owner().Short(), key.Public().Short())
	}
}

func TestAdminsAdmitMembers(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.cert(owner, dave, "dave", RoleMember, 1)
	wantMembers(t, h.view(), "alice!", "bob", "dave")
	m, ok := h.view().Member(bob.Public())
	if want := (Member{bob.Public(), "bob", RoleMember, h.set[1].ID, alice.Public()}); !ok || m != want {
		t.Errorf("bob is %+v, want %+v", m, want)
	}
	if _, ok := h.view().Member(mallory.Public()); ok {
		t.Error("mallory is a member")
	}
}

func TestAdminsMakeNoAdmins(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(alice, mallory, "mallory", RoleAdmin, 1)
	h.cert(mallory, bob, "bob", RoleMember, 1)
	h.cert(alice, alice, "owner", RoleAdmin, 9)
	wantMembers(t, h.view(), "alice!")
}

func TestMembersAndStrangersAdmitNobody(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, dave, "dave", RoleMember, 1)
	h.cert(dave, bob, "bob", RoleMember, 1)
	h.cert(mallory, mallory, "mallory", RoleMember, 1)
	h.cert(recovery, mallory, "mallory", RoleMember, 1)
	h.revoke(dave, RevokeKey, bob)
	v := h.view()
	wantMembers(t, v, "dave")
	if len(v.Log()) != 0 {
		t.Errorf("log %v", v.Log())
	}
}

func TestAdminBansMembersOnly(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	h.cert(owner, dave, "dave", RoleMember, 1)
	h.cert(cathy, bob, "bob", RoleMember, 1)
	for _, target := range []*crypto.PrivateKey{owner, recovery, cathy, dave, bob} {
		h.revoke(alice, RevokeKey, target)
		h.revoke(alice, RevokeAdmin, target)
	}
	v := h.view()
	wantMembers(t, v, "alice!", "cathy!")
	for _, k := range []*crypto.PrivateKey{owner, recovery, cathy} {
		wantRevoked(t, v, k, false)
	}
	for _, s := range v.Signed(alice.Public()) {
		if target := s.Body.(*Revoke).Target; target != dave.Public() && target != bob.Public() {
			t.Errorf("a ban of %s is in force", target.Short())
		}
	}
	if len(v.Log()) != 4 {
		t.Errorf("the log has %d statements, want two certs and two bans", len(v.Log()))
	}
}

// Two admins who ban each other at once, and each other's members, leave themselves alone and lose their members.
func TestTwoAdminsAtOnce(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.cert(cathy, dave, "dave", RoleMember, 1)
	h.revoke(alice, RevokeKey, cathy)
	h.revoke(cathy, RevokeKey, alice)
	h.revoke(alice, RevokeKey, dave)
	h.revoke(cathy, RevokeKey, bob)
	wantMembers(t, h.view(), "alice!", "cathy!")
}

func TestNothingUnrevokes(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.revoke(alice, RevokeKey, bob)
	h.cert(alice, bob, "bob", RoleMember, 99)
	h.cert(owner, bob, "bob", RoleMember, 99)
	v := h.view()
	wantMembers(t, v, "alice!")
	if r, ok := v.Revoked(bob.Public()); !ok || r.By != alice.Public() || r.Reason != "because" || r.Own || r.At != 1 {
		t.Errorf("bob is revoked by %+v", r)
	}
}

// An owner may appoint whom an admin banned: the ban does not touch an admin.
func TestOwnerOverrulesBan(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.revoke(alice, RevokeKey, cathy)
	wantRevoked(t, h.view(), cathy, true)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	wantMembers(t, h.view(), "alice!", "cathy!")
}

func TestRemovedAdmin(t *testing.T) {
	for _, kind := range []string{RevokeKey, RevokeAdmin} {
		h := newHistory(t)
		h.cert(owner, alice, "alice", RoleAdmin, 1)
		kept := h.cert(alice, bob, "bob", RoleMember, 1)
		h.cert(alice, mallory, "mallory", RoleMember, 1)
		ban := h.revoke(alice, RevokeKey, dave)
		h.cert(owner, dave, "dave", RoleMember, 1)
		h.revoke(alice, RevokeKey, cathy)
		h.cert(owner, cathy, "cathy", RoleMember, 1)
		h.revoke(owner, kind, alice, kept, ban)
		h.cert(alice, mallory, "mallory", RoleMember, -0) // backdated: the date helps nothing
		h.revoke(alice, RevokeKey, bob)
		want := []string{"bob", "cathy"}
		if kind == RevokeAdmin { // still a member, by the owner's cert
			want = []string{"alice", "bob", "cathy"}
		}
		wantMembers(t, h.view(), want...)
		wantRevoked(t, h.view(), dave, true)
		if h.view().IsAdmin(alice.Public()) {
			t.Errorf("%s: alice is an admin still", kind)
		}
	}
}

// A second removal may keep more; it never keeps less.
func TestKeepListsAdd(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	b := h.cert(alice, bob, "bob", RoleMember, 1)
	d := h.cert(alice, dave, "dave", RoleMember, 1)
	h.revoke(owner, RevokeKey, alice, b)
	wantMembers(t, h.view(), "bob")
	h.revoke(owner, RevokeKey, alice, d)
	wantMembers(t, h.view(), "bob", "dave")
}

// What names another's statements in a keep list, without the authority, keeps nothing.
func TestKeepNeedsAuthority(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	c := h.cert(mallory, mallory, "mallory", RoleMember, 1)
	h.revoke(owner, RevokeKey, bob, c)     // bob never was an admin and did not sign it
	h.revoke(owner, RevokeKey, mallory, c) // mallory never was an admin
	h.revoke(cathy, RevokeAdmin, mallory, c)
	wantMembers(t, h.view(), "cathy!")
}

func TestNames(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 5)
	h.cert(alice, bob, "rob", RoleMember, 6)
	h.cert(alice, bob, "bert", RoleMember, 4)
	h.cert(mallory, bob, "mallory", RoleMember, 9)
	h.cert(alice, bob, "boss", RoleAdmin, 9)
	wantMembers(t, h.view(), "alice!", "rob")
	x, y := h.cert(alice, bob, "x", RoleMember, 7), h.cert(alice, bob, "y", RoleMember, 7)
	want := x
	if y.ID.String() < x.ID.String() {
		want = y
	}
	if m, _ := h.view().Member(bob.Public()); m.Cert != want.ID {
		t.Errorf("of two names of one second %s won, want the lower id", m.Name)
	}
}

// What each standing could do to the name of another:
//
//	stranger, invited, member, removed  nothing: their certificates have no force
//	admin                               name whom only admins certified, not an admin, an owner's member key, or whom the owner
//	                                    certified, whatever date he writes; a date ahead of the reader's clock is not taken
//	owner                               name anybody
//	former owner                        what his successor keeps
func TestWhoNamesWhom(t *testing.T) {
	const never = MaxSeconds
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 5)
	h.cert(owner, cathy, "cathy", RoleAdmin, 5)
	h.cert(owner, dave, "dave", RoleMember, 5)
	h.cert(cathy, bob, "bob", RoleMember, 5)
	for _, k := range everyone {
		h.cert(cathy, k, "fool", RoleMember, never)
		h.cert(mallory, k, "mine", RoleMember, never)
		h.cert(bob, k, "mine", RoleMember, never)
		h.cert(recovery, k, "mine", RoleAdmin, never)
	}
	names := func() string {
		var b strings.Builder
		for _, k := range []*crypto.PrivateKey{alice, cathy, dave, bob} {
			m, _ := h.view().Member(k.Public())
			fmt.Fprint(&b, m.Name, " ")
		}
		return b.String()
	}
	if got := names(); got != "alice cathy dave fool " {
		t.Errorf("they are called %s", got)
	}
	h.cert(owner, bob, "robert", RoleMember, 1) // of before: the owner's word all the same
	h.cert(owner, dave, "david", RoleMember, 6)
	h.cert(owner, alice, "alicia", RoleMember, 6)
	h.revoke(owner, RevokeAdmin, cathy) // a plain member now, whom the owner named
	if got := names(); got != "alicia cathy david robert " {
		t.Errorf("they are called %s", got)
	}
	if !h.view().IsAdmin(alice.Public()) {
		t.Error("a name takes alice's role away")
	}
	// The next owner keeps of this only that bob is called robert, and gives alice another name.
	var kept []*Statement
	for _, s := range h.set {
		if c, ok := s.Body.(*Cert); ok && (c.Name == "robert" || c.Name == "alice") {
			kept = append(kept, s)
		}
	}
	h.handOver(owner, 1, owner2, recovery, kept...)
	h.cert(alice, dave, "d", RoleMember, 1)
	h.cert(alice, bob, "b", RoleMember, never)
	if got := names(); got != "alice  d robert " {
		t.Errorf("they are called %s", got)
	}
}

func TestPremature(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := newHistory(t)
	for ahead, want := range map[time.Duration]bool{-time.Hour: false, CertAhead: false, CertAhead + time.Second: true, 24 * time.Hour: true} {
		s := h.cert(owner, bob, "bob", RoleMember, now.Add(ahead).Unix())
		err := s.CheckDate(now)
		if s.Premature(now) != want || (CodeOf(err) == CodeTimestamp) != want {
			t.Errorf("%s ahead: %v, %v", ahead, s.Premature(now), err)
		}
	}
	if h.cert(owner, bob, "bob", RoleMember, MaxSeconds).Premature(time.Unix(MaxSeconds, 0)) {
		t.Error("it is not void for ever")
	}
	if h.revoke(owner, RevokeKey, bob).Premature(time.Unix(0, 0)) {
		t.Error("a revoke waits for its date")
	}
}

func TestLeave(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.cert(alice, dave, "dave", RoleMember, 1)
	before := h.view().Digest()
	h.revoke(bob, RevokeKey, bob)
	h.revoke(alice, RevokeKey, alice)
	h.revoke(owner, RevokeKey, owner) // never: it is only replaced
	v := h.view()
	wantMembers(t, v, "cathy!", "dave")
	wantRevoked(t, v, owner, false)
	if r, _ := v.Revoked(bob.Public()); !r.Own {
		t.Errorf("bob left: %+v", r)
	}
	if v.Digest() != before {
		t.Error("leaving changes the log")
	}
	if !v.IsAdmin(alice.Public()) || v.MayIssue(alice.Public(), RoleMember) {
		t.Error("what an admin who left has signed stays, and he signs nothing more")
	}
	h.revoke(cathy, RevokeKey, bob)
	if v := h.view(); v.Digest() == before {
		t.Error("an admin's repetition is not in the log")
	} else if r, _ := v.Revoked(bob.Public()); r.Own || r.By != cathy.Public() {
		t.Errorf("the reason told is %+v, want the admin's", r)
	}
}

func TestMembersRevokeTheirSessions(t *testing.T) {
	web, ci := seeded(4), seeded(8)
	h := newHistory(t)
	h.cert(owner, bob, "bob", RoleMember, 1)
	h.cert(owner, dave, "dave", RoleMember, 1)
	h.revoke(bob, RevokeKey, web)
	h.revoke(bob, RevokeKey, ci)
	h.revoke(mallory, RevokeKey, web)
	h.revoke(bob, RevokeKey, dave)
	h.revoke(bob, RevokeAdmin, dave)
	v := h.view()
	wantRevoked(t, v, web, false) // no statement says that it is bob's
	wantRevoked(t, v, dave, false)
	if _, ok := v.RevokedOf(bob.Public(), web.Public()); !ok {
		t.Error("bob's session is not revoked for who knows that it is his")
	}
	if _, ok := v.RevokedOf(dave.Public(), web.Public()); ok {
		t.Error("bob revoked dave's session")
	}
	if !v.InForce(h.set[2].ID) || v.InForce(h.set[4].ID) || v.InForce(h.set[5].ID) || v.InForce(h.set[6].ID) {
		t.Error("of the revokes only those of what may be bob's own keys are in force")
	}
	h.session(bob, web, 1)
	h.say(&APIKey{Mesh: h.mesh(), Member: bob.Public(), Key: ci.Public(), Label: "ci", Issued: 1}, bob, ci)
	v = h.view()
	wantRevoked(t, v, web, true)
	wantRevoked(t, v, ci, true)
	wantRevoked(t, v, dave, false)
	wantMembers(t, v, "bob", "dave")
	if r, _ := v.Revoked(web.Public()); !r.Own || r.By != bob.Public() {
		t.Errorf("the session is revoked by %+v", r)
	}
	h.revoke(owner, RevokeKey, web)
	if r, _ := h.view().Revoked(web.Public()); r.Own {
		t.Errorf("the reason told is %+v, want the owner's", r)
	}
	h.session(bob, owner, 1)
	h.revoke(bob, RevokeKey, owner)
	wantRevoked(t, h.view(), owner, false)
	if _, ok := h.view().RevokedOf(bob.Public(), owner.Public()); ok {
		t.Error("bob revoked the owner's key")
	}
	h.revoke(owner, RevokeKey, dave)
	if _, ok := h.view().RevokedOf(dave.Public(), seeded(40).Public()); !ok {
		t.Error("a session outlives its member")
	}
}

func TestHandOver(t *testing.T) {
	h := newHistory(t)
	kept := h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.cert(cathy, dave, "dave", RoleMember, 1)
	h.handOver(owner, 1, owner2, recovery, kept)
	v := h.view()
	wantOwner(t, v, owner2)
	wantMembers(t, v, "alice!", "bob")
	if v.N() != 1 || v.Recovery() != recovery.Public() || v.Fork() || len(v.Alarms()) != 0 {
		t.Errorf("n %d, alarms %v", v.N(), v.Alarms())
	}
	if !slices.Equal(v.Owners(), []crypto.PublicKey{owner.Public(), owner2.Public()}) {
		t.Errorf("owners %v", v.Owners())
	}
	h.cert(owner, mallory, "mallory", RoleAdmin, 1) // the former owner's word is void
	h.cert(owner2, dave, "dave", RoleMember, 1)
	h.revoke(owner2, RevokeKey, owner)
	wantMembers(t, h.view(), "alice!", "bob", "dave")
	wantRevoked(t, h.view(), owner, true)
	h.handOver(owner2, 2, owner3, recovery) // what the first keep list names stays, whatever the second does
	wantMembers(t, h.view(), "alice!", "bob")
	wantOwner(t, h.view(), owner3)
}

func TestHandOversThatLeadNowhere(t *testing.T) {
	for name, say := range map[string]func(h *history){
		"a stranger's":                   func(h *history) { h.handOver(mallory, 1, mallory, recovery) },
		"an admin's":                     func(h *history) { h.handOver(alice, 1, alice, recovery) },
		"the owner changes the recovery": func(h *history) { h.handOver(owner, 1, owner2, recovery2) },
		"the owner drops the recovery":   func(h *history) { h.handOver(owner, 1, owner2, nil) },
		"number 2 before 1":              func(h *history) { h.handOver(owner, 2, owner2, recovery) },
		"number 0":                       func(h *history) { h.handOver(owner, 0, owner2, recovery) },
		"to the owner himself":           func(h *history) { h.handOver(owner, 1, owner, recovery) },
		"to the owner, by the recovery":  func(h *history) { h.handOver(recovery, 1, owner, recovery2) },
	} {
		h := newHistory(t)
		h.cert(owner, alice, "alice", RoleAdmin, 1)
		before := dump(h.view())
		say(h)
		if after := dump(h.view()); after != before {
			t.Errorf("%s changes the view:\n%s\n%s", name, before, after)
		}
	}
	h := newHistory(t)
	h.handOver(owner, 1, owner2, recovery)
	h.handOver(owner2, 2, owner, recovery) // was owner before
	wantOwner(t, h.view(), owner2)
	h.handOver(owner, 2, owner3, recovery) // is owner no more
	wantOwner(t, h.view(), owner2)
}

func TestMeshWithoutRecovery(t *testing.T) {
	h := newHistory(t)
	h.charter = mustSign(t, &Charter{Owner: owner.Public(), Created: 1, Slug: "demo"}, owner)
	h.handOver(owner, 1, owner2, recovery) // nobody can add a recovery key later
	wantOwner(t, h.view(), owner)
	h.handOver(owner, 1, owner3, nil)
	wantOwner(t, h.view(), owner3)
}

// The recovery key takes the mesh back from whoever holds the owner key, whichever of the two hand-overs is seen first.
func TestRecoveryBeatsThief(t *testing.T) {
	h := newHistory(t)
	kept := h.cert(owner, alice, "alice", RoleAdmin, 1)
	thief := h.handOver(owner, 1, mallory, recovery)
	deeper := h.handOver(mallory, 2, owner3, recovery)
	appointed := h.cert(mallory, mallory, "mallory", RoleAdmin, 1)
	wantOwner(t, h.view(), owner3)
	back := h.handOver(recovery, 1, owner2, recovery2, kept)
	for name, order := range map[string][]*Statement{
		"thief first":    {kept, thief, deeper, appointed, back},
		"recovery first": {back, appointed, deeper, thief, kept},
	} {
		s := NewSet(h.charter, Pins{})
		for _, st := range order {
			if _, err := s.Add(st); err != nil {
				t.Fatal(err)
			}
		}
		v := s.View()
		wantOwner(t, v, owner2)
		wantMembers(t, v, "alice!")
		if v.Recovery() != recovery2.Public() || v.Fork() || v.N() != 1 {
			t.Errorf("%s: recovery %s, fork %v, n %d", name, v.Recovery().Short(), v.Fork(), v.N())
		}
		if pins := s.Pins(); pins.Owner[1] != back.ID {
			t.Errorf("%s: accepted %v", name, pins.Owner)
		}
	}
}

// A recovery that comes after the thief's hand-overs takes the next number, or an earlier one.
func TestRecoveryLater(t *testing.T) {
	h := newHistory(t)
	h.handOver(owner, 1, mallory, recovery)
	h.handOver(recovery, 2, owner2, recovery2)
	wantOwner(t, h.view(), owner2)
	h.handOver(mallory, 2, owner3, recovery)
	h.handOver(recovery, 3, owner3, recovery2) // the old recovery key has no say any more
	wantOwner(t, h.view(), owner2)
}

func TestFork(t *testing.T) {
	h := newHistory(t)
	kept := h.cert(owner, alice, "alice", RoleAdmin, 1)
	a := h.handOver(owner, 1, owner2, recovery, kept)
	b := h.handOver(owner, 1, mallory, recovery)
	h.handOver(mallory, 2, owner3, recovery)
	h.handOver(mallory, 2, owner, recovery) // was owner before: leads nowhere, whomever a link names
	views := map[string]struct {
		pins     Pins
		owner    *crypto.PrivateKey
		followed ID
	}{
		"somebody who had accepted none":   {Pins{}, owner, ID{}},
		"who had accepted the first":       {Pins{Owner: map[uint64]ID{1: a.ID}}, owner2, a.ID},
		"who had accepted the second":      {Pins{Owner: map[uint64]ID{1: b.ID}}, owner3, b.ID},
		"a joiner of the first":            {Pins{InviteOwner: owner2.Public()}, owner2, a.ID},
		"a joiner of the second":           {Pins{InviteOwner: mallory.Public()}, owner3, b.ID},
		"a joiner further down the second": {Pins{InviteOwner: owner3.Public()}, owner3, b.ID},
		"a joiner from before":             {Pins{InviteOwner: owner.Public()}, owner, ID{}},
		"a joiner who had accepted":        {Pins{map[uint64]ID{1: a.ID}, mallory.Public()}, owner2, a.ID},
	}
	for name, c := range views {
		v := NewView(h.charter, h.set, c.pins)
		wantOwner(t, v, c.owner)
		if forks := v.Forks(); !v.Fork() || len(forks) != 1 || forks[0].N != 1 || len(forks[0].Rivals) != 2 || forks[0].Followed != c.followed {
			t.Errorf("%s: forks %+v", name, forks)
		}
		if len(v.Alarms()) != 1 {
			t.Errorf("%s: alarms %q", name, v.Alarms())
		}
	}
	h.handOver(recovery, 1, seeded(50), recovery2)
	for name, c := range views {
		v := NewView(h.charter, h.set, c.pins)
		wantOwner(t, v, seeded(50))
		if v.Fork() {
			t.Errorf("%s: a fork stays after the recovery key spoke", name)
		}
	}
}

// Two hand-overs to one key that keep different things are a fork, too.
func TestForkOfKeepLists(t *testing.T) {
	h := newHistory(t)
	c := h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.handOver(owner, 1, owner2, recovery, c)
	h.handOver(owner, 1, owner2, recovery)
	wantOwner(t, h.view(), owner)
	if !h.view().Fork() {
		t.Error("no fork")
	}
}

func TestSetKeepsItsSideOfAFork(t *testing.T) {
	h := newHistory(t)
	a, b := h.handOver(owner, 1, owner2, recovery), h.handOver(owner, 1, mallory, recovery)
	for _, order := range [][]*Statement{{a, b}, {b, a}} {
		s := NewSet(h.charter, Pins{})
		for _, st := range order {
			s.Add(st)
		}
		if got := s.View().Owner(); got != order[0].Body.(*OwnerChange).New || !s.View().Fork() {
			t.Errorf("owner %s, fork %v", got.Short(), s.View().Fork())
		}
		again := NewSet(h.charter, s.Pins()) // after a restart
		again.Add(order[1], order[0])
		if got := again.View().Owner(); got != order[0].Body.(*OwnerChange).New {
			t.Errorf("after a restart the owner is %s", got.Short())
		}
		if !maps.Equal(again.Pins().Owner, s.Pins().Owner) {
			t.Error("after a restart other pins")
		}
	}
}

func TestLog(t *testing.T) {
	h := newHistory(t)
	logged := []*Statement{
		h.cert(owner, alice, "alice", RoleAdmin, 1),
		h.cert(owner, cathy, "cathy", RoleAdmin, 1),
		h.cert(owner, cathy, "cat", RoleAdmin, 2),
		h.revoke(alice, RevokeKey, dave),
		h.revoke(owner, RevokeAdmin, cathy),
		h.revoke(owner, RevokeKey, mallory),
	}
	h.cert(alice, bob, "bob", RoleMember, 1)
	h.cert(owner, dave, "dave", RoleMember, 1)
	h.cert(cathy, bob, "bob", RoleMember, 1)
	h.revoke(owner, RevokeLink, seeded(9))
	h.revoke(bob, RevokeKey, bob)
	h.revoke(cathy, RevokeKey, bob)
	v := h.view()
	if !slices.Equal(ids(v.Log()), ids(logged)) {
		t.Errorf("log %v, want %v", ids(v.Log()), ids(logged))
	}
	if !slices.IsSortedFunc(v.Log(), func(a, b *Statement) int { return bytes.Compare(a.ID[:], b.ID[:]) }) {
		t.Error("the log is not in order")
	}
	if n := len(v.Statements()); n != len(logged)+4 { // bob's and dave's cert, the closed link, bob's leave
		t.Errorf("%d statements in force", n)
	}
	for _, s := range h.set {
		if slices.Contains(v.Statements(), s) != v.InForce(s.ID) {
			t.Errorf("%s: in force or not?", s.Kind)
		}
	}
}

func TestForeignStatementsAreIgnored(t *testing.T) {
	h := newHistory(t)
	before := dump(h.view())
	h.say(&Cert{testMesh, owner.Public(), mallory.Public(), "mallory", RoleAdmin, 1}, owner)
	if dump(h.view()) != before {
		t.Error("a statement about another mesh changes this one's view")
	}
}
