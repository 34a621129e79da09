package mesh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// tellSealed sends statements to a node as one member tells another what the broker may hide.
func (n *node) tellSealed(to *node, from *crypto.PrivateKey, statements ...*protocol.Statement) {
	n.Helper()
	for _, body := range protocol.EncodeLog(statements) {
		_, err := n.m.accept(&draft{
			id: protocol.NewClientID(), from: from, to: to.m.self.String(), name: to.name, priority: protocol.PriorityNow,
			kind: protocol.KindLog, body: body, people: []outRecipient{{Key: to.m.self, Member: to.m.self, Name: to.name}},
		})
		if err != nil {
			n.Fatal(err)
		}
	}
	pass(time.Minute)
}

// nobodys returns n revokes by a key, of keys that nobody has.
func (w *world) nobodys(by *crypto.PrivateKey, n int) (all []*protocol.Statement) {
	for range n {
		all = append(all, w.ban(by, crypto.GenerateKey().Public()))
	}
	return all
}

// Cathy revokes a thousand keys that nobody has, at the broker and in sealed logs, and has strangers say as much. Bob's phone
// is stolen: his session's key is revoked at his own daemon, at alice's and at the broker.
func TestEvilMemberFillsTheRoom(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		phone := w.bob.session("phone")
		pass(time.Minute)
		junk := w.nobodys(w.cathy.m.key, 1200)
		for range 600 {
			junk = append(junk, w.nobodys(crypto.GenerateKey(), 1)...)
		}
		if err := w.cathy.m.Publish(context.Background(), junk[0].Text()); err != nil {
			t.Fatal(err)
		}
		for part := junk; len(part) > 0; part = part[200:] {
			c, err := w.cathy.m.control.open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := offerTo(c, part[:200]); err != nil {
				t.Fatal(err)
			}
		}
		w.cathy.tellSealed(w.bob, w.cathy.m.key, junk...)
		e.tell(junk...)
		if err := w.bob.m.RevokeDevice(context.Background(), "phone", "stolen"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, n := range []*node{w.bob, w.alice} {
			if _, gone := n.m.trust.View().RevokedOf(w.bob.m.self, phone.Public()); !gone {
				t.Errorf("%s still believes the stolen key", n.name)
			}
		}
		w.bob.restart()
		pass(time.Minute)
		if _, gone := w.bob.m.trust.View().RevokedOf(w.bob.m.self, phone.Public()); !gone {
			t.Error("after a restart bob believes the stolen key")
		}
		// She is removed: her junk gives way.
		if err := w.alice.m.Ban(context.Background(), w.cathy.m.self, "junk"); err != nil {
			t.Fatal(err)
		}
		w.closeBroker()
		w.openBroker()
		pass(time.Minute)
		w.alice.send("bob", "the broker starts with what it kept")
		w.bob.want("alice: the broker starts with what it kept")
	})
}

// Dave holds a link and is not admitted: his logs are not read. Nor are those of a stolen session key, which speaks for no
// mesh.
func TestEvilLogOfWhoMayNot(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave := w.joined("dave", link)
		dave.learn(w.cert(w.bob), w.cert(w.alice))
		dave.start()
		web := w.cathy.session("web")
		pass(time.Minute)
		if got := w.bob.m.trust.Trust(dave.m.self); got != protocol.TrustInvited {
			t.Fatalf("dave is %s", got)
		}
		before := len(w.bob.m.trust.Statements())
		dave.tellSealed(w.bob, dave.m.key, w.nobodys(dave.m.key, 10)...)
		w.cathy.tellSealed(w.bob, web.Key, w.nobodys(web.Key, 10)...)
		if n := len(w.bob.m.trust.Statements()); n != before {
			t.Errorf("%d statements are kept", n-before)
		}
		w.cathy.tellSealed(w.bob, w.cathy.m.key, w.nobodys(w.cathy.m.key, 10)...)
		if n := len(w.bob.m.trust.Statements()); n != before+10 {
			t.Errorf("%d statements of a member are kept", n-before)
		}
	})
}

// The broker says that it took what has no force, or what bob's own daemon has no room for. Nobody is told that it is done.
func TestEvilAccepted(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypePublished) {
				return []frame{f.with("refused", nil)}
			}
			return []frame{f}
		})
		ctx := context.Background()
		dave := crypto.GenerateKey().Public()
		wantRefusal(t, w.bob.m.Publish(ctx, w.member(w.bob.m.key, dave, "dave", 1).Text()), protocol.CodeForbidden)
		wantRefusal(t, w.bob.m.Publish(ctx, w.ban(w.bob.m.key, w.alice.m.self).Text()), protocol.CodeForbidden)
		w.bob.learn(w.nobodys(w.bob.m.key, protocol.MaxOwnRevokes)...)
		w.bob.session("phone")
		synctest.Wait()
		wantRefusal(t, w.bob.m.RevokeDevice(ctx, "phone", ""), protocol.CodeMeshFull)
		if d := w.bob.m.Devices(); d[1].Revoked {
			t.Error("the list says revoked")
		}
	})
}

// A copy of bob's home connects first: his own is kept out. He takes the session key back all the same, and it is his daemon
// and alice's that say so.
func TestRevokeWithoutConnection(t *testing.T) {
	story(t, func(w *world) {
		phone := w.bob.session("phone")
		w.bob.session("web")
		pass(time.Minute)
		copied, err := w.copyOf(w.bob)
		if err != nil {
			t.Fatal(err)
		}
		w.bob.stop()
		clone := &node{world: w, name: "clone", cfg: w.bob.cfg, dir: t.TempDir()}
		copied(clone)
		clone.open()
		w.nodes = append(w.nodes, clone)
		clone.start()
		pass(time.Minute)
		w.bob.restart()
		pass(time.Minute)
		if h := w.bob.m.Health(); h.ErrorCode != protocol.CodeCloned {
			t.Fatalf("bob: %+v", h)
		}
		if err := w.bob.m.RevokeDevice(context.Background(), "phone", "stolen"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, n := range []*node{w.bob, w.alice} {
			if _, gone := n.m.trust.View().RevokedOf(w.bob.m.self, phone.Public()); !gone {
				t.Errorf("%s still believes the stolen key", n.name)
			}
		}
		// Without any way to the broker nothing is said to be done.
		w.bob.unplug()
		wantRefusal(t, w.bob.m.RevokeDevice(context.Background(), "web", ""), protocol.CodeUnavailable)
		if d := w.bob.m.Devices(); d[len(d)-1].Label != "web" || d[len(d)-1].Revoked {
			t.Errorf("devices: %+v", d)
		}
	})
}
