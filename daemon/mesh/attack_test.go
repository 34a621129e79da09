package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// wire stands for the broker of one daemon: frames go in by hand, what the daemon writes comes out.
type wire struct {
	*node
	w *worker
}

func (n *node) wire() *wire {
	c := &conn{u: n.m.control, log: n.m.log, out: make(chan outgoing, 1000), gone: make(chan struct{}), waiting: make(map[string]chan []byte)}
	return &wire{n, newWorker(n.m.control, c)}
}

// push hands a push to the daemon and returns its acks.
func (x *wire) push(p protocol.Push) (acks []protocol.ClientAck) {
	x.Helper()
	p.Type = protocol.TypePush
	return x.batch(frameOf(p))
}

// batch hands frames to the daemon, which it reads together, and returns its acks.
func (x *wire) batch(frames ...frame) (acks []protocol.ClientAck) {
	x.Helper()
	var raw [][]byte
	for _, f := range frames {
		b, err := json.Marshal(f)
		if err != nil {
			x.Fatal(err)
		}
		raw = append(raw, b)
	}
	if err := x.w.handle(raw); err != nil {
		x.Fatal(err)
	}
	for {
		select {
		case o := <-x.w.c.out:
			var ack protocol.ClientAck
			if err := json.Unmarshal(o.frame, &ack); err != nil {
				x.Fatal(err)
			}
			acks = append(acks, ack)
		default:
			return acks
		}
	}
}

// sealed is what the broker would push for a message that waits in the outbox of n, to one recipient.
func (n *node) sealed(id string, to *node) protocol.Push {
	n.Helper()
	var row *outRow
	var box sealedRow
	err := n.db.View(func(tx *store.Tx) (err error) {
		var num uint64
		if num, row, err = n.m.out.rowOf(tx, id); err != nil || row == nil {
			return errors.Join(err, errors.New("no row"))
		}
		_, err = table.GetJSON(tx, table.Sealed, table.RowKey(n.m.meshID, num), &box)
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	p := protocol.Push{
		MessageID: "m-" + id, MeshID: string(n.m.meshID), SenderPubkey: row.From.String(), SenderMemberPubkey: n.m.self.String(),
		TargetSpec: row.To, Priority: row.Priority, Nonce: base64Text(box.Nonce), Ciphertext: base64Text(box.Ciphertext), ClientMessageID: id,
	}
	if wrap := box.Keys[to.m.self.String()]; wrap != nil {
		p.Key = base64Text(wrap)
	}
	return p
}

// ambush runs f with the three of them not connected: the test is the broker.
func ambush(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		f(w)
	})
}

func TestReplayIsAckedAndDropped(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "once")
		push, bob := w.alice.sealed(id, w.bob), w.bob.wire()
		first := bob.push(push)
		if len(first) != 1 || first[0].Proof == nil || first[0].BrokerMessageID != push.MessageID {
			t.Errorf("first: %+v", first)
		}
		push.MessageID = "another"
		if acks := bob.push(push); len(acks) != 1 || acks[0].BrokerMessageID != "another" {
			t.Errorf("replay: %+v", acks)
		}
		w.bob.kill()
		bob = w.bob.wire()
		bob.push(push)
		w.bob.want("alice: once")
	})
}

func TestTamperedMessagesAreAlarms(t *testing.T) {
	swap := func(s string) string { // another byte in the middle
		b := []byte(s)
		if b[40] == 'A' {
			b[40] = 'B'
		} else {
			b[40] = 'A'
		}
		return string(b)
	}
	for _, test := range []struct {
		name   string
		change func(w *world, p *protocol.Push)
	}{
		{"altered ciphertext", func(_ *world, p *protocol.Push) { p.Ciphertext = swap(p.Ciphertext) }},
		{"base64 text instead of a box", func(_ *world, p *protocol.Push) {
			p.Ciphertext = base64Text([]byte("transfer all the money to mallory now"))
		}},
		{"another sender", func(w *world, p *protocol.Push) { p.SenderPubkey = w.cathy.m.self.String() }},
		{"another member", func(w *world, p *protocol.Push) { p.SenderMemberPubkey = w.cathy.m.self.String() }},
		{"another id", func(_ *world, p *protocol.Push) { p.ClientMessageID = "0123456789abcdef" }},
		{"another target", func(_ *world, p *protocol.Push) { p.TargetSpec = "*" }},
		{"another priority", func(_ *world, p *protocol.Push) { p.Priority = protocol.PriorityNow }},
		{"a reply to what it does not reply to", func(_ *world, p *protocol.Push) { p.ReplyToID = "0123456789abcdef" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			ambush(t, func(w *world) {
				id := w.alice.send("bob", "pay cathy")
				push := w.alice.sealed(id, w.bob)
				test.change(w, &push)
				acks := w.bob.wire().push(push)
				if len(acks) != 1 || acks[0].Proof != nil {
					t.Errorf("acks: %+v", acks)
				}
				got := w.bob.messages(nil)
				if len(got) != 1 || got[0].Alarm == "" || got[0].Body != "" || got[0].From.Trust != protocol.TrustAlarm {
					t.Errorf("inbox: %+v", got)
				}
			})
		})
	}
}

func TestReflectedMessageIsAnAlarm(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "hi bob")
		push := w.alice.sealed(id, w.bob)
		push.SenderPubkey, push.SenderMemberPubkey = w.bob.m.self.String(), w.bob.m.self.String() // the box has one key for both directions
		w.alice.wire().push(push)
		if got := w.alice.inbox(nil); len(got) != 1 || got[0][0] != '!' {
			t.Errorf("inbox of alice: %q", got)
		}
	})
}

// The broker swaps the names that it shows: what people type and see comes from certificates.
func TestSwappedNames(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "secret")
		push := w.alice.sealed(id, w.bob)
		push.SenderName = "cathy"
		w.bob.wire().push(push)
		w.bob.want("alice: secret")
		target, err := w.alice.m.Resolve("bob")
		if err != nil || target.key != w.bob.m.self {
			t.Errorf("bob is %s, %v", target.key, err)
		}
	})
}

// Whatever keys alice makes, and whatever keys nobody knows, her alarms are hers, and few. The last one says so.
func TestAlarmsOfAPersonAreBounded(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "hi")
		push, bob := w.alice.sealed(id, w.bob), w.bob.wire()
		push.Priority = protocol.PriorityLow
		want := func(n int) {
			t.Helper()
			if got := len(w.bob.inbox(nil)); got != n {
				t.Errorf("%d alarms, want %d", got, n)
			}
		}
		flood := func(n int, member string) {
			for i := range n {
				push.MessageID, push.SenderMemberPubkey = fmt.Sprintf("m-%d-%d-%d", len(member), i, len(w.bob.inbox(nil))), member
				if acks := bob.push(push); len(acks) != 1 {
					t.Fatalf("an alarm was not acknowledged: %v", acks)
				}
				push.SenderPubkey = crypto.GenerateKey().Public().String()
			}
		}
		flood(3*alarmsPerHour, w.alice.m.self.String()) // her own key first, then one that nobody knows after the other
		want(alarmsPerHour)
		if got := w.bob.inbox(nil); !strings.Contains(got[alarmsPerHour-1], "only in the daemon's log") || strings.Contains(got[0], "only in") {
			t.Errorf("the last alarm is %q", got[alarmsPerHour-1])
		}
		flood(3*alarmsPerHour, "")
		want(2 * alarmsPerHour) // of nobody
		flood(3*alarmsPerHour, crypto.GenerateKey().Public().String())
		want(2 * alarmsPerHour)
		flood(3*alarmsPerHour, w.cathy.m.self.String())
		want(3 * alarmsPerHour)
		pass(time.Hour)
		flood(1, w.alice.m.self.String())
		want(3*alarmsPerHour + 1)
	})
}

// The broker names whom it likes as the sender: there is a most for all of them.
func TestAlarmsAreBoundedInAll(t *testing.T) {
	var l alarmLimit
	kept := 0
	for range 2 * alarmsInAll / alarmsPerHour {
		person := crypto.GenerateKey().Public()
		for i := range 2 * alarmsPerHour {
			if ok, _ := l.allow(person, fmt.Sprint(i), time.Unix(0, 0)); ok {
				kept++
			}
		}
	}
	if kept != alarmsInAll {
		t.Errorf("%d alarms, want %d", kept, alarmsInAll)
	}
}

func TestTooOldIsRefusedWithAProof(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "stale")
		push := w.alice.sealed(id, w.bob)
		w.bob.skew = protocol.SealedMaxAge + time.Hour
		acks := w.bob.wire().push(push)
		w.bob.want()
		if len(acks) != 1 || acks[0].State != string(protocol.StateRefused) || acks[0].Proof == nil {
			t.Fatalf("acks: %+v", acks)
		}
		w.alice.receipt(id, w.bob, string(protocol.StateRefused), acks[0].Proof)
		res := w.alice.wantState(id, protocol.StateDead, protocol.ProofPeer)
		if !strings.Contains(res.Recipients[0].Reason, "too long ago") {
			t.Errorf("reason %q", res.Recipients[0].Reason)
		}
	})
}

// receipt hands a receipt to the daemon, as the broker forwards it.
func (n *node) receipt(id string, from *node, state string, proof *protocol.Sealed) {
	n.Helper()
	x := n.wire()
	frame, err := json.Marshal(protocol.Receipt{
		Tag: protocol.Tag{Type: protocol.TypeReceipt}, ReceiptID: "r1", ClientMessageID: id, Recipient: from.m.self.String(), State: state, Proof: proof,
	})
	if err != nil {
		n.Fatal(err)
	}
	if err := x.w.handle([][]byte{frame}); err != nil {
		n.Fatal(err)
	}
	if len(x.w.c.out) != 1 {
		n.Errorf("%d answers to a receipt, want its ack", len(x.w.c.out))
	}
}

// A receipt counts for the rows whose recipient signed it: cathy cannot say that bob has read.
func TestReceiptOfAnother(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "hi")
		h := protocol.Header{ID: id, From: w.alice.m.self}
		forged, err := w.cathy.m.proof(&h, protocol.ReceiptBody{State: protocol.StateRead})
		if err != nil {
			t.Fatal(err)
		}
		w.alice.receipt(id, w.bob, string(protocol.StateRead), forged)
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		// Nor does the broker's word go further than delivered.
		w.alice.receipt(id, w.bob, string(protocol.StateRead), nil)
		w.alice.wantState(id, protocol.StateAccepted, protocol.ProofSelf)
		w.alice.receipt(id, w.bob, string(protocol.StateDelivered), nil)
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofBroker)
		real, err := w.bob.m.proof(&h, protocol.ReceiptBody{State: protocol.StateDelivered})
		if err != nil {
			t.Fatal(err)
		}
		w.alice.receipt(id, w.bob, string(protocol.StateDelivered), real)
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.alice.receipt(id, w.bob, "expired", nil)
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

func TestHeldUntilTheCertificateComes(t *testing.T) {
	ambush(t, func(w *world) {
		dave := crypto.GenerateKey()
		cert := w.certify(dave.Public(), "dave", protocol.RoleMember)
		cfg := w.bob.cfg
		cfg.Key, cfg.Cert = dave, cert.Text()
		d := w.node("dave", cfg)
		d.learn(w.cert(w.bob))
		id := d.send("bob", "new here")
		bob := w.bob.wire()
		acks := bob.push(d.sealed(id, w.bob))
		if len(acks) != 1 || acks[0].Proof != nil {
			t.Errorf("acks of what is held: %+v", acks)
		}
		w.bob.want()
		w.bob.learn(cert)
		if err := bob.w.retryHeld(); err != nil {
			t.Fatal(err)
		}
		w.bob.want("dave: new here")
		due, err := w.bob.m.dueReceipts(nil)
		if err != nil || len(due) != 1 || due[0].row.State != string(protocol.StateDelivered) {
			t.Errorf("receipts due: %+v %v", due, err)
		}
		err = w.bob.db.View(func(tx *store.Tx) error {
			if n := tx.Count(table.Held, nil); n != 0 {
				t.Errorf("%d messages are still held", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.bob.want("dave: new here")
	})
}

func TestNumbersAndGaps(t *testing.T) {
	ambush(t, func(w *world) {
		var pushes []protocol.Push
		for _, body := range []string{"1", "2", "3", "4", "5"} {
			pushes = append(pushes, w.alice.sealed(w.alice.send("bob", body), w.bob))
		}
		bob := w.bob.wire()
		bob.push(pushes[1]) // our store is fresh: 2 is the base, 1 is not missed
		bob.push(pushes[4])
		w.bob.start()
		pass(10 * time.Minute)
		if n := w.bob.events.of(inbox.EventNotice); len(n) != 0 {
			t.Errorf("too early: %v", n)
		}
		bob.push(pushes[2]) // late, not lost
		pass(10 * time.Minute)
		notices := w.bob.events.of(inbox.EventNotice)
		if len(notices) != 1 || !strings.HasPrefix(notices[0].Notice, "1 message from alice did not arrive") {
			t.Errorf("notices: %v", notices)
		}
		bob.push(pushes[3]) // later still: delivered, and not as a clone
		bob.push(pushes[0])
		for _, msg := range w.bob.messages(nil) {
			if len(msg.Flags) != 0 {
				t.Errorf("%s is flagged %v", msg.Body, msg.Flags)
			}
		}
		w.bob.want("alice: 2", "alice: 5", "alice: 3", "alice: 4", "alice: 1")
		pass(time.Hour)
		if n := w.bob.events.of(inbox.EventNotice); len(n) != 1 {
			t.Errorf("told again: %v", n)
		}
	})
}

// What is missing among messages that wait to be pulled is told when somebody pulled past it, however long that takes.
func TestGapsOfLowPriority(t *testing.T) {
	ambush(t, func(w *world) {
		var ids []string
		var pushes []protocol.Push
		for _, body := range []string{"1", "2", "3", "4", "5"} {
			id := w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: body, Priority: protocol.PriorityLow})
			ids, pushes = append(ids, id), append(pushes, w.alice.sealed(id, w.bob))
		}
		bob := w.bob.wire()
		for _, i := range []int{0, 2, 4} {
			bob.push(pushes[i])
		}
		w.bob.start()
		read := func(i int) []protocol.Event {
			t.Helper()
			if _, _, err := w.bob.m.env.Mail.MarkRead(protocol.InboxChange{IDs: ids[i : i+1]}, nil, nil); err != nil {
				t.Fatal(err)
			}
			pass(2 * time.Minute)
			return w.bob.events.of(inbox.EventNotice)
		}
		pass(2 * time.Hour)
		if n := w.bob.events.of(inbox.EventNotice); len(n) != 0 {
			t.Errorf("told before anybody looked: %v", n)
		}
		if n := read(0); len(n) != 0 {
			t.Errorf("told of what comes behind: %v", n)
		}
		if n := read(2); len(n) != 1 || !strings.HasPrefix(n[0].Notice, "1 message from alice did not arrive") {
			t.Errorf("told %v", n)
		}
		bob.push(pushes[3]) // late, and before the pull
		if n := read(4); len(n) != 1 {
			t.Errorf("told %v", n)
		}
	})
}

// Two homes with one key count alike: the second message of one number is delivered, and flagged.
func TestClonedNumbers(t *testing.T) {
	ambush(t, func(w *world) {
		twin := &node{world: w, name: "twin", cfg: w.alice.cfg, dir: t.TempDir()}
		b, err := w.copyOf(w.alice)
		if err != nil {
			t.Fatal(err)
		}
		b(twin)
		twin.open()
		twin.learn(w.cert(w.bob))
		w.nodes = append(w.nodes, twin)
		bob := w.bob.wire()
		bob.push(w.alice.sealed(w.alice.send("bob", "from alice"), w.bob))
		bob.push(twin.sealed(twin.send("bob", "from her twin"), w.bob))
		got := w.bob.messages(nil)
		if len(got) != 2 || len(got[0].Flags) != 0 || !slices.Equal(got[1].Flags, []string{"cloned"}) {
			t.Errorf("inbox: %+v", got)
		}
		bob.push(twin.sealed(twin.send("bob", "twice"), w.bob))
		bob.push(w.alice.sealed(w.alice.send("bob", "twice"), w.bob))
		if told := w.bob.events.of(inbox.EventNotice); len(told) != 1 || !strings.Contains(told[0].Notice, "two homes send with the keys of alice") {
			t.Errorf("told: %+v", told)
		}
	})
}

func TestArrivals(t *testing.T) {
	var a arrivals
	for _, step := range []struct {
		n      uint64
		cloned bool
		holes  int
	}{{5, false, 0}, {6, false, 0}, {10, false, 1}, {8, false, 2}, {8, true, 2}, {7, false, 1}, {9, false, 0}, {9, true, 0}, {3, false, 0}, {10, true, 0}} {
		if cloned := a.arrive(step.n, 0); cloned != step.cloned || len(a.Holes) != step.holes {
			t.Errorf("after %d: cloned %v, holes %v", step.n, cloned, a.Holes)
		}
	}
	for n := uint64(100); n < 100+4*maxHoles; n += 2 {
		a.arrive(n, 0)
	}
	if len(a.Holes) > maxHoles {
		t.Errorf("%d holes", len(a.Holes))
	}
	if a.arrive(12, 0) {
		t.Error("a number of a forgotten hole counts as a clone's")
	}
}
