package mesh

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

func TestExchange(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.send("bob", "hi")
		w.bob.want("alice: hi")
		w.cathy.want()
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)

		msg, err := w.bob.m.env.Mail.Find(id)
		if err != nil {
			t.Fatal(err)
		}
		if msg.From.Trust != protocol.TrustVerified || msg.Mesh != "acme" || msg.Priority != protocol.PriorityNext {
			t.Errorf("message: %+v", msg)
		}
		reply := w.bob.sendAs(nil, protocol.SendRequest{ReplyTo: id, Body: "hi yourself"})
		w.alice.want("bob: hi yourself")
		answer, err := w.alice.m.env.Mail.Find(reply)
		if err != nil {
			t.Fatal(err)
		}
		if answer.ReplyTo != id {
			t.Errorf("reply_to is %q, want %q", answer.ReplyTo, id)
		}
	})
}

func TestReadAndShownAreProved(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.send("bob", "hi")
		synctest.Wait()
		mail := w.bob.m.env.Mail
		var meshes []protocol.MeshID
		err := w.bob.db.Update(func(tx *store.Tx) error {
			seq, err := mail.Lookup(tx, id)
			if err != nil {
				return err
			}
			return mail.MarkShown(tx, seq, "web", crypto.PublicKey{1}, protocol.RungHook, &meshes)
		})
		if err != nil || len(meshes) != 1 {
			t.Fatalf("markShown: %v %v", meshes, err)
		}
		w.bob.m.Wake()
		if r := w.alice.wantState(id, protocol.StateShown, protocol.ProofPeer).Recipients; r[0].Rung != protocol.RungHook {
			t.Errorf("rung %q", r[0].Rung)
		}
		w.bob.unplug()
		if _, _, err := mail.MarkRead(protocol.InboxChange{IDs: []string{id}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		w.bob.kill() // the receipt is on disk until the broker has it
		pass(time.Minute)
		w.alice.wantState(id, protocol.StateRead, protocol.ProofPeer)
	})
}

func TestOfflineThreeInOrderOnce(t *testing.T) {
	story(t, func(w *world) {
		w.bob.stop()
		synctest.Wait()
		var ids []string
		for _, body := range []string{"one", "two", "three"} {
			ids = append(ids, w.alice.send("bob", body))
		}
		for _, id := range ids {
			w.alice.wantState(id, protocol.StateQueued, protocol.ProofBroker)
		}
		w.alice.restart()
		if rows, err := w.alice.m.Outbox(); err != nil || len(rows) != 0 || w.alice.m.out.depth() != 0 {
			t.Errorf("outbox of what the broker has: %+v %v", rows, err)
		}
		w.bob.start()
		w.bob.want("alice: one", "alice: two", "alice: three")
		w.bob.restart()
		w.bob.want("alice: one", "alice: two", "alice: three")
		for _, id := range ids {
			w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		}
	})
}

// D2: a daemon whose first connect fails recovers; D11: rows in flight at a crash go out again, once.
func TestFirstConnectFails(t *testing.T) {
	story(t, func(w *world) {
		w.alice.stop()
		w.alice.unplug()
		w.alice.start()
		pass(time.Minute)
		if h := w.alice.m.Health(); h.State != protocol.ConnReconnecting && h.State != protocol.ConnConnecting || h.LastError == "" {
			t.Errorf("health without a network: %+v", h)
		}
		id := w.alice.send("bob", "patience")
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		w.alice.plug()
		pass(time.Minute)
		w.bob.want("alice: patience")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		if h := w.alice.m.Health(); h.State != protocol.ConnOpen || h.Queued != 0 {
			t.Errorf("health: %+v", h)
		}
	})
}

func TestKillBetweenAcceptAndAck(t *testing.T) {
	story(t, func(w *world) {
		w.alice.unplug()
		id := w.alice.send("bob", "survivor")
		w.alice.kill()
		pass(time.Minute)
		w.bob.want("alice: survivor")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

func TestBrokerRestart(t *testing.T) {
	story(t, func(w *world) {
		w.closeBroker()
		id := w.alice.send("bob", "through")
		pass(3 * time.Minute)
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		w.openBroker()
		pass(time.Minute)
		w.bob.want("alice: through")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

func TestClientIDIsIdempotent(t *testing.T) {
	story(t, func(w *world) {
		req := protocol.SendRequest{To: "bob", Body: "once", ClientID: "0123456789abcdef"}
		for range 3 {
			if _, err := w.alice.m.Send(context.Background(), req, nil); err != nil {
				t.Fatal(err)
			}
		}
		w.bob.want("alice: once")
	})
}

// A client id names one message: another target, text, priority, kind or answer under it is refused, also when the daemon was
// started anew, and the first message is untouched. The same target in other words is the same message.
func TestClientIDOfAnotherMessage(t *testing.T) {
	story(t, func(w *world) {
		send := func(change func(*protocol.SendRequest)) error {
			req := protocol.SendRequest{To: "bob", Body: "pay 10", ClientID: "0123456789abcdef"}
			change(&req)
			_, err := w.alice.m.Send(context.Background(), req, nil)
			return err
		}
		same := func(*protocol.SendRequest) {}
		if err := send(same); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for what, change := range map[string]func(*protocol.SendRequest){
				"another target":   func(r *protocol.SendRequest) { r.To = "cathy" },
				"everybody":        func(r *protocol.SendRequest) { r.To = "*" },
				"nobody":           func(r *protocol.SendRequest) { r.To = "zoe" },
				"another text":     func(r *protocol.SendRequest) { r.Body = "pay 1000" },
				"another priority": func(r *protocol.SendRequest) { r.Priority = protocol.PriorityNow },
				"another kind":     func(r *protocol.SendRequest) { r.Kind = protocol.KindQuestion },
				"meta":             func(r *protocol.SendRequest) { r.Meta = []byte(`{"a":1}`) },
				"an answer":        func(r *protocol.SendRequest) { r.ReplyTo = "fedcba9876543210" },
			} {
				if err := send(change); protocol.CodeOf(err) != protocol.CodeExists {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, change := range []func(*protocol.SendRequest){
				same,
				func(r *protocol.SendRequest) { r.Priority = protocol.PriorityNext },
				func(r *protocol.SendRequest) { r.To = w.bob.m.self.String() },
				func(r *protocol.SendRequest) { r.Meta = []byte("{}") },
			} {
				if err := send(change); err != nil {
					t.Errorf("the same message: %v", err)
				}
			}
			w.alice.restart()
			pass(time.Minute)
		}
		w.bob.want("alice: pay 10")
		w.cathy.want()
	})
}

func TestWaitReturnsWhenDelivered(t *testing.T) {
	story(t, func(w *world) {
		res, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hi", WaitMS: 10_000}, nil)
		if err != nil || res.State != protocol.StateDelivered {
			t.Errorf("%v %v", res.State, err)
		}
		w.bob.stop()
		began := time.Now()
		res, err = w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hi", WaitMS: 10_000}, nil)
		if err != nil || res.State != protocol.StateQueued || time.Since(began) != 10*time.Second {
			t.Errorf("%v %v after %s", res.State, err, time.Since(began))
		}
	})
}

func TestBroadcastAndGroup(t *testing.T) {
	story(t, func(w *world) {
		api := w.bob.session("api", "backend")
		web := w.bob.session("web")
		pass(time.Second)
		all := w.alice.send("*", "all hands")
		w.bob.want("alice: all hands")
		w.cathy.want("alice: all hands")
		w.alice.want()
		w.alice.wantState(all, protocol.StateDelivered, protocol.ProofPeer)
		w.alice.send("@backend", "deploy")
		w.bob.want("alice: all hands", "alice: deploy")
		w.cathy.want("alice: all hands")

		// D8: both sessions of one machine see it; the one that sends does not hear itself.
		w.bob.sendAs(api, protocol.SendRequest{To: "*", Body: "from api"})
		w.cathy.want("alice: all hands", "bob: from api")
		if got := w.bob.inbox(api); len(got) != 2 {
			t.Errorf("api sees %q", got)
		}
		if got := w.bob.inbox(web); len(got) != 3 {
			t.Errorf("web sees %q", got)
		}
	})
}
