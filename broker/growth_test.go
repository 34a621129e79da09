package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

// Two days of traffic in fast time: bob fetches what he gets, cathy never comes, so that hers expires. What is on disk at the
// end of the second day is what was there at the end of the first, but for the segment that the journal is writing, and alice
// has heard of every message.
func TestFilesDoNotGrow(t *testing.T) {
	story(t, Limits{Burst: 1 << 20, Retention: 2 * time.Hour}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		const each = 6
		var sizes []int64
		heard := 0
		for hour := range 48 {
			for i := range each {
				alice.Send(w.bob, fmt.Sprint(hour, i))
				bob.Want(fmt.Sprint(hour, i))
				alice.Send(w.cathy, fmt.Sprint(hour, i))
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			heard += alice.takeReceipts()
			if hour%24 == 23 {
				q := w.srv.Status().Queue
				sizes = append(sizes, q.DataBytes)
				if q.JournalBytes > 8<<20 { // two segments
					t.Errorf("hour %d: a journal of %d bytes", hour, q.JournalBytes)
				}
				if q.Messages > 4*each { // cathy's of the last hours, and alice's receipts on their way
					t.Errorf("hour %d: %d messages wait", hour, q.Messages)
				}
			}
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		heard += alice.takeReceipts()
		if want := 2 * each * 48; heard != want {
			t.Errorf("alice heard what became of %d messages, want %d", heard, want)
		}
		if sizes[1] > sizes[0]+128<<10 {
			t.Errorf("%d bytes after the first day, %d after the second", sizes[0], sizes[1])
		}
		if q := w.srv.Status().Queue; q.Messages != 0 {
			t.Errorf("%d messages wait at the end", q.Messages)
		}
	})
}

// takeReceipts acknowledges the receipts that came and returns how many there were.
func (c *client) takeReceipts() (n int) {
	for {
		c.mu.Lock()
		there := false
		for _, f := range c.frames {
			there = there || f.typ == protocol.TypeReceipt
		}
		c.mu.Unlock()
		if !there {
			return n
		}
		var r protocol.Receipt
		c.wantFrame(protocol.TypeReceipt, &r)
		c.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: r.ReceiptID})
		synctest.Wait()
		n++
	}
}

// TestPushAllocations holds the way out to the id that the acknowledgement bears and the sender's key in digits.
func TestPushAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		alice.Send(w.bob, "hi")
		m := w.srv.mesh(w.mesh)
		rows, err := w.srv.queue.Pull(m.addresses[w.bob.key.Public()].mail, queue.Next, 0, 1, 0)
		if err != nil || len(rows) != 1 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		buf := make([]byte, 0, 8<<10)
		got := testing.AllocsPerRun(500, func() {
			if _, _, err := m.frameOf(buf, &rows[0]); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%.1f allocations", got)
		if got > 0 {
			t.Errorf("%.1f allocations for one push", got)
		}
		nc := &coalescer{}
		got = testing.AllocsPerRun(500, func() {
			nc.frame(func(dst []byte) ([]byte, error) { return append(dst, rows[0].Body...), nil })
			*nc.buf = (*nc.buf)[:0]
		})
		if got > 0 {
			t.Errorf("%.1f allocations for one frame", got)
		}
	})
}

// BenchmarkSend is the way of one message through the broker until it is handed to the journal; BenchmarkPush the way out.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b, Limits{Burst: 1 << 30, QueueMessages: 1 << 30, QueueBytes: 1 << 50, ShareMessages: 1 << 30, ShareBytes: 1 << 50})
	defer w.close()
	alice := w.alice.connect()
	c := w.srv.mesh(w.mesh).members[w.alice.key.Public()].conns.get(w.alice.key.Public())
	s := alice.seal(w.bob.key.Public(), protocol.PriorityLow, "hi")
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		c.handleSend(fmt.Appendf(nil, `{"type":"send","id":"%022d","targetSpec":"%s","priority":"low","nonce":"%s","ciphertext":"%s"}`,
			n, s.TargetSpec, s.Nonce, s.Ciphertext))
	}
}

func BenchmarkPush(b *testing.B) {
	w := newWorld(b, Limits{})
	defer w.close()
	w.alice.connect().Send(w.bob, "hi")
	m := w.srv.mesh(w.mesh)
	rows, err := w.srv.queue.Pull(m.addresses[w.bob.key.Public()].mail, queue.Next, 0, 1, 0)
	if err != nil || len(rows) != 1 {
		b.Fatalf("%d rows, %v", len(rows), err)
	}
	buf := make([]byte, 0, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.frameOf(buf, &rows[0]); err != nil {
			b.Fatal(err)
		}
	}
}
