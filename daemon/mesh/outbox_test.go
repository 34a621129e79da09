package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// answer hands the daemon a frame.
func (x *wire) answer(frame any) {
	x.Helper()
	b, err := json.Marshal(frame)
	if err != nil {
		x.Fatal(err)
	}
	if err := x.w.handle([][]byte{b}); err != nil {
		x.Fatal(err)
	}
}

// sends drains and returns the ids of what went out.
func (x *wire) sends() (ids []string) {
	x.Helper()
	if _, err := x.w.drain(); err != nil {
		x.Fatal(err)
	}
	for {
		select {
		case o := <-x.w.c.out:
			var f protocol.Send
			if err := json.Unmarshal(o.frame, &f); err != nil {
				x.Fatal(err)
			}
			ids = append(ids, f.ID)
		default:
			return ids
		}
	}
}

func ackTag() protocol.Tag { return protocol.Tag{Type: protocol.TypeAck} }

func TestWindowAndOrder(t *testing.T) {
	ambush(t, func(w *world) {
		var ids []string
		for i := range outboxWindow + 5 {
			ids = append(ids, w.alice.send("bob", fmt.Sprint(i)))
		}
		x := w.alice.wire()
		if got := x.sends(); !slices.Equal(got, ids[:outboxWindow]) {
			t.Fatalf("%d went out, want the first %d in order", len(got), outboxWindow)
		}
		for _, id := range ids[:3] {
			x.answer(protocol.Ack{Tag: ackTag(), ID: id, Queued: true})
		}
		if got := x.sends(); !slices.Equal(got, ids[outboxWindow:outboxWindow+3]) {
			t.Errorf("after 3 acks %v went out", got)
		}
		// The connection is lost: all that has no ack goes out again, in order.
		w.alice.m.out.release(w.alice.m.control)
		if got := w.alice.wire().sends(); !slices.Equal(got, ids[3:3+outboxWindow]) {
			t.Errorf("%d go out again", len(got))
		}
	})
}

func TestBrokerRefuses(t *testing.T) {
	ambush(t, func(w *world) {
		x := w.alice.wire()
		first, second, other := w.alice.send("bob", "1"), w.alice.send("bob", "2"), w.alice.send("cathy", "3")
		x.sends()
		x.answer(protocol.Ack{Tag: ackTag(), ID: first, Code: protocol.CodeQueueFull, Error: "full", Retryable: true, RetryAfter: 5000})
		x.answer(protocol.Ack{Tag: ackTag(), ID: second, Code: protocol.CodeRateLimit, Error: "slow down"})
		x.answer(protocol.Ack{Tag: ackTag(), ID: other, Code: protocol.CodeUnknownRecipient, Error: "nobody"})
		w.alice.wantState(other, protocol.StateDead, protocol.ProofBroker)
		w.alice.wantState(first, protocol.StateAccepted, protocol.ProofSelf)
		pass(3 * time.Second)
		if got := x.sends(); len(got) != 0 { // the second is due, but the first is not, and order holds
			t.Errorf("too early: %v", got)
		}
		pass(2 * time.Second)
		if got := x.sends(); !slices.Equal(got, []string{first, second}) {
			t.Errorf("after the wait: %v", got)
		}
		x.answer(protocol.Ack{Tag: ackTag(), ID: first, Queued: true})
		w.alice.wantState(first, protocol.StateQueued, protocol.ProofBroker)
	})
}

// D13: requeue keeps target and ciphertext.
func TestRequeue(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "again")
		before := w.alice.sealed(id, w.bob)
		wantRefusal(t, w.alice.m.Requeue(id), protocol.CodeInvalid)
		if err := w.alice.m.giveUp(); err != nil {
			t.Fatal(err)
		}
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		w.alice.skew = outboxGiveUp + time.Hour
		if err := w.alice.m.giveUp(); err != nil {
			t.Fatal(err)
		}
		res := w.alice.wantState(id, protocol.StateDead, protocol.ProofSelf)
		if res.Recipients[0].Reason == "" {
			t.Error("dead without a reason")
		}
		rows, err := w.alice.m.Outbox()
		if err != nil || len(rows) != 1 || rows[0].State != protocol.StateDead {
			t.Errorf("outbox: %+v %v", rows, err)
		}
		if err := w.alice.m.Requeue(id[:8]); err != nil {
			t.Fatal(err)
		}
		if after := w.alice.sealed(id, w.bob); after != before {
			t.Errorf("the bytes changed:\n%+v\n%+v", before, after)
		}
		if got := w.alice.wire().sends(); !slices.Equal(got, []string{id}) {
			t.Errorf("went out: %v", got)
		}
		wantRefusal(t, w.alice.m.Requeue("nothing-like-this"), protocol.CodeNotFound)
	})
}

func TestSilentBrokerIsLeft(t *testing.T) {
	ambush(t, func(w *world) {
		w.alice.send("bob", "anybody?")
		x := w.alice.wire()
		w.alice.m.todo = chores{}
		if _, err := x.w.turn(); err != nil {
			t.Fatal(err)
		}
		pass(ackPatience + time.Second)
		_, err := x.w.turn()
		wantRefusal(t, err, protocol.CodeTimeout)
	})
}

// Random cuts, kills and restarts of anybody: every accepted message arrives exactly once, in order, and its sender comes
// to know of it by the recipient's word.
func TestRandomCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range uint64(2) {
		rnd := rand.New(rand.NewPCG(seed, round))
		story(t, func(w *world) { cutAtRandom(t, w, rnd) })
	}
}

func cutAtRandom(t *testing.T, w *world, rnd *rand.Rand) {
	model := map[*node][]string{} // what each recipient is to get from each, in the order of acceptance
	var ids []string
	var senders []*node
	names := []*node{w.alice, w.bob, w.cathy}
	brokerUp := true
	for step := range 120 {
		n := names[rnd.IntN(3)]
		switch rnd.IntN(12) {
		case 0:
			n.unplug()
		case 1:
			n.plug()
		case 2:
			n.kill()
		case 3:
			n.restart()
		case 4:
			if brokerUp {
				w.closeBroker()
			} else {
				w.openBroker()
			}
			brokerUp = !brokerUp
		case 5:
			pass(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
		case 6:
			synctest.Wait()
		default:
			to := names[rnd.IntN(3)]
			if to == n {
				continue
			}
			body := fmt.Sprintf("%s %d", n.name, step)
			ids, senders = append(ids, n.send(to.name, body)), append(senders, n)
			model[to] = append(model[to], n.name+": "+body)
		}
	}
	if !brokerUp {
		w.openBroker()
	}
	for _, n := range names {
		n.plug()
	}
	pass(10 * time.Minute)
	for _, n := range names {
		for _, from := range names {
			got, want := onlyFrom(n.inbox(nil), from), onlyFrom(model[n], from)
			if !slices.Equal(got, want) {
				t.Errorf("%s has from %s %q, want %q", n.name, from.name, got, want)
			}
		}
		if rows, err := n.m.Outbox(); err != nil || len(rows) != 0 {
			t.Errorf("outbox of %s: %+v %v", n.name, rows, err)
		}
	}
	for i, id := range ids {
		senders[i].wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	}
	for _, n := range names {
		for _, ev := range n.events.of(inbox.EventNotice) {
			t.Errorf("%s: %s", n.name, ev.Notice)
		}
	}
}

func onlyFrom(bodies []string, n *node) (some []string) {
	for _, b := range bodies {
		if len(b) > len(n.name) && b[:len(n.name)] == n.name {
			some = append(some, b)
		}
	}
	return some
}

// D10: a mesh whose broker cannot be reached delays nobody.
func TestSlowMeshDelaysNobody(t *testing.T) {
	story(t, func(w *world) {
		w.alice.unplug()
		began := time.Now()
		for range 100 {
			if _, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hi"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("accepting took %s of waiting", d)
		}
	})
}
