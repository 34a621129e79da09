package bench

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/protocol"
)

// startHere serves a broker in this process.
func startHere(t *testing.T, limits broker.Limits) Options {
	t.Helper()
	limits.Drain = time.Millisecond
	srv, err := broker.New(broker.Config{Dir: t.TempDir(), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(t.Context()); err != nil {
			t.Log(err) // the context of a test that ends is over
		}
		<-served
	})
	return Options{URL: "ws://" + l.Addr().String() + "/ws", AdminToken: srv.AdminToken(), Pattern: Random, Peers: 6, Messages: 50, Size: 64, Window: 16}
}

func TestRun(t *testing.T) {
	for _, pattern := range []Pattern{Random, Pairs, Fanout, Offline} {
		t.Run(string(pattern), func(t *testing.T) {
			o := startHere(t, broker.Limits{})
			o.Pattern, o.Meshes, o.Idle, o.Queued, o.Receipts = pattern, 2, 3, 5, pattern == Random
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			want := map[Pattern]int{Random: 300, Pairs: 300, Fanout: 1500, Offline: 150}[pattern]
			if !r.OK() || r.Delivered != want || r.OutOfOrder != 0 || r.AckP50 == 0 || (pattern == Offline) != (r.Drain != nil) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What the broker refuses for a while is sent again when it said so.
func TestRunRepeatsRefused(t *testing.T) {
	o := startHere(t, broker.Limits{Burst: 5, Rate: 40})
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Delivered != 300 || r.Retried == 0 {
		t.Errorf("%+v", r)
	}
}

func TestRunAtARate(t *testing.T) {
	o := startHere(t, broker.Limits{})
	o.Rate, o.Messages = 500, 25
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Seconds < 0.29 || !r.OK() {
		t.Errorf("150 messages at 500 a second took %.2f s: %+v", r.Seconds, r)
	}
}

// The judge sees what is wrong: a push that comes twice, one that was changed, one that overtook another, one for somebody else.
func TestJudge(t *testing.T) {
	w := newWorld(Options{Pattern: Pairs, Peers: 2, Messages: 3, Size: 10})
	if err := w.seal(); err != nil {
		t.Fatal(err)
	}
	g := newRun(Options{Pattern: Pairs, Window: 1}, w, &process{})
	p := newPeer(g, 1)
	p.connection = 1
	push := func(n int, change func([]byte) []byte) {
		l := w.people[0].letters[n]
		frame := protocol.AppendPush(nil, &protocol.PushView{
			MessageID: []byte("m"), Ciphertext: change(bytes.Clone(l.ciphertext)), ClientMessageID: []byte(messageID(w.run, 0, n)),
		})
		p.handlePush(frame)
	}
	same := func(b []byte) []byte { return b }
	push(1, same)
	push(0, same)
	push(1, same)
	push(2, func(b []byte) []byte { b[9] ^= 1; return b })
	var r Report
	g.fill(&r)
	if r.Delivered != 2 || r.Duplicates != 1 || r.OutOfOrder != 1 || r.Altered != 1 || r.Lost != 4 || r.OK() {
		t.Errorf("%+v", r)
	}
	p.connection = 2
	push(0, same)
	if g.redelivered.Load() != 1 || g.duplicates.Load() != 1 {
		t.Error("a push on a later connection is a redelivery")
	}
	q := newPeer(g, 0) // not for him
	q.connection = 1
	q.handlePush(protocol.AppendPush(nil, &protocol.PushView{Ciphertext: w.people[0].letters[2].ciphertext, ClientMessageID: []byte(messageID(w.run, 0, 2))}))
	if g.altered.Load() != 2 {
		t.Error("a message for somebody else was taken")
	}
}

func TestPercentile(t *testing.T) {
	if got := percentile([]int64{0, 4e6, 1e6, 3e6, 2e6}, 50); got != 2 {
		t.Errorf("p50 %v ms, want 2", got)
	}
	if got := percentile(nil, 99); got != 0 {
		t.Errorf("p99 of nothing is %v", got)
	}
}
