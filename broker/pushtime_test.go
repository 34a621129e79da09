package broker

import (
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/claudemesh/claudemesh/broker/queue"
)

// wantPushTime wants so many observations of push_seconds since the start, and their sum.
func (w *world) wantPushTime(n uint64, sum time.Duration) {
	w.Helper()
	var v dto.Metric
	if err := w.srv.metrics.pushTime.Write(&v); err != nil {
		w.Fatal(err)
	}
	h := v.GetHistogram()
	if got := time.Duration(h.GetSampleSum() * float64(time.Second)).Round(time.Millisecond); h.GetSampleCount() != n || got != sum {
		w.Errorf("push_seconds: %d observations, %s in all; want %d, %s", h.GetSampleCount(), got, n, sum)
	}
}

// push_seconds tells how quick the broker is, not how long people are away.
func TestPushTimeIsThatOfTheBroker(t *testing.T) {
	story(t, Limits{Window: 1}, func(w *world) {
		alice := w.alice.connect()
		alice.Send(w.bob, "while bob is offline")
		time.Sleep(3 * 24 * time.Hour)
		bob := w.bob.connect()
		bob.Want("while bob is offline")
		w.wantPushTime(0, 0)

		alice.Send(w.bob, "while bob is there")
		first := bob.Get("while bob is there")
		w.wantPushTime(1, 0)

		alice.Send(w.bob, "while bob's daemon is busy") // the window is full until it acknowledges
		time.Sleep(2 * time.Second)
		bob.wantNone("push")
		bob.Ack(first)
		bob.Want("while bob's daemon is busy")
		w.wantPushTime(2, 2*time.Second)

		alice.Send(w.bob, "one more")
		bob.Want("one more")
		w.wantPushTime(3, 2*time.Second)
	})
}

// The writer may be quicker than the word of a commit: bob's row is pushed, and counted once, before or after its commit tells of it.
func TestPushTimeOfAWriterThatIsQuicker(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c, f := &conn{srv: w.srv, opened: time.Now()}, &feed{from: w.srv.queue.Committed()}
		pull := func() { f.look(); f.after[queue.Next]++; c.observe(f) }
		f.after[queue.Next] = f.from
		pull()
		w.wantPushTime(1, 0)

		f.woken.Store(c.age()) // now it tells, and nothing is left to pull
		f.ready.Store(true)
		f.look()
		f.since = 0

		f.woken.Store(c.age()) // between the writer's look and its pull
		time.Sleep(time.Second)
		f.after[queue.Next]++
		c.observe(f)
		w.wantPushTime(2, time.Second)
		f.look()
		c.observe(f)
		w.wantPushTime(2, time.Second)
	})
}
