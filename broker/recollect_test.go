package broker

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

// crash goes on with what was on disk at this moment, as after kill -9.
func (w *world) crash() {
	w.Helper()
	synctest.Wait()
	dir := w.TempDir() + "/data"
	if err := os.CopyFS(dir, os.DirFS(w.cfg.Dir)); err != nil {
		w.Fatal(err)
	}
	w.close()
	w.cfg.Dir = dir
	w.open()
}

func (c *client) status(id string) protocol.MessageState {
	c.w.Helper()
	var st protocol.MessageState
	c.request(protocol.MessageStatus{Tag: protocol.Tag{Type: protocol.TypeMessageStatus}, MessageID: id}, protocol.TypeMessageState, &st)
	return st
}

// The broker is killed after alice's messages were committed, perhaps before she heard so. She repeats all of them; bob gets
// each once, and she can ask what became of them. The same after an orderly restart, when they wait in the data base.
func TestRepeatAfterACrash(t *testing.T) {
	for name, again := range map[string]func(*world){"killed": (*world).crash, "restarted": (*world).restart} {
		t.Run(name, func(t *testing.T) {
			story(t, Limits{}, func(w *world) {
				alice, bob := w.alice.connect(), w.bob.connect()
				told := alice.Send(w.bob, "bob has it, alice does not know")
				push := bob.Get("bob has it, alice does not know")
				synctest.Wait()
				alice.freeze() // the receipt stays with the broker
				bob.Ack(push)
				synctest.Wait()
				alice.lose()
				bob.lose()
				alice = w.alice.connect()
				var sent []protocol.Send
				for i := range 20 {
					sent = append(sent, alice.Send(w.bob, fmt.Sprint(i)))
				}
				group := alice.sealGroup("*", "to all", w.bob, w.cathy)
				alice.wantQueued(group)
				alice.lose()

				again(w)
				alice = w.alice.connect()
				for _, s := range sent {
					alice.wantQueued(s)
				}
				alice.wantQueued(group)
				alice.wantQueued(told)
				m := w.srv.mesh(w.mesh)
				if n, _ := w.srv.queue.Depth(m.addresses[w.bob.key.Public()].mail); n != len(sent)+1 {
					t.Errorf("%d messages wait for bob, want %d", n, len(sent)+1)
				}
				for _, s := range sent {
					st := alice.status(s.ID)
					if st.Delivered || len(st.Recipients) != 1 || st.Recipients[0].Status != string(protocol.StateQueued) ||
						st.Recipients[0].Name != "bob" || st.TargetSpec != w.bob.key.Public().String() {
						t.Fatalf("status %+v", st)
					}
				}
				if st := alice.status(told.ID); !st.Delivered || st.Recipients[0].Status != string(protocol.StateDelivered) {
					t.Errorf("what bob has: %+v", st)
				}
				if st := alice.status(group.ID); len(st.Recipients) != 2 || st.TargetSpec != "*" {
					t.Errorf("what went to all: %+v", st)
				}
				bob = w.bob.connect()
				for i := range sent {
					bob.Want(fmt.Sprint(i))
				}
				bob.Want("to all")
				bob.wantNone(protocol.TypePush)
				alice.WantReceipt(told, protocol.StateDelivered, true)
			})
		})
	}
}

// What is remembered is bounded as ever, and the newest is what stays.
func TestRecollectionIsBounded(t *testing.T) {
	story(t, Limits{Dedupe: 10}, func(w *world) {
		alice := w.alice.connect()
		var ids []string
		for i := range 45 {
			ids = append(ids, alice.Send(w.bob, fmt.Sprint(i)).ID)
		}
		w.restart()
		m := w.srv.mesh(w.mesh)
		var got []string
		recent := m.members[w.alice.key.Public()].recent
		for i := range uint32(recent.count) {
			got = append(got, recent.clientID(recent.slot(i)))
		}
		if !slices.Equal(got, ids[35:]) {
			t.Errorf("remembers %d, not the last 10 in their order", len(got))
		}
	})
}

// BenchmarkStart opens a broker for which 100,000 messages of 300 bytes wait in the data base.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b, Limits{QueueMessages: 1 << 30, ShareMessages: 1 << 30, ShareBytes: 1 << 50})
	m := w.srv.mesh(w.mesh)
	body := make([]byte, 300)
	people := []*person{w.alice, w.bob, w.cathy}
	for i := range 100_000 {
		from, to := people[i%3], people[(i+1)%3]
		id := protocol.NewClientID()
		row := messageRow{
			class: queue.Next, created: time.Now().UnixMilli(), sender: from.key.Public(), member: from.key.Public(), clientID: []byte(id),
			messageID: []byte(protocol.MessageID(w.mesh, from.key.Public(), id)), target: []byte(to.key.Public().String()), name: []byte(from.name),
		}
		w.srv.queue.Put(queue.Message{
			To: []queue.Recipient{m.addresses[to.key.Public()].mail}, Headers: [][]byte{row.appendTo(nil)}, Body: body, Class: queue.Next,
		}, nil)
	}
	w.close()
	for b.Loop() {
		srv, err := New(w.cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		start := time.Now()
		if err := srv.recollect(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-recollect")
		srv.Close(context.Background())
		b.StartTimer()
	}
}
