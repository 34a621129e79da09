package protocol

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

// random is a history of n random statements. Each key signs anything about anybody, so most of what is said is void, and
// keep lists name what was said before. The owner and the admins speak more often than others.
func random(t testing.TB, r *rand.Rand, n int) *history {
	h := newHistory(t)
	h.unsigned = true
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(owner, cathy, "cathy", RoleAdmin, 1)
	for range n {
		h.sayRandom(r, pick(r, append(everyone, owner, owner, owner, owner2, alice, alice, cathy, cathy)))
	}
	return h
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// sayRandom lets by make one random statement.
func (h *history) sayRandom(r *rand.Rand, by *crypto.PrivateKey) *Statement {
	if r.IntN(8) == 0 { // one that may lead somewhere
		return h.handOver(pick(r, []*crypto.PrivateKey{owner, owner, owner2, owner3, recovery}), uint64(1+r.IntN(2)),
			pick(r, []*crypto.PrivateKey{owner2, owner3, mallory}), recovery)
	}
	var keep []*Statement
	for _, s := range h.set {
		if r.IntN(3) == 0 {
			keep = append(keep, s)
		}
	}
	switch about := pick(r, everyone); r.IntN(9) {
	case 0:
		return h.handOver(by, uint64(1+r.IntN(3)), about, pick(r, []*crypto.PrivateKey{recovery, recovery, recovery2, nil}), keep...)
	case 1, 2, 3:
		return h.cert(by, about, pick(r, []string{"a", "b", "c"}), pick(r, []string{RoleAdmin, RoleMember}), int64(r.IntN(4)))
	case 4, 5:
		return h.revoke(by, pick(r, []string{RevokeKey, RevokeKey, RevokeAdmin, RevokeLink}), about, keep...)
	case 6:
		return h.revoke(by, RevokeKey, by)
	case 7:
		return h.session(by, about, int64(r.IntN(4)))
	default:
		return h.cert(by, about, "d", RoleMember, int64(r.IntN(4)))
	}
}

// histories calls f with so many random histories, each with its own generator.
func histories(t *testing.T, count int, f func(t *testing.T, r *rand.Rand, h *history)) {
	for seed := range count {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		h := random(t, r, 5+r.IntN(30))
		f(t, r, h)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func randomPins(r *rand.Rand, h *history) Pins {
	pins := Pins{Owner: map[uint64]ID{}}
	for _, s := range h.set {
		if b, ok := s.Body.(*OwnerChange); ok && r.IntN(3) == 0 {
			pins.Owner[b.N] = s.ID
		}
	}
	if r.IntN(2) == 0 {
		pins.InviteOwner = pick(r, everyone).Public()
	}
	return pins
}

func shuffled(r *rand.Rand, set []*Statement) []*Statement {
	set = slices.Clone(set)
	r.Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
	return set
}

func TestOrderAndRepetitionDecideNothing(t *testing.T) {
	histories(t, 150, func(t *testing.T, r *rand.Rand, h *history) {
		pins := randomPins(r, h)
		want := dump(NewView(h.charter, h.set, pins))
		for range 5 {
			set := append(shuffled(r, h.set), shuffled(r, h.set)[:r.IntN(len(h.set))]...)
			if got := dump(NewView(h.charter, shuffled(r, set), pins)); got != want {
				t.Fatalf("another order, another view:\n%s\n%s", got, want)
			}
		}
	})
}

// A view agrees with the rules as they are written down, evaluated one by one without thought of cost.
func TestViewAgainstTheRules(t *testing.T) {
	seen := make(map[string]int) // that the histories are worth something
	histories(t, 300, func(t *testing.T, r *rand.Rand, h *history) {
		pins := randomPins(r, h)
		v, m := NewView(h.charter, h.set, pins), newModel(h.charter, h.set, pins)
		if v.Owner() != m.owner() || v.Recovery() != m.recovery || v.Fork() != m.fork {
			t.Fatalf("owner %s, want %s; fork %v, want %v",
				v.Owner().Short(), m.owner().Short(), v.Fork(), m.fork)
		}
		for _, k := range everyone {
			key := k.Public()
			_, revoked := v.Revoked(key)
			if v.IsAdmin(key) != m.admin(key) || revoked != m.revoked(key) || v.Verified(key) != m.verified(key) {
				t.Errorf("%s: admin %v, want %v; revoked %v, want %v; verified %v, want %v", key.Short(),
					v.IsAdmin(key), m.admin(key), revoked, m.revoked(key), v.Verified(key), m.verified(key))
			}
			if got, _ := v.Member(key); got.Name != m.name(key) {
				t.Errorf("%s is %q, want %q", key.Short(), got.Name, m.name(key))
			}
			seen[fmt.Sprint("admin ", m.admin(key))]++
			seen[fmt.Sprint("revoked ", m.revoked(key))]++
			seen[fmt.Sprint("verified ", m.verified(key))]++
		}
		seen[fmt.Sprint("fork ", m.fork)]++
		seen[fmt.Sprint("owner ", len(m.owners))]++
		var log []ID
		for _, s := range m.set {
			if m.logged(s) {
				log = append(log, s.ID)
			}
		}
		if !slices.Equal(ids(v.Log()), log) {
			t.Errorf("log %v, want %v", ids(v.Log()), log)
		}
	})
	for _, what := range []string{"admin true", "revoked true", "verified true", "fork true", "fork false", "owner 1", "owner 2", "owner 3"} {
		if seen[what] < 20 {
			t.Errorf("%q came up %d times only", what, seen[what])
		}
	}
}

// What members, strangers and removed admins sign changes nothing but their own keys and those that they certify.
func TestThePowerlessChangeNothing(t *testing.T) {
	web := seeded(4)
	histories(t, 150, func(t *testing.T, r *rand.Rand, h *history) {
		before := h.view()
		var powerless []*crypto.PrivateKey
		for _, k := range everyone {
			_, former := before.removed[k.Public()]
			if (!before.appointed[k.Public()] || former) && k != recovery && k != recovery2 && !slices.Contains(before.Owners(), k.Public()) {
				powerless = append(powerless, k)
			}
		}
		if len(powerless) == 0 {
			return
		}
		own := make(map[crypto.PublicKey]bool)
		for _, s := range h.set {
			if b, ok := s.Body.(*Session); ok { // its member may revoke it
				own[b.Session] = true
			}
		}
		for range 20 {
			by := pick(r, powerless)
			s := h.sayRandom(r, by)
			if s.Signer() != by.Public() {
				h.set = h.set[:len(h.set)-1]
				continue
			}
			own[by.Public()] = true
			if b, ok := s.Body.(*Session); ok {
				own[b.Session] = true // which signed it, too
			}
		}
		for range 3 {
			h.session(pick(r, powerless), web, 1)
		}
		after := h.view()
		if after.Owner() != before.Owner() || after.Digest() != before.Digest() || after.Fork() != before.Fork() {
			t.Errorf("owner, log or fork changed")
		}
		for _, k := range everyone {
			if own[k.Public()] {
				continue
			}
			m1, ok1 := before.Member(k.Public())
			m2, ok2 := after.Member(k.Public())
			r1, bad1 := before.Revoked(k.Public())
			r2, bad2 := after.Revoked(k.Public())
			if m1 != m2 || ok1 != ok2 || bad1 != bad2 || r1 != r2 || before.IsAdmin(k.Public()) != after.IsAdmin(k.Public()) {
				t.Errorf("%s was %+v, is %+v; was revoked %+v, is %+v", k.Public().Short(), m1, m2, r1, r2)
			}
		}
		for _, k := range everyone { // nor do their own keys gain anything
			if own[k.Public()] && (after.IsAdmin(k.Public()) && !before.IsAdmin(k.Public()) || after.Verified(k.Public()) && !before.Verified(k.Public())) {
				t.Errorf("%s gained", k.Public().Short())
			}
		}
	})
}

// Peers that saw different parts in different orders agree once they have exchanged what they hold.
func TestSplitsConverge(t *testing.T) {
	agreed := 0
	histories(t, 100, func(t *testing.T, r *rand.Rand, h *history) {
		whole := NewView(h.charter, logKinds(h.set), Pins{})
		if whole.Fork() {
			return // then who had accepted what decides
		}
		agreed++
		peers := []*Set{NewSet(h.charter, Pins{}), NewSet(h.charter, Pins{}), NewSet(h.charter, Pins{})}
		for _, s := range shuffled(r, logKinds(h.set)) {
			for _, i := range []int{r.IntN(3), r.IntN(3)} {
				if _, err := peers[i].Add(s); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, p := range peers {
			for _, q := range peers {
				if _, err := p.Add(shuffled(r, q.Statements())...); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := dump(p.View()), dump(whole); got != want {
				t.Fatalf("a peer has\n%s, want\n%s", got, want)
			}
		}
	})
	if agreed < 20 {
		t.Errorf("%d histories without a fork only", agreed)
	}
}

func logKinds(set []*Statement) (stmts []*Statement) {
	for _, s := range set {
		if s.Kind != KindSession {
			stmts = append(stmts, s)
		}
	}
	return stmts
}

// model evaluates the rules of the view as sentences: every question goes through all statements again.
type model struct {
	set      []*Statement // ascending ids
	pins     Pins
	owners   []crypto.PublicKey
	chain    []*Statement
	recovery crypto.PublicKey
	fork     bool
}

func newModel(charter *Statement, set []*Statement, pins Pins) *model {
	c := charter.Body.(*Charter)
	m := &model{set: slices.Clone(set), pins: pins, owners: []crypto.PublicKey{c.Owner}, recovery: c.Recovery}
	slices.SortFunc(m.set, func(a, b *Statement) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	m.set = slices.CompactFunc(m.set, func(a, b *Statement) bool { return a.ID == b.ID })
	for m.next() {
	}
	return m
}

// next takes one more hand-over if there is one to take.
func (m *model) next() bool {
	n := uint64(len(m.chain) + 1)
	rivals := m.rivals(n, func(o *OwnerChange) bool { return o.By == m.recovery })
	if len(rivals) == 0 {
		rivals = m.rivals(n, func(o *OwnerChange) bool { return o.By == m.owner() && o.Recovery == m.recovery })
	}
	if len(rivals) == 0 {
		return false
	}
	take := rivals[0]
	if len(rivals) > 1 {
		m.fork = true
		if take = m.side(n, rivals); take == nil {
			return false
		}
	}
	o := take.Body.(*OwnerChange)
	m.chain, m.owners, m.recovery = append(m.chain, take), append(m.owners, o.New), o.Recovery
	return true
}

func (m *model) rivals(n uint64, ok func(*OwnerChange) bool) (rivals []*Statement) {
	for _, s := range m.set {
		if o, is := s.Body.(*OwnerChange); is && o.N == n && ok(o) && !slices.Contains(m.owners, o.New) {
			rivals = append(rivals, s)
		}
	}
	return rivals
}

func (m *model) side(n uint64, rivals []*Statement) *Statement {
	for _, s := range rivals {
		if s.ID == m.pins.Owner[n] {
			return s
		}
	}
	if m.pins.InviteOwner.IsZero() || slices.Contains(m.owners, m.pins.InviteOwner) {
		return nil
	}
	for _, s := range rivals {
		if m.reaches(s.Body.(*OwnerChange)) {
			return s
		}
	}
	return nil
}

func (m *model) reaches(o *OwnerChange) bool {
	if o.New == m.pins.InviteOwner {
		return true
	}
	return slices.ContainsFunc(m.set, func(s *Statement) bool {
		next, ok := s.Body.(*OwnerChange)
		return ok && next.N == o.N+1 && (next.By == o.Recovery || next.By == o.New && next.Recovery == o.Recovery) && m.reaches(next)
	})
}

func (m *model) owner() crypto.PublicKey { return m.owners[len(m.owners)-1] }

func (m *model) ownerSigned(s *Statement) bool {
	by := s.Signer()
	for i, former := range m.owners[:len(m.owners)-1] {
		if by == former && slices.Contains(m.chain[i].Body.(*OwnerChange).Keep, s.ID) {
			return true
		}
	}
	return by == m.owner()
}

func (m *model) any(ok func(*Statement) bool) bool { return slices.ContainsFunc(m.set, ok) }

func (m *model) hasAdminCert(k crypto.PublicKey) bool {
	return m.any(func(s *Statement) bool {
		c, ok := s.Body.(*Cert)
		return ok && c.Member == k && c.Role == RoleAdmin && m.ownerSigned(s)
	})
}

// removal reports whether an owner-signed revoke of k, of kind key or admin, passes ok.
func (m *model) removal(k crypto.PublicKey, ok func(*Revoke) bool) bool {
	return m.any(func(s *Statement) bool {
		b, is := s.Body.(*Revoke)
		return is && b.Target == k && b.Kind != RevokeLink && m.ownerSigned(s) && ok(b)
	})
}

func (m *model) admin(k crypto.PublicKey) bool {
	return m.hasAdminCert(k) && !m.removal(k, func(*Revoke) bool { return true })
}

func (m *model) adminSigned(s *Statement) bool {
	by := s.Signer()
	return m.admin(by) || m.hasAdminCert(by) && m.removal(by, func(b *Revoke) bool { return slices.Contains(b.Keep, s.ID) })
}

// bans reports whether s revokes its target on the authority of the owner or an admin.
func (m *model) bans(s *Statement) bool {
	b, ok := s.Body.(*Revoke)
	if !ok || b.Kind != RevokeKey || b.Target == m.owner() {
		return false
	}
	return m.ownerSigned(s) || m.adminSigned(s) && b.Target != m.recovery && !m.admin(b.Target)
}

func (m *model) revoked(k crypto.PublicKey) bool {
	return k != m.owner() && m.any(func(s *Statement) bool {
		b, ok := s.Body.(*Revoke)
		return ok && b.Kind == RevokeKey && b.Target == k && (m.bans(s) || b.Issuer == k || m.certifiedBy(b.Issuer, k))
	})
}

func (m *model) certifiedBy(member, k crypto.PublicKey) bool {
	return m.any(func(s *Statement) bool {
		b, ok := s.Body.(*Session)
		return ok && b.Member == member && b.Session == k
	})
}

func (m *model) certs(k crypto.PublicKey) (certs []*Statement) {
	for _, s := range m.set {
		c, ok := s.Body.(*Cert)
		if ok && c.Member == k && (m.ownerSigned(s) || c.Role == RoleMember && m.adminSigned(s)) {
			certs = append(certs, s)
		}
	}
	return certs
}

func (m *model) verified(k crypto.PublicKey) bool { return !m.revoked(k) && len(m.certs(k)) > 0 }

func (m *model) name(k crypto.PublicKey) string {
	if !m.verified(k) {
		return ""
	}
	certs := m.certs(k)
	if owners := slices.DeleteFunc(slices.Clone(certs), func(s *Statement) bool { return !m.ownerSigned(s) }); len(owners) > 0 {
		certs = owners
	}
	newest := slices.MinFunc(certs, func(a, b *Statement) int {
		return cmp.Or(cmp.Compare(b.Body.(*Cert).Issued, a.Body.(*Cert).Issued), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return newest.Body.(*Cert).Name
}

func (m *model) logged(s *Statement) bool {
	switch b := s.Body.(type) {
	case *OwnerChange:
		return slices.Contains(m.chain, s)
	case *Cert:
		return b.Role == RoleAdmin && m.ownerSigned(s)
	case *Revoke:
		return m.bans(s) || b.Kind == RevokeAdmin && m.ownerSigned(s)
	}
	return false
}
