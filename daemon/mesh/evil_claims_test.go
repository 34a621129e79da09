package mesh

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
)

// What each standing could do to the uses of a link while its issuer is away:
//
//	thief of the link  enrols too, with any date: neither he nor the other is admitted before the issuer has compared both
//	                   fingerprints. Alone, or while the issuer is there, he is the one admitted: a link is a bearer token
//	broker             says that they came in another order: that decides no more than who is bob and who is bob-2
//	member, admin      nothing more: who is admitted by a link is its issuer's to sign
//	removed            his key is no claim

// enrolled makes somebody who came by a link with a date of his own, and lets the clock go on.
func (w *world) enrolled(name, link string, at time.Time) *node {
	w.Helper()
	l, err := protocol.ParseLink(link)
	if err != nil {
		w.Fatal(err)
	}
	key := crypto.GenerateKey()
	enrol := w.enrolment(name, l, key, at)
	var reply protocol.JoinReply
	w.post("/join", protocol.JoinRequest{Invite: l.Invite.Text(), Enrol: enrol.Text()}, &reply)
	pass(time.Second)
	return w.node(name, config.Membership{Key: key, Invite: l.Invite.Text(), Enrol: enrol.Text(), Log: reply.Statements})
}

func (w *world) enrolment(name string, l *protocol.Link, key *crypto.PrivateKey, at time.Time) *protocol.Statement {
	return w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: l.Key.Public(), Member: key.Public(), Name: name, At: at.Unix()}, l.Key, key)
}

// refused wants the broker to take nobody by that link any more, and the issuer's daemon, should the broker take him after all,
// to admit nobody.
func (w *world) refused(issuer *node, link string) {
	w.Helper()
	l, err := protocol.ParseLink(link)
	if err != nil {
		w.Fatal(err)
	}
	key := crypto.GenerateKey()
	enrol := w.enrolment("zoe", l, key, time.Now())
	if rec := w.answer("/join", protocol.JoinRequest{Invite: l.Invite.Text(), Enrol: enrol.Text()}); !strings.Contains(rec.Body.String(), "already used") {
		w.Errorf("the broker answers %d %s", rec.Code, rec.Body)
	}
	if _, err := issuer.m.trust.Learn(nil, []trust.Enrolment{{Invite: l.Invite, Enrol: enrol, Arrived: 1 << 20}}); err != nil {
		w.Fatal(err)
	}
	if err := issuer.m.admitAll(); err != nil {
		w.Fatal(err)
	}
	if got := issuer.m.trust.Trust(key.Public()); got != protocol.TrustUnverified {
		w.Errorf("%s has zoe as %s", issuer.name, got)
	}
}

func (n *node) told(parts ...string) bool {
	return slices.ContainsFunc(n.events.of(inbox.EventNotice), func(ev protocol.Event) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(ev.Notice, part) })
	})
}

func TestEvilBackdatedClaim(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave := w.enrolled("dave", link, time.Now())
		eve := w.enrolled("eve", link, time.Now().Add(-24*time.Hour))
		w.alice.start()
		pass(time.Minute)
		mesh := w.charter.Mesh()
		for _, n := range []*node{dave, eve} {
			if got := w.alice.m.trust.Trust(n.m.self); got != protocol.TrustInvited {
				t.Errorf("%s is %s before alice decides", n.name, got)
			}
		}
		if !w.alice.told(protocol.Fingerprint(mesh, dave.m.self), protocol.Fingerprint(mesh, eve.m.self), "claudemesh members admit") {
			t.Errorf("alice was told %+v", w.alice.events.of(inbox.EventNotice))
		}
		w.alice.restart()
		pass(time.Minute)
		if w.alice.m.trust.Trust(eve.m.self) != protocol.TrustInvited {
			t.Error("a restart decides")
		}
		wantRefusal(t, w.bob.m.AdmitByHand(eve.m.self), protocol.CodeForbidden)
		if err := w.alice.m.AdmitByHand(dave.m.self); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, reader := range []*node{w.alice, w.bob} {
			if !reader.m.trust.View().Verified(dave.m.self) || reader.m.trust.Trust(eve.m.self) != protocol.TrustUnverified {
				t.Errorf("%s: dave is %s, eve is %s", reader.name, reader.m.trust.Trust(dave.m.self), reader.m.trust.Trust(eve.m.self))
			}
		}
		if err := w.alice.m.AdmitByHand(eve.m.self); err == nil {
			t.Error("a used up link admits another by hand")
		}
	})
}

// As long as there are uses for all, all are admitted, in the order of their arrival at the broker whatever they wrote.
func TestEvilBackdatedName(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(2).Link
		w.alice.stop()
		first := w.enrolled("dave", link, time.Now())
		second := w.enrolled("dave", link, time.Now().Add(-24*time.Hour))
		w.closeBroker() // which has not forgotten who came first
		w.openBroker()
		w.alice.start()
		pass(time.Minute)
		a, _ := w.alice.m.trust.View().Member(first.m.self)
		b, _ := w.alice.m.trust.View().Member(second.m.self)
		if a.Name != "dave" || b.Name != "dave-2" {
			t.Errorf("the first is %q, the second %q", a.Name, b.Name)
		}
	})
}

// Three claim two uses, one of which is decided; for the other two one use is left, and alice is asked again.
func TestClaimsBeyondTheUses(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(2).Link
		w.alice.stop()
		var claims []*node
		for _, name := range []string{"dave", "eve", "frank"} {
			claims = append(claims, w.enrolled(name, link, time.Now()))
		}
		w.alice.start()
		pass(time.Minute)
		for _, n := range claims[:2] {
			if err := w.alice.m.AdmitByHand(n.m.self); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			if w.alice.m.trust.View().Verified(claims[2].m.self) {
				t.Fatal("frank was admitted by nobody")
			}
		}
		if got := w.alice.m.trust.Trust(claims[2].m.self); got != protocol.TrustUnverified {
			t.Errorf("frank is %s", got)
		}
		if all, err := w.alice.m.Invites(); err != nil || all[0].Used != 2 || all[0].State != linkUsedUp {
			t.Errorf("links: %+v, %v", all, err)
		}
	})
}

// Who tried a dead link is nobody and is forgotten; who was removed, or left, is told so with the true reason.
func TestMembersKeepNoGhosts(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave, eve := w.enrolled("dave", link, time.Now()), w.enrolled("eve", link, time.Now())
		w.alice.start()
		pass(time.Minute)
		frank := w.joined("frank", w.alice.link(1).Link)
		grace := w.joined("grace", w.alice.link(1).Link)
		pass(time.Minute)
		for _, n := range []*node{dave, eve, frank, grace} {
			n.start()
		}
		pass(time.Minute)
		if err := w.alice.m.AdmitByHand(dave.m.self); err != nil {
			t.Fatal(err)
		}
		if err := w.alice.m.Ban(context.Background(), frank.m.self, "spam"); err != nil {
			t.Fatal(err)
		}
		if err := grace.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		for _, reader := range []*node{w.alice, w.bob} {
			notes := make(map[crypto.PublicKey]string)
			for _, info := range reader.m.Members() {
				key, err := crypto.ParsePublicKey(info.Pubkey)
				if err != nil {
					t.Fatal(err)
				}
				notes[key] = string(info.Trust) + " " + info.Note
			}
			if note, listed := notes[eve.m.self]; listed {
				t.Errorf("%s lists eve: %s", reader.name, note)
			}
			for n, want := range map[*node]string{dave: "verified ", frank: "unverified removed by alice: spam", grace: "unverified left, as alice confirms"} {
				if notes[n.m.self] != want {
					t.Errorf("%s says of %s %q, want %q", reader.name, n.name, notes[n.m.self], want)
				}
			}
			if _, known := reader.m.trust.Enrolments()[eve.m.self]; known {
				t.Errorf("%s remembers eve's enrolment", reader.name)
			}
			reader.restart()
			pass(time.Minute)
			if _, known := reader.m.trust.Enrolments()[eve.m.self]; known {
				t.Errorf("%s remembers eve's enrolment on disk", reader.name)
			}
		}
		// Eve hears why, as does who comes later.
		if err := eve.m.trust.View().Invited(eve.ownInvite(), eve.ownEnrol(), eve.now()); protocol.CodeOf(err) != protocol.CodeUsedUp {
			t.Errorf("eve hears %v", err)
		}
	})
}

func (n *node) ownInvite() *protocol.Statement { return n.m.trust.Enrolments()[n.m.self].Invite }
func (n *node) ownEnrol() *protocol.Statement  { return n.m.trust.Enrolments()[n.m.self].Enrol }

// The owner key admits one of two who claim a use: the use is gone, and the other is not admitted by himself.
func TestOwnerDecidesAClaim(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave, eve := w.enrolled("dave", link, time.Now()), w.enrolled("eve", link, time.Now())
		w.alice.start()
		pass(time.Minute)
		if err := w.bob.m.Publish(context.Background(), w.certify(dave.m.self, "dave", protocol.RoleMember).Text()); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		if !w.alice.m.trust.View().Verified(dave.m.self) || w.alice.m.trust.View().Verified(eve.m.self) {
			t.Errorf("dave is %s, eve is %s", w.alice.m.trust.Trust(dave.m.self), w.alice.m.trust.Trust(eve.m.self))
		}
		if all, err := w.alice.m.Invites(); err != nil || all[0].Used != 1 || all[0].State != linkUsedUp {
			t.Errorf("links: %+v, %v", all, err)
		}
	})
}

// A claimant whom the issuer removes claims nothing any more: the other is admitted, and everybody reads who removed the thief.
func TestRemovedClaimant(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave, eve := w.enrolled("dave", link, time.Now()), w.enrolled("eve", link, time.Now().Add(-time.Hour))
		w.alice.start()
		pass(time.Minute)
		frank := w.enrolled("frank", link, time.Now())
		leave := w.sign(&protocol.Revoke{Mesh: w.charter.Mesh(), Issuer: frank.m.self, Kind: protocol.RevokeKey, Target: frank.m.self,
			At: time.Now().Unix()}, frank.m.key)
		for _, reader := range []*node{w.alice, w.bob} {
			if err := reader.m.learnStatements([]*protocol.Statement{leave}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.alice.m.Ban(context.Background(), eve.m.self, "not dave"); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Minute)
		for _, reader := range []*node{w.alice, w.bob} {
			if !reader.m.trust.View().Verified(dave.m.self) {
				t.Errorf("%s: dave is %s", reader.name, reader.m.trust.Trust(dave.m.self))
			}
			all := reader.m.Members()
			i := slices.IndexFunc(all, func(info protocol.MemberInfo) bool { return info.Pubkey == eve.m.self.String() })
			if i < 0 || all[i].Note != "removed by alice: not dave" || all[i].Trust != protocol.TrustUnverified {
				t.Errorf("%s lists %+v", reader.name, all)
			}
			if slices.ContainsFunc(all, func(info protocol.MemberInfo) bool { return info.Pubkey == frank.m.self.String() }) {
				t.Errorf("%s lists frank, who came and went", reader.name)
			}
		}
	})
}

// A use is claimed by who holds the link and a key that is nobody's yet. Who was removed takes nothing from dave, whether the
// enrolment says 1970 or 9999, also where the broker hands it on.
func TestEvilClaimsOfOtherStandings(t *testing.T) {
	story(t, func(w *world) {
		if err := w.alice.m.Ban(context.Background(), w.cathy.m.self, "gone"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		link := w.alice.link(1).Link
		l, err := protocol.ParseLink(link)
		if err != nil {
			t.Fatal(err)
		}
		w.alice.stop()
		dave := w.enrolled("dave", link, time.Now())
		var lies []trust.Enrolment
		for _, at := range []time.Time{time.Unix(0, 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
			lies = append(lies, trust.Enrolment{Invite: l.Invite, Enrol: w.enrolment("cathy", l, w.cathy.m.key, at)})
		}
		if _, err := w.alice.m.trust.Learn(nil, lies); err != nil {
			t.Fatal(err)
		}
		if err := w.alice.m.admitAll(); err != nil {
			t.Fatal(err)
		}
		w.alice.start()
		pass(time.Minute)
		if m, ok := w.alice.m.trust.View().Member(dave.m.self); !ok || m.Name != "dave" {
			t.Errorf("dave is %+v, %v", m, ok)
		}
		if w.alice.m.trust.View().Verified(w.cathy.m.self) {
			t.Error("cathy is back")
		}
		wantRefusal(t, w.alice.m.AdmitByHand(w.cathy.m.self), protocol.CodeRevoked)
		wantRefusal(t, w.alice.m.AdmitByHand(dave.m.self), protocol.CodeExists)
		wantRefusal(t, w.alice.m.AdmitByHand(crypto.GenerateKey().Public()), protocol.CodeNotFound)
		w.refused(w.alice, link)
	})
}
