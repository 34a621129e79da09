package mesh

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// owns puts the mesh's owner key on the node's machine; sealed: under a passphrase.
func (n *node) owns(sealed bool) {
	k := &config.OwnerKey{MeshID: n.charter.Mesh(), Public: n.owner.Public()}
	if !sealed {
		k.Key = n.owner
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.owned = k
}

// promote makes somebody an admin.
func (w *world) promote(n *node) {
	w.Helper()
	w.publish(w.certify(n.m.self, n.name, protocol.RoleAdmin))
}

// publish has alice tell everybody.
func (w *world) publish(statements ...*protocol.Statement) {
	w.Helper()
	for _, s := range statements {
		if err := w.alice.m.Publish(context.Background(), s.Text()); err != nil {
			w.Fatal(err)
		}
	}
	synctest.Wait()
}

// hides has the evil broker keep from its victim all revokes of a key.
func (e *evil) hides(target crypto.PublicKey) {
	e.keepsBack(func(s *protocol.Statement) bool {
		r, ok := s.Body.(*protocol.Revoke)
		return ok && r.Target == target
	})
}

// keepsBack has the evil broker withhold statements, in whatever frame and list they come.
func (e *evil) keepsBack(which func(*protocol.Statement) bool) {
	hidden := func(v any) bool {
		text, ok := v.(string)
		s, err := protocol.ParseText(text)
		return ok && err == nil && which(s)
	}
	var without func(v any) any
	without = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			v = maps.Clone(v)
			for k, x := range v {
				v[k] = without(x)
			}
			return v
		case []any:
			v = slices.DeleteFunc(slices.Clone(v), hidden)
			for i, x := range v {
				v[i] = without(x)
			}
			return v
		}
		return v
	}
	e.lies(func(f frame) []frame { return []frame{without(map[string]any(f)).(map[string]any)} })
}

func (n *node) wantRemoved(key, by crypto.PublicKey) {
	n.Helper()
	r, gone := n.m.trust.View().Revoked(key)
	if !gone || r.Own || r.By != by {
		n.Errorf("%s knows of the removal: %v, %+v", n.name, gone, r)
	}
}

// An admin leaves: the owner's daemon says so with the owner key. What he did stays; what is signed with his key later is void.
func TestAdminLeaves(t *testing.T) {
	story(t, func(w *world) {
		w.alice.owns(false)
		w.promote(w.bob)
		erin, zoe := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
		w.publish(w.member(w.bob.m.key, erin, "erin", time.Now().Unix()))
		if err := w.bob.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		late := w.member(w.bob.m.key, zoe, "zoe", time.Now().Add(-time.Hour).Unix())
		for _, n := range []*node{w.alice, w.cathy} {
			n.wantRemoved(w.bob.m.self, w.owner.Public())
			n.learn(late)
			if view := n.m.trust.View(); !view.Verified(erin) || view.Verified(zoe) || view.IsAdmin(w.bob.m.self) {
				t.Errorf("%s: erin %v, zoe %v, bob an admin %v", n.name, view.Verified(erin), view.Verified(zoe), view.IsAdmin(w.bob.m.self))
			}
		}
		if w.alice.m.trust.View().Digest() != w.cathy.m.trust.View().Digest() {
			t.Error("the digests differ")
		}
		before := len(w.alice.m.trust.Statements())
		w.alice.restart()
		pass(2 * time.Hour)
		if after := len(w.alice.m.trust.Statements()); after != before {
			t.Errorf("said again: %d statements, then %d", before, after)
		}
	})
}

// The broker hides from bob that cathy, an admin, left. Her word is in no digest; the owner's is.
func TestEvilHiddenLeaveOfAnAdmin(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		w.alice.owns(false)
		w.promote(w.cathy)
		e.hides(w.cathy.m.self)
		if err := w.cathy.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if !w.bob.m.trust.View().Verified(w.cathy.m.self) {
			t.Fatal("bob knows: nothing is hidden")
		}
		w.alice.send("bob", "by the way")
		pass(time.Minute)
		w.bob.wantRemoved(w.cathy.m.self, w.owner.Public())
		w.bob.want("alice: by the way")
	})
}

// The broker keeps from the owner whom bob admitted before he left. His leave names it: the owner's word makes nobody a stranger.
func TestEvilHiddenCertificateOfALeaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.alice.owns(false)
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		e := w.alice.corrupt()
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		w.promote(w.bob)
		erin := crypto.GenerateKey().Public()
		e.keepsBack(func(s *protocol.Statement) bool { c, ok := s.Body.(*protocol.Cert); return ok && c.Member == erin })
		if err := w.bob.m.Publish(context.Background(), w.member(w.bob.m.key, erin, "erin", time.Now().Unix()).Text()); err != nil {
			t.Fatal(err)
		}
		if err := w.bob.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if w.alice.m.trust.View().Verified(erin) {
			t.Fatal("alice knows erin: nothing is hidden")
		}
		w.cathy.wantRemoved(w.bob.m.self, w.owner.Public())
		if !w.cathy.m.trust.View().Verified(erin) {
			t.Error("erin is a stranger to cathy")
		}
	})
}

// The owner key lies under a passphrase, or elsewhere: people are told, once, and by what verb.
func TestAdminLeavesAndTheOwnerKeyIsNotAtHand(t *testing.T) {
	story(t, func(w *world) {
		w.alice.owns(true)
		w.promote(w.bob)
		w.promote(w.cathy)
		if err := w.bob.m.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		told := func(n *node) (texts []string) {
			for _, ev := range n.events.of(inbox.EventNotice) {
				if strings.Contains(ev.Notice, "claudemesh peer ban "+w.bob.m.self.Short()) {
					texts = append(texts, ev.Notice)
				}
			}
			return texts
		}
		pass(time.Second)
		if got := told(w.alice); len(got) != 1 || !strings.Contains(got[0], "bob, an admin of acme, left") || !strings.Contains(got[0], "under a passphrase") {
			t.Errorf("alice was told %q", got)
		}
		if got := told(w.cathy); len(got) != 0 {
			t.Errorf("cathy was told at once: %q", got)
		}
		pass(3 * time.Hour)
		if len(told(w.alice)) != 1 || len(told(w.cathy)) != 1 {
			t.Errorf("after hours alice was told %q, cathy %q", told(w.alice), told(w.cathy))
		}
		for _, n := range []*node{w.alice, w.cathy} {
			i := slices.IndexFunc(n.m.Members(), func(m protocol.MemberInfo) bool { return m.Pubkey == w.bob.m.self.String() })
			if i < 0 || n.m.Members()[i].Role != protocol.RoleAdmin || n.m.Members()[i].Trust != protocol.TrustUnverified {
				t.Errorf("%s does not list bob: %+v", n.name, n.m.Members())
			}
		}
		w.alice.owns(false) // the passphrase is taken off
		pass(time.Hour)
		w.cathy.wantRemoved(w.bob.m.self, w.owner.Public())
	})
}

// The broker hides from bob that cathy took a stolen session's key back. An admin repeats it, so the digests tell.
func TestEvilHiddenRevocationOfASession(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		stolen := w.cathy.session("web").Key
		pass(time.Second)
		e.hides(stolen.Public())
		if err := w.cathy.m.RevokeDevice(context.Background(), "web", "stolen"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if _, gone := w.bob.m.trust.View().RevokedOf(w.cathy.m.self, stolen.Public()); gone {
			t.Fatal("bob knows: nothing is hidden")
		}
		w.alice.wantRemoved(stolen.Public(), w.alice.m.self)
		w.cathy.send("bob", "do not believe my session")
		pass(time.Minute)
		w.bob.wantRemoved(stolen.Public(), w.alice.m.self)
		before := len(w.alice.m.trust.Statements())
		w.alice.restart()
		pass(2 * time.Hour)
		if after := len(w.alice.m.trust.Statements()); after != before {
			t.Errorf("said again: %d statements, then %d", before, after)
		}
	})
}
