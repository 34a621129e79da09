package protocol

import (
	"bytes"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

func (h *history) invite(by, link *crypto.PrivateKey, role string) *Statement {
	h.t.Helper()
	return mustSign(h.t, &Invite{h.mesh(), by.Public(), link.Public(), role, 1, 1000, "wss://b.example/ws", owner.Public()}, by)
}

func (h *history) enrol(link, member *crypto.PrivateKey) *Statement {
	h.t.Helper()
	return mustSign(h.t, &Enrol{h.mesh(), link.Public(), member.Public(), "bob", 500}, link, member)
}

func TestInvited(t *testing.T) {
	link, other := seeded(9), seeded(10)
	late := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		say  func(h *history) (invite, enrol *Statement)
		now  time.Time
		code Code
	}{
		"good": {now: late.Add(-1)},
		"of the owner": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(owner, link, RoleAdmin), h.enrol(link, bob)
		}},
		"expired":      {now: late, code: CodeExpired},
		"long expired": {now: late.Add(time.Hour), code: CodeExpired},
		"an admin makes no admin": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(alice, link, RoleAdmin), h.enrol(link, bob)
		}, code: CodeForbidden},
		"of a stranger": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(mallory, link, RoleMember), h.enrol(link, bob)
		}, code: CodeForbidden},
		"of an admin who left": {say: func(h *history) (*Statement, *Statement) {
			h.revoke(alice, RevokeKey, alice)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}, code: CodeForbidden},
		"of a removed admin": {say: func(h *history) (*Statement, *Statement) {
			h.revoke(owner, RevokeKey, alice)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}, code: CodeForbidden},
		"of a removed admin, kept": {say: func(h *history) (*Statement, *Statement) {
			inv := h.invite(alice, link, RoleMember)
			h.revoke(owner, RevokeKey, alice, inv)
			return inv, h.enrol(link, bob)
		}},
		"of a former owner": {say: func(h *history) (*Statement, *Statement) {
			h.handOver(owner, 1, owner2, recovery, h.set...)
			return h.invite(owner, link, RoleAdmin), h.enrol(link, bob)
		}, code: CodeForbidden},
		"of a former owner, kept": {say: func(h *history) (*Statement, *Statement) {
			inv := h.invite(owner, link, RoleAdmin)
			h.handOver(owner, 1, owner2, recovery, inv)
			return inv, h.enrol(link, bob)
		}},
		"of an admin, from before a hand-over": {say: func(h *history) (*Statement, *Statement) {
			h.handOver(owner, 1, owner2, recovery, h.set...)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}},
		"of another owner": {say: func(h *history) (*Statement, *Statement) {
			inv := &Invite{h.mesh(), alice.Public(), link.Public(), RoleMember, 1, 1000, "wss://b.example/ws", mallory.Public()}
			return mustSign(h.t, inv, alice), h.enrol(link, bob)
		}, code: CodeForeign},
		"of another mesh": {say: func(h *history) (*Statement, *Statement) {
			return samplesStatement(h.t, KindInvite), h.enrol(link, bob)
		}, code: CodeForeign},
		"enrolled in another mesh": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(alice, link, RoleMember), samplesStatement(h.t, KindEnrol)
		}, code: CodeForeign},
		"enrolled with another link": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(alice, link, RoleMember), h.enrol(other, bob)
		}, code: CodeInvalid},
		"not an invite": {say: func(h *history) (*Statement, *Statement) {
			return h.charter, h.enrol(link, bob)
		}, code: CodeInvalid},
		"not an enrolment": {say: func(h *history) (*Statement, *Statement) {
			return h.invite(alice, link, RoleMember), h.charter
		}, code: CodeInvalid},
		"a banned key": {say: func(h *history) (*Statement, *Statement) {
			h.revoke(alice, RevokeKey, bob)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}, code: CodeRevoked},
		"a key that left": {say: func(h *history) (*Statement, *Statement) {
			h.revoke(bob, RevokeKey, bob)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}, code: CodeRevoked},
		"closed": {say: func(h *history) (*Statement, *Statement) {
			h.revoke(cathy, RevokeLink, link)
			return h.invite(alice, link, RoleMember), h.enrol(link, bob)
		}, code: CodeClosedLink},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			h.cert(owner, alice, "alice", RoleAdmin, 1)
			h.cert(owner, cathy, "cathy", RoleAdmin, 1)
			invite, enrol := h.invite(alice, link, RoleMember), h.enrol(link, bob)
			if c.say != nil {
				invite, enrol = c.say(h)
			}
			wantCode(t, h.view().Invited(invite, enrol, c.now), c.code)
		})
	}
}

func TestLinkClosed(t *testing.T) {
	link := seeded(9)
	for _, c := range []struct {
		name       string
		by, issuer *crypto.PrivateKey
		role       string
		want       bool
	}{
		{"by its issuer", alice, alice, RoleMember, true},
		{"by the owner", owner, alice, RoleMember, true},
		{"by another admin", cathy, alice, RoleMember, true},
		{"by a member", dave, alice, RoleMember, false},
		{"by a stranger", mallory, alice, RoleMember, false},
		{"an admin link, by the owner", owner, owner, RoleAdmin, true},
		{"an admin link, by an admin", cathy, owner, RoleAdmin, false},
	} {
		h := newHistory(t)
		h.cert(owner, alice, "alice", RoleAdmin, 1)
		h.cert(owner, cathy, "cathy", RoleAdmin, 1)
		h.cert(owner, dave, "dave", RoleMember, 1)
		inv := h.invite(c.issuer, link, c.role).Body.(*Invite)
		h.revoke(c.by, RevokeLink, seeded(10))
		h.revoke(c.by, RevokeKey, seeded(11))
		if h.view().LinkClosed(inv) {
			t.Errorf("%s: closed by what closes another link", c.name)
		}
		h.revoke(c.by, RevokeLink, link)
		if got := h.view().LinkClosed(inv); got != c.want {
			t.Errorf("%s: closed %v, want %v", c.name, got, c.want)
		}
	}
}

// A removed admin's link that is kept can be closed by him still.
func TestLinkClosedByRemovedAdmin(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	inv := h.invite(alice, seeded(9), RoleMember)
	h.revoke(owner, RevokeAdmin, alice, inv)
	if h.view().LinkClosed(inv.Body.(*Invite)) {
		t.Error("closed before anybody closed it")
	}
	h.revoke(alice, RevokeLink, seeded(9))
	if !h.view().LinkClosed(inv.Body.(*Invite)) {
		t.Error("still open")
	}
}

func TestMayIssue(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, alice, "alice", RoleAdmin, 1)
	h.cert(alice, bob, "bob", RoleMember, 1)
	v := h.view()
	for _, c := range []struct {
		who    *crypto.PrivateKey
		member bool
		admin  bool
	}{{owner, true, true}, {alice, true, false}, {bob, false, false}, {recovery, false, false}, {mallory, false, false}} {
		if m, a := v.MayIssue(c.who.Public(), RoleMember), v.MayIssue(c.who.Public(), RoleAdmin); m != c.member || a != c.admin {
			t.Errorf("%s: member %v, admin %v", c.who.Public().Short(), m, a)
		}
	}
}

func TestCheckSession(t *testing.T) {
	web := seeded(4)
	now := time.UnixMilli(1_000_000)
	session := func(h *history, member *crypto.PrivateKey, issued, expires int64) *Statement {
		return mustSign(h.t, &Session{Mesh: h.mesh(), Member: member.Public(), Session: web.Public(), Label: "web", Issued: issued, Expires: expires}, member, web)
	}
	ms := now.UnixMilli()
	for name, c := range map[string]struct {
		say     func(h *history) *Statement
		invited bool
		code    Code
	}{
		"good": {say: func(h *history) *Statement { return session(h, bob, ms, ms) }},
		"of a control connection": {say: func(h *history) *Statement {
			return mustSign(h.t, &Session{Mesh: h.mesh(), Member: bob.Public(), Session: bob.Public(), Label: "bob", Issued: ms, Expires: ms}, bob, bob)
		}},
		"expired":           {say: func(h *history) *Statement { return session(h, bob, 0, ms-1) }, code: CodeExpired},
		"a minute ahead":    {say: func(h *history) *Statement { return session(h, bob, ms+60_000, ms+100_000) }},
		"more than that":    {say: func(h *history) *Statement { return session(h, bob, ms+60_001, ms+100_000) }, code: CodeTimestamp},
		"of a stranger":     {say: func(h *history) *Statement { return session(h, mallory, ms, ms) }, code: CodeNotMember},
		"of an invited one": {say: func(h *history) *Statement { return session(h, mallory, ms, ms) }, invited: true},
		"of another mesh":   {say: func(h *history) *Statement { return samplesStatement(h.t, KindSession) }, code: CodeForeign},
		"not a session":     {say: func(h *history) *Statement { return h.charter }, code: CodeInvalid},
		"of a removed member": {say: func(h *history) *Statement {
			h.revoke(owner, RevokeKey, bob)
			return session(h, bob, ms, ms)
		}, code: CodeRevoked},
		"of an invited one who is banned": {say: func(h *history) *Statement {
			h.revoke(owner, RevokeKey, mallory)
			return session(h, mallory, ms, ms)
		}, invited: true, code: CodeRevoked},
		"revoked by its member": {say: func(h *history) *Statement {
			h.revoke(bob, RevokeKey, web)
			return session(h, bob, ms, ms)
		}, code: CodeRevoked},
		"revoked by itself": {say: func(h *history) *Statement {
			h.revoke(web, RevokeKey, web)
			return session(h, bob, ms, ms)
		}, code: CodeRevoked},
		"an api key for ever": {say: func(h *history) *Statement {
			return mustSign(h.t, &APIKey{Mesh: h.mesh(), Member: bob.Public(), Key: web.Public(), Label: "ci", Issued: ms}, bob, web)
		}},
		"an expired api key": {say: func(h *history) *Statement {
			return mustSign(h.t, &APIKey{Mesh: h.mesh(), Member: bob.Public(), Key: web.Public(), Label: "ci", Expires: 1}, bob, web)
		}, code: CodeExpired},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			h.cert(owner, bob, "bob", RoleMember, 1)
			s := c.say(h)
			wantCode(t, h.view().CheckSession(s, c.invited, now), c.code)
		})
	}
}

func TestSupersedes(t *testing.T) {
	h := newHistory(t)
	web := seeded(4)
	old, young := h.session(bob, web, 1), h.session(bob, web, 2)
	twin := mustSign(t, &Session{Mesh: h.mesh(), Member: bob.Public(), Session: web.Public(), Label: "other", Issued: 2}, bob, web)
	key := mustSign(t, &APIKey{Mesh: h.mesh(), Member: bob.Public(), Key: web.Public(), Label: "ci", Issued: 3}, bob, web)
	if !young.Supersedes(old) || old.Supersedes(young) || young.Supersedes(young) {
		t.Error("not the later one is kept")
	}
	if lower := bytes.Compare(twin.ID[:], young.ID[:]) < 0; twin.Supersedes(young) != lower || young.Supersedes(twin) == lower {
		t.Error("of two of one millisecond not the lower id is kept")
	}
	for _, other := range []*Statement{h.session(dave, web, 9), h.session(bob, seeded(8), 9), key, h.charter} {
		if other.Supersedes(old) || old.Supersedes(other) {
			t.Errorf("a %s of another member or key takes part", other.Kind)
		}
	}
	later := mustSign(t, &APIKey{Mesh: h.mesh(), Member: bob.Public(), Key: web.Public(), Label: "ci", Issued: 4}, bob, web)
	if !later.Supersedes(key) {
		t.Error("not the later api key is kept")
	}
}

// Of two statements the one that is from the future gives way, whichever came first; of two that are not, or both are, the
// later one counts.
func TestSupersedesAt(t *testing.T) {
	h := newHistory(t)
	web, now := seeded(4), time.UnixMilli(0)
	limit := ClockSkew.Milliseconds()
	today, tomorrow, later := h.session(bob, web, limit), h.session(bob, web, limit+1), h.session(bob, web, limit+2)
	stranger := h.session(dave, web, limit)
	for _, c := range []struct {
		s, old *Statement
		want   bool
	}{
		{today, tomorrow, true}, {tomorrow, today, false}, {later, tomorrow, true}, {tomorrow, later, false}, {today, today, false},
		{stranger, tomorrow, false}, {tomorrow, stranger, false}, {h.charter, tomorrow, false},
	} {
		if got := c.s.SupersedesAt(c.old, now); got != c.want {
			t.Errorf("%+v instead of %+v: %v", c.s.Body, c.old.Body, got)
		}
	}
	if past := now.Add(time.Millisecond); !tomorrow.SupersedesAt(today, past) {
		t.Error("when its time has come it does not count")
	}
}

func TestRevocationTellsTheReason(t *testing.T) {
	h := newHistory(t)
	h.cert(owner, bob, "bob", RoleMember, 1)
	h.say(&Revoke{Mesh: h.mesh(), Issuer: owner.Public(), Kind: RevokeKey, Target: bob.Public()}, owner)
	s := h.session(bob, seeded(4), 1)
	err := h.view().CheckSession(s, false, time.UnixMilli(1))
	wantCode(t, err, CodeRevoked)
	if want := "the key " + seeded(4).Public().Short() + " is revoked"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	h.revoke(owner, RevokeKey, dave)
	s = h.session(dave, seeded(4), 1)
	if want := "the key " + seeded(4).Public().Short() + " is revoked: because"; h.view().CheckSession(s, false, time.UnixMilli(1)).Error() != want {
		t.Errorf("not %q", want)
	}
}
