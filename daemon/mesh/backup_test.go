package mesh

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/backup"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// cheapSealing costs nothing to open: the least that Argon2 takes.
func cheapSealing(pass string) *config.Sealing {
	head := append([]byte("CMB2\x00\x00\x00\x01\x00\x00\x00\x08"), crypto.RandomBytes(16+crypto.NonceSize)...)
	return &config.Sealing{Head: head, Key: crypto.DeriveKey([]byte(pass), [16]byte(head[12:]), 1, 8)}
}

// Alice's home is restored elsewhere: it knows whom she knew, has her mail, opens what is sent to her and her sessions, counts
// in a new epoch, and what she received before the backup does not arrive twice.
func TestBackupAndRestore(t *testing.T) {
	ambush(t, func(w *world) {
		session := w.bob.session("web")
		if err := w.bob.m.trust.MarkInPerson(w.alice.m.self, true); err != nil {
			t.Fatal(err)
		}
		push := w.alice.sealed(w.alice.send("bob", "before"), w.bob)
		w.bob.wire().push(push)
		first := w.bob.sealed(w.bob.send("alice", "from the old machine"), w.alice)

		home := daemontest.NewHome(t)
		if err := home.Update(func(c *config.Config) error { c.Add(w.bob.cfg); return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := home.SaveOwnerKey("acme", w.bob.m.meshID, w.owner, nil); err != nil {
			t.Fatal(err)
		}
		sealed, err := backup.MakeFrom(home, w.bob.db, time.Now(), cheapSealing("horse"))
		if err != nil {
			t.Fatal(err)
		}
		seed := w.bob.m.key.Seed()
		if bytes.Contains(sealed, seed[:]) || bytes.Contains(sealed, []byte("before")) || bytes.Contains(sealed, []byte(w.bob.m.key.Hex())) {
			t.Error("the backup lies open")
		}
		elsewhere := daemontest.NewHome(t)
		if _, err := backup.Restore(elsewhere, sealed, []byte("cart")); protocol.CodeOf(err) != protocol.CodeUnauthorized {
			t.Errorf("wrong passphrase: %v", err)
		}
		got, err := backup.Restore(elsewhere, sealed, []byte("horse"))
		if err != nil || !slices.Equal(got.Meshes, []string{"acme"}) || len(got.Owner) != 1 {
			t.Fatalf("restored %+v, %v", got, err)
		}
		if _, err := backup.Restore(elsewhere, sealed, []byte("horse")); protocol.CodeOf(err) != protocol.CodeExists {
			t.Errorf("restored over a home: %v", err)
		}
		if k, err := elsewhere.OwnerKey(w.bob.m.meshID); err != nil || k.Public != w.owner.Public() {
			t.Errorf("owner key: %v", err)
		}

		again := &node{world: w, name: "bob again", cfg: w.bob.cfg, dir: elsewhere.Dir(), life: 1}
		if err := os.Rename(elsewhere.DBFile(), again.path()); err != nil {
			t.Fatal(err)
		}
		again.open()
		w.nodes = append(w.nodes, again)
		if !again.m.trust.MetInPerson(w.alice.m.self) || again.m.trust.Name(w.cathy.m.self) != "cathy" {
			t.Error("what was believed is lost")
		}
		if key, err := keyring.SessionKey(again.db, session.ID); err != nil || key.Public() != session.Public() {
			t.Errorf("session key: %v", err)
		}
		again.wire().push(push)
		again.want("alice: before")
		later := w.alice.sealed(w.alice.send("bob", "after"), w.bob)
		again.wire().push(later)
		again.want("alice: before", "alice: after")

		// The restored home numbers anew: nobody takes it for a clone.
		alice := w.alice.wire()
		alice.push(first)
		alice.push(again.sealed(again.send("alice", "from the new one"), w.alice))
		for _, m := range w.alice.messages(nil) {
			if len(m.Flags) != 0 {
				t.Errorf("%s is flagged %v", m.Body, m.Flags)
			}
		}
		if again.m.inst == w.bob.m.inst {
			t.Error("the restored home calls itself by the old one's name")
		}
	})
}

// backedUp takes a backup of a node, which may be restored as another.
func (n *node) backedUp() (restore func() *node) {
	n.Helper()
	home := daemontest.NewHome(n.TB.(*testing.T))
	if err := home.Update(func(c *config.Config) error { c.Add(n.cfg); return nil }); err != nil {
		n.Fatal(err)
	}
	sealed, err := backup.MakeFrom(home, n.db, time.Now(), cheapSealing("horse"))
	if err != nil {
		n.Fatal(err)
	}
	return func() *node {
		n.Helper()
		home := daemontest.NewHome(n.TB.(*testing.T))
		if _, err := backup.Restore(home, sealed, []byte("horse")); err != nil {
			n.Fatal(err)
		}
		again := &node{world: n.world, name: n.name + " again", cfg: n.cfg, dir: home.Dir(), life: 1}
		if err := os.Rename(home.DBFile(), again.path()); err != nil {
			n.Fatal(err)
		}
		again.open()
		n.nodes = append(n.nodes, again)
		return again
	}
}

// lastWords has bob read a message of alice's and write three, from himself and a session, to one and to all, while nobody can
// hear him.
func lastWords(w *world) (asked string, ids []string) {
	w.Helper()
	session := w.bob.session("web")
	pass(time.Second)
	asked = w.alice.send("bob", "have you read this?")
	synctest.Wait()
	w.bob.unplug()
	ids = []string{
		w.bob.send("alice", "one"), w.bob.sendAs(session, protocol.SendRequest{To: "cathy", Body: "two"}), w.bob.send("*", "three"),
	}
	if _, _, err := w.bob.m.env.Mail.MarkRead(protocol.InboxChange{IDs: []string{asked}}, nil, nil); err != nil {
		w.Fatal(err)
	}
	return asked, ids
}

// What a machine had accepted and not sent when it was lost goes out from the restored home, and the receipt that it owed.
func TestRestoreAfterALoss(t *testing.T) {
	story(t, func(w *world) {
		asked, ids := lastWords(w)
		restore := w.bob.backedUp()
		w.bob.stop()
		pass(5 * time.Minute)
		again := restore()
		again.start()
		pass(time.Minute)
		w.alice.want("bob: one", "bob: three")
		if got := w.cathy.inbox(nil); len(got) != 2 || !slices.Contains(got, "bob: two") || !slices.Contains(got, "bob: three") {
			t.Errorf("cathy got %q", got)
		}
		for _, id := range ids {
			again.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		}
		w.alice.wantState(asked, protocol.StateRead, protocol.ProofPeer)
		fresh := again.send("alice", "four")
		w.alice.want("bob: one", "bob: three", "bob: four")
		for _, id := range append(ids, fresh) { // no row took the place of another
			if res := again.wantMessage(id); res.ID != id {
				t.Errorf("%s is gone", id)
			}
		}
	})
}

// The machine lived on after the backup and sent what it had accepted, and more. The restored home sends it again: nobody gets
// anything twice, and nobody takes the one for a clone of the other.
func TestRestoreWhatWasSentMeanwhile(t *testing.T) {
	story(t, func(w *world) {
		_, ids := lastWords(w)
		restore := w.bob.backedUp()
		w.bob.plug()
		pass(time.Minute)
		w.bob.send("alice", "from the old machine")
		synctest.Wait()
		alices, cathys := w.alice.inbox(nil), w.cathy.inbox(nil)
		if len(alices) != 3 || len(cathys) != 2 {
			t.Fatalf("alice got %q, cathy %q", alices, cathys)
		}
		w.bob.stop()
		pass(5 * time.Minute)
		again := restore()
		if n := again.m.out.depth(); n != 3 {
			t.Errorf("%d messages wait in the restored home", n)
		}
		w.closeBroker() // what it remembers of ids is lost, too: it gives all of it to the recipients again
		w.openBroker()
		again.start()
		pass(2 * time.Minute)
		for _, id := range ids {
			if state := again.wantMessage(id).State; state.Rank() < protocol.StateQueued.Rank() {
				t.Errorf("%s is %s", id, state)
			}
		}
		w.cathy.want(cathys...)
		again.send("alice", "from the new machine")
		w.alice.want(append(alices, "bob: from the new machine")...)
		for _, m := range append(w.alice.messages(nil), w.cathy.messages(nil)...) {
			if len(m.Flags) != 0 {
				t.Errorf("%s is flagged %v", m.Body, m.Flags)
			}
		}
	})
}

// A copied home is refused while the first is there, and the other way round once the user said which it is; what the copy
// sends meanwhile is flagged.
func TestAcceptHost(t *testing.T) {
	story(t, func(w *world) {
		copied, err := w.copyOf(w.bob)
		if err != nil {
			t.Fatal(err)
		}
		clone := &node{world: w, name: "clone", cfg: w.bob.cfg, dir: t.TempDir()}
		copied(clone)
		clone.open()
		w.nodes = append(w.nodes, clone)
		clone.start()
		pass(time.Minute)
		if h := clone.m.Health(); h.State != protocol.ConnRefused || h.ErrorCode != protocol.CodeCloned {
			t.Errorf("the clone: %+v", h)
		}
		clone.stop()
		clone.db.Close()
		clone.open()
		if err := table.AcceptHost(clone.db); err != nil {
			t.Fatal(err)
		}
		clone.db.Close()
		clone.open()
		clone.start()
		synctest.Wait()
		if h := clone.m.Health(); h.State != protocol.ConnOpen {
			t.Errorf("the accepted home: %+v", h)
		}
		pass(5 * time.Minute)
		if h := w.bob.m.Health(); h.State != protocol.ConnRefused || h.ErrorCode != protocol.CodeCloned {
			t.Errorf("the first home: %+v", h)
		}
		w.alice.send("bob", "who is it?")
		clone.want("alice: who is it?")
		w.bob.want()
		// A copy of the accepted home is not accepted.
		third := &node{world: w, name: "third", cfg: w.bob.cfg, dir: t.TempDir()}
		if copied, err = w.copyOf(clone); err != nil {
			t.Fatal(err)
		}
		copied(third)
		third.open()
		w.nodes = append(w.nodes, third)
		if third.m.isHost {
			t.Error("a copy inherits that its home was accepted")
		}
	})
}

// The key of a session is revoked: others drop what it signs, and the session gets another key.
func TestRevokeDevice(t *testing.T) {
	story(t, func(w *world) {
		s := w.bob.session("web")
		pass(time.Second)
		list := w.bob.m.Devices()
		if len(list) != 2 || list[0].Kind != deviceMember || list[1].Label != "web" || !list[1].Here || !list[1].Live {
			t.Errorf("devices: %+v", list)
		}
		stolen := w.bob.sealed(w.bob.sendAs(s, protocol.SendRequest{To: "alice", Body: "in time"}), w.alice)
		w.alice.want("bob: in time")
		ctx := context.Background()
		wantRefusal(t, w.bob.m.RevokeDevice(ctx, "nobody", ""), protocol.CodeNotFound)
		wantRefusal(t, w.bob.m.RevokeDevice(ctx, "bob", ""), protocol.CodeForbidden)
		if err := w.bob.m.RevokeDevice(ctx, "web", "stolen"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, n := range []*node{w.alice, w.cathy, w.bob} {
			if _, gone := n.m.trust.View().RevokedOf(w.bob.m.self, s.Public()); !gone {
				t.Errorf("%s does not know", n.name)
			}
			if !n.m.trust.View().Verified(w.bob.m.self) {
				t.Errorf("%s takes bob himself for removed", n.name)
			}
		}
		stolen.MessageID, stolen.ClientMessageID = "m2", ""
		w.alice.wire().push(stolen)
		w.alice.wantAlarm("removed")
		fresh, err := keyring.SessionKey(w.bob.db, s.ID)
		if err != nil || fresh.Public() == s.Public() {
			t.Errorf("the session keeps its key: %v", err)
		}
		if err := w.bob.db.View(func(tx *store.Tx) error {
			if tx.Peek(table.Sessions, []byte(s.ID)) == nil {
				return errors.New("no key")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}
