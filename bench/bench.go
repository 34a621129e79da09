// Package bench puts load on a broker and measures the result. Every message is really sealed, every
// connection sends a real hello, and every received message is compared with the sent one.
//
//	generator (this process)                       broker (another process)
//	peer: writeLoop ── send, client_ack ─────────▶
//	      readLoop  ◀─ ack, push, receipt ────────
//
// The floor is the same generator with the same frames against a relay that neither checks, signs nor
// stores. It shows what the machine, the WebSocket library and the generator allow.
package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// Pattern is who writes to whom.
type Pattern string

const (
	Random  Pattern = "random"  // each message to some other peer
	Pairs   Pattern = "pairs"   // each peer to its partner
	Fanout  Pattern = "fanout"  // each message to all others, as one group message
	Offline Pattern = "offline" // half of the peers write to the other half, which comes when all is queued
)

// Patterns lists them.
func Patterns() []string {
	return []string{string(Random), string(Pairs), string(Fanout), string(Offline)}
}

// Options of Run.
type Options struct {
	URL        string // of the broker (ws://…/ws). Empty: one of our own, which is gone afterwards
	AdminToken string // lets us make the mesh of the run; not needed for a broker of our own
	Executable string // that is started as broker and floor
	Dir        string // where a broker of our own keeps its files; empty: the system's temporary directory

	Pattern  Pattern
	Peers    int
	Messages int     // that each writing peer sends
	Size     int     // bytes of the body
	Rate     float64 // messages a second, all together; zero: as fast as they are taken
	Window   int     // messages of one peer that may be unacknowledged
	Receipts bool    // ask for a receipt of each message, as a daemon does: two frames and a commit more

	Meshes int // other meshes on the broker
	Idle   int // other connections, in meshes of ten
	Queued int // messages that wait for somebody who is away

	Settle time.Duration // how long all are connected and silent before the memory is read and the first message sent

	NoLimits bool // a broker of our own takes any rate and any depth
	Floor    bool // run the floor first
	Restart  bool // after the run stop our own broker and see how the connections return

	Kills     int           // times that our own broker is killed and started again while the messages flow
	KillEvery time.Duration // between two of them

	Log func(format string, args ...any) // chatter; nil for none
}

// Most that a run can have: peers are statements of one mesh, and a message's number is in its id.
const (
	maxPeers    = 2000
	maxMessages = 1_000_000
)

func (o *Options) check() error {
	switch {
	case o.Peers < 2 || o.Peers > maxPeers:
		return protocol.Refuse(protocol.CodeInvalid, "peers are 2 to %d", maxPeers)
	case o.Messages < 0 || o.Messages > maxMessages:
		return protocol.Refuse(protocol.CodeInvalid, "messages are 0 to %d for each peer", maxMessages)
	case o.Size < 1 || o.Size > protocol.MaxBody:
		return protocol.Refuse(protocol.CodeInvalid, "the size is 1 to %d bytes", protocol.MaxBody)
	case o.Window < 1:
		return protocol.Refuse(protocol.CodeInvalid, "the window is at least 1")
	case o.Rate < 0:
		return protocol.Refuse(protocol.CodeInvalid, "the rate is above 0, or burst")
	case o.Settle < 0:
		return protocol.Refuse(protocol.CodeInvalid, "the time to settle is not negative")
	case o.URL != "" && (o.NoLimits || o.Restart || o.Kills > 0):
		return protocol.Refuse(protocol.CodeInvalid, "only a broker of the run's own can be without limits, or be restarted")
	case o.Restart && o.Pattern == Offline:
		return protocol.Refuse(protocol.CodeInvalid, "the offline pattern has nobody who could return")
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	return nil
}

// Report is what a run has shown. Times are from the moment a frame was handed to the socket.
type Report struct {
	Sent       int `json:"sent"`
	Delivered  int `json:"delivered"`
	Duplicates int `json:"duplicates"` // nothing excuses them
	Lost       int `json:"lost"`
	OutOfOrder int `json:"out_of_order"`
	// Redelivered were pushed again on a later connection, because the broker had not heard the acknowledgement or lost it in a
	// crash, or on the same one, because their sender had not heard his and a broker that crashed has forgotten whom it heard.
	// A recipient drops them by their id, as this one does.
	Redelivered int     `json:"redelivered,omitempty"`
	Altered     int     `json:"altered"` // arrived with another ciphertext, or could not be opened
	Retried     int     `json:"retried"` // sends that were refused and repeated
	Killed      int     `json:"killed,omitempty"`
	Seconds     float64 `json:"seconds"`
	Throughput  float64 `json:"throughput"` // deliveries a second; offline: acknowledged sends
	P50         float64 `json:"p50_ms"`     // from send to push
	P95         float64 `json:"p95_ms"`
	P99         float64 `json:"p99_ms"`
	AckP50      float64 `json:"ack_p50_ms"` // from send to ack: on the broker's disk
	AckP99      float64 `json:"ack_p99_ms"`

	BrokerCPU float64 `json:"broker_cpu_s,omitempty"` // during the run
	OwnCPU    float64 `json:"generator_cpu_s,omitempty"`
	CPUEach   float64 `json:"cpu_us_per_message,omitempty"`
	BrokerRSS float64 `json:"broker_rss_mb,omitempty"` // the most until the end of the run
	IdleRSS   float64 `json:"idle_rss_mb,omitempty"`   // with all connections open, before the first message

	Load     float64   `json:"load"` // the machine's load average when the run began
	Receipts bool      `json:"receipts,omitempty"`
	Drain    *Drain    `json:"drain,omitempty"`
	Return   []Percent `json:"return,omitempty"`
	Floor    *Floor    `json:"floor,omitempty"`
	Ratio    float64   `json:"ratio,omitempty"`     // of the floor's throughput
	CPURatio float64   `json:"cpu_ratio,omitempty"` // the same by CPU time, generator included: what a machine of our own would show
}

// Drain is how those who were away fetched their messages.
type Drain struct {
	Seconds    float64 `json:"seconds"`
	Throughput float64 `json:"throughput"`
	RSS        float64 `json:"broker_rss_mb,omitempty"`
}

// Percent says when so many of the connections were back.
type Percent struct {
	Percent int     `json:"percent"`
	Seconds float64 `json:"seconds"`
}

// Floor is what the bare relay has done.
type Floor struct {
	Throughput float64 `json:"throughput"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	CPU        float64 `json:"cpu_s,omitempty"`
	OwnCPU     float64 `json:"generator_cpu_s,omitempty"`
}

// OK tells whether everything arrived once, unchanged, in order.
func (r *Report) OK() bool { return r.Lost+r.Duplicates+r.Altered == 0 }

// Run does one run.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	w := newWorld(o)
	o.Log("sealing %d messages", w.total())
	if err := w.seal(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var floor *Floor
	if o.Floor {
		r, err := runFloor(ctx, o, w)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		floor = &Floor{Throughput: r.Throughput, P50: r.P50, P99: r.P99, CPU: r.BrokerCPU, OwnCPU: r.OwnCPU}
	}
	t, stop, err := openTarget(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer stop()
	r, err := run(ctx, o, w, t)
	if err != nil {
		return nil, err
	}
	if floor != nil {
		r.Floor = floor
		r.Ratio = r.Throughput / floor.Throughput
		if all := r.BrokerCPU + r.OwnCPU; all > 0 {
			r.CPURatio = (floor.CPU + floor.OwnCPU) / all
		}
	}
	return r, nil
}

func runFloor(ctx context.Context, o Options, w *world) (*Report, error) {
	o.Log("floor: a bare relay")
	t, err := startProcess(ctx, o.Executable, "bench", "relay")
	if err != nil {
		return nil, err
	}
	defer t.stop()
	o.Meshes, o.Idle, o.Queued, o.Restart = 0, 0, 0, false
	return run(ctx, o, w, t)
}

// openTarget returns the broker of the run, started if it is one of our own.
func openTarget(ctx context.Context, o *Options) (*process, func(), error) {
	if o.URL != "" {
		return &process{url: o.URL}, func() {}, nil
	}
	p, err := startBroker(ctx, *o)
	if err != nil {
		return nil, nil, fmt.Errorf("start a broker: %w", err)
	}
	o.AdminToken = p.token
	return p, p.remove, nil
}

// run does the run against one target.
func run(ctx context.Context, o Options, w *world, t *process) (*Report, error) {
	if err := w.create(ctx, o, t.url); err != nil {
		return nil, err
	}
	g := newRun(o, w, t)
	defer g.close()
	o.Log("connecting %d peers and %d idle ones", w.writers(), o.Idle)
	if err := g.connect(ctx); err != nil {
		return nil, err
	}
	if err := pause(ctx, o.Settle); err != nil {
		return nil, err
	}
	report := &Report{Load: loadAverage(), Receipts: o.Receipts, IdleRSS: t.usage().rss}
	before, own := t.usage(), ownUsage()
	o.Log("sending")
	if err := g.send(ctx); err != nil {
		return nil, err
	}
	after := t.usage()
	report.OwnCPU = (ownUsage().cpu - own.cpu).Seconds()
	g.fill(report)
	report.BrokerCPU, report.BrokerRSS = (after.cpu - before.cpu).Seconds(), after.peak
	if n := max(report.Delivered, 1); o.Pattern != Offline {
		report.CPUEach = report.BrokerCPU / float64(n) * 1e6
	}
	if o.Pattern == Offline && report.Sent > 0 {
		report.CPUEach = report.BrokerCPU / float64(report.Sent) * 1e6
		if err := g.drain(ctx, report); err != nil {
			return nil, err
		}
	}
	if o.Restart {
		if err := g.restart(ctx, report); err != nil {
			return nil, err
		}
	}
	report.Altered += w.openSome(g)
	return report, nil
}

// quiet is how long a run waits for what should not come any more: duplicates.
const quiet = 300 * time.Millisecond
