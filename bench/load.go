package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// patience is how long nothing may arrive until the rest counts as lost.
const patience = 30 * time.Second

// load is one run against one target.
type load struct {
	o      Options
	w      *world
	target *process
	epoch  time.Time
	peers  []*peer // those that are online, then those that come to drain
	idles  []*link
	ctx    context.Context
	stop   context.CancelFunc
	all    sync.WaitGroup

	started     atomic.Bool
	firsts      []int // number of a writer's first message
	sentAt      []int64
	ackedAfter  []int64         // ns; by message
	pushedAfter []int64         // ns; by delivery
	seen        []atomic.Uint32 // by delivery: the recipient's connection on which it came last, from 1
	repeated    []atomic.Bool   // by message: its sender repeated it, having heard no answer when the connection broke
	sampleEvery int

	sent, acks, deliveries atomic.Int64
	duplicates, outOfOrder atomic.Int64
	altered, retried       atomic.Int64
	receipts, redelivered  atomic.Int64
	killed                 atomic.Int64
	links                  atomic.Int64 // connections that are open
	last                   atomic.Int64 // when something arrived, ns since epoch

	mu        sync.Mutex
	refusedAs protocol.Code
	dialError error
	sampled   []sample
	ended     time.Duration
}

// sample is a push that is opened after the run.
type sample struct {
	to   int
	push *protocol.Push
}

func newRun(o Options, w *world, t *process) *load {
	g := &load{o: o, w: w, target: t, epoch: time.Now()}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.firsts = make([]int, len(w.people))
	n := 0
	for i, p := range w.people {
		g.firsts[i] = n
		n += len(p.letters)
	}
	g.sentAt, g.ackedAfter = make([]int64, n), make([]int64, n)
	g.repeated = make([]atomic.Bool, n)
	g.pushedAfter, g.seen = make([]int64, w.deliveries()), make([]atomic.Uint32, w.deliveries())
	if w.pattern == Fanout { // a slot for the sender himself too: the index is simpler
		g.pushedAfter, g.seen = make([]int64, n*len(w.people)), make([]atomic.Uint32, n*len(w.people))
	}
	g.sampleEvery = max(len(g.seen)/1000, 1)
	return g
}

// connect opens all connections, the idle ones first.
func (g *load) connect(ctx context.Context) error {
	if err := g.surround(ctx); err != nil {
		return err
	}
	for i, p := range g.w.people {
		if !p.reader {
			g.peers = append(g.peers, newPeer(g, i))
		}
	}
	return g.open(ctx, g.peers)
}

// parallel is how many connections are opened at the same time.
const parallel = 16

// open connects these peers and starts them.
func (g *load) open(ctx context.Context, peers []*peer) error {
	links := make([]*link, len(peers))
	err := each(len(peers), func(i int) (err error) {
		links[i], err = dial(ctx, g.target.url, peers[i].person, g.o.Receipts, readBuffer)
		return err
	})
	for i, p := range peers {
		if links[i] == nil {
			continue
		}
		g.links.Add(1)
		g.all.Go(func() { p.serve(g.ctx, links[i]) })
	}
	return err
}

// each calls f for 0 to n-1, some at a time, and returns the first error.
func each(n int, f func(i int) error) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var first error
	turns := make(chan int)
	for range min(parallel, n) {
		all.Go(func() {
			for i := range turns {
				if err := f(i); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
feed:
	for i := range n {
		select {
		case turns <- i:
		case <-done: // all have failed
			break feed
		}
	}
	close(turns)
	<-done
	return first
}

// send starts the clock and waits until everything has arrived, or nothing does any more.
func (g *load) send(ctx context.Context) error {
	g.epoch = time.Now()
	g.started.Store(true)
	for _, p := range g.peers {
		p.nudge()
	}
	want := int64(g.w.deliveries())
	if g.o.Pattern == Offline {
		want = 0
	}
	if g.o.Kills > 0 {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		g.all.Go(func() { cancel(g.kill(ctx)) })
		err := g.wait(ctx, func() bool {
			return g.killed.Load() == int64(g.o.Kills) && g.acks.Load() == int64(g.w.total()) && g.deliveries.Load() >= want
		})
		if err != nil {
			return context.Cause(ctx)
		}
		return nil
	}
	return g.wait(ctx, func() bool { return g.acks.Load() == int64(g.w.total()) && g.deliveries.Load() >= want })
}

// kill kills the broker and starts it again, as often as asked. When it returns nil it has waited for the end of the run.
func (g *load) kill(ctx context.Context) error {
	tick := time.NewTicker(g.o.KillEvery)
	defer tick.Stop()
	for g.killed.Load() < int64(g.o.Kills) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := g.bounce(ctx, g.target.kill); err != nil {
			return fmt.Errorf("after a kill: %w", err)
		}
		g.killed.Add(1)
	}
	<-ctx.Done()
	return nil
}

// wait returns when done says so, or nothing has happened for a while.
func (g *load) wait(ctx context.Context, done func() bool) error {
	g.last.Store(int64(time.Since(g.epoch)))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Since(g.epoch)-time.Duration(g.last.Load()) > patience {
			break
		}
		if err := g.refusal(); err != nil {
			return err
		}
	}
	g.ended = time.Duration(g.last.Load())
	pause(ctx, quiet)
	return g.refusal()
}

// pause returns after d or with ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// due is when a writer sends his n-th message. Writers take turns.
func (g *load) due(writer, n int) time.Duration {
	if g.o.Rate == 0 {
		return 0
	}
	if g.o.Pattern == Offline {
		writer /= 2
	}
	turn := float64(n*g.w.writers() + writer)
	return time.Duration(turn / g.o.Rate * float64(time.Second))
}

// slot is the number of a delivery, or -1 when that person should not get that message.
func (g *load) slot(from, n, to int) int {
	message := g.firsts[from] + n
	switch want := g.w.people[from].letters[n].to; {
	case want < 0 && to != from:
		return message*len(g.w.people) + to
	case want == to:
		return message
	}
	return -1
}

// stamp notes when a message goes out, the first time.
func (g *load) stamp(from, n int) {
	if at := &g.sentAt[g.firsts[from]+n]; atomic.LoadInt64(at) == 0 {
		atomic.StoreInt64(at, int64(time.Since(g.epoch)))
		g.sent.Add(1)
	}
}

func (g *load) arrived(slot, from, n int) {
	now := int64(time.Since(g.epoch))
	g.pushedAfter[slot] = now - atomic.LoadInt64(&g.sentAt[g.firsts[from]+n])
	g.last.Store(now)
	g.deliveries.Add(1)
}

func (g *load) acknowledged(from, n int) {
	now := int64(time.Since(g.epoch))
	i := g.firsts[from] + n
	g.ackedAfter[i] = now - atomic.LoadInt64(&g.sentAt[i])
	g.last.Store(now)
	g.acks.Add(1)
}

func (g *load) sample(to int, frame []byte) {
	var push protocol.Push
	if json.Unmarshal(frame, &push) != nil {
		g.altered.Add(1)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sampled = append(g.sampled, sample{to, &push})
}

func (g *load) samples() []sample {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sampled)
}

// refused notes a refusal after which a repeat is of no use.
func (g *load) refused(code protocol.Code) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusedAs = code
}

func (g *load) refusal() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refusedAs != "" {
		return protocol.Refuse(g.refusedAs, "the broker refused a message for good: %s", g.refusedAs)
	}
	return nil
}

func (g *load) noteDialError(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dialError = err
}

// fill writes what was counted into the report.
func (g *load) fill(r *Report) {
	r.Sent, r.Delivered = int(g.sent.Load()), int(g.deliveries.Load())
	r.Duplicates, r.OutOfOrder = int(g.duplicates.Load()), int(g.outOfOrder.Load())
	r.Altered, r.Retried = int(g.altered.Load()), int(g.retried.Load())
	r.Redelivered, r.Killed = int(g.redelivered.Load()), int(g.killed.Load())
	r.Lost = g.w.deliveries() - r.Delivered
	r.Seconds = g.ended.Seconds()
	done := r.Delivered
	if g.o.Pattern == Offline {
		done, r.Lost = int(g.acks.Load()), g.w.total()-int(g.acks.Load())
	}
	if r.Seconds > 0 {
		r.Throughput = float64(done) / r.Seconds
	}
	r.AckP50, r.AckP99 = percentile(g.ackedAfter, 50), percentile(g.ackedAfter, 99)
	r.P50, r.P95, r.P99 = percentile(g.pushedAfter, 50), percentile(g.pushedAfter, 95), percentile(g.pushedAfter, 99)
}

// percentile returns the q-th percentile, in milliseconds, of those that are not zero.
func percentile(ns []int64, q int) float64 {
	sorted := make([]int64, 0, len(ns))
	for _, n := range ns {
		if n != 0 {
			sorted = append(sorted, n)
		}
	}
	if len(sorted) == 0 {
		return 0
	}
	slices.Sort(sorted)
	return float64(sorted[(len(sorted)-1)*q/100]) / 1e6
}

// drain connects those who were away and measures how fast they get their messages.
func (g *load) drain(ctx context.Context, r *Report) error {
	var readers []*peer
	for i, p := range g.w.people {
		if p.reader {
			readers = append(readers, newPeer(g, i))
		}
	}
	g.o.Log("%d peers fetch what waits for them", len(readers))
	began := time.Since(g.epoch)
	if err := g.open(ctx, readers); err != nil {
		return err
	}
	g.peers = append(g.peers, readers...)
	if err := g.wait(ctx, func() bool { return g.deliveries.Load() >= int64(g.w.deliveries()) }); err != nil {
		return err
	}
	took := (g.ended - began).Seconds()
	r.Delivered = int(g.deliveries.Load())
	r.Lost = g.w.deliveries() - r.Delivered
	r.Duplicates, r.OutOfOrder, r.Altered = int(g.duplicates.Load()), int(g.outOfOrder.Load()), int(g.altered.Load())
	r.Drain = &Drain{Seconds: took, Throughput: float64(r.Delivered) / took, RSS: g.target.usage().peak}
	return nil
}

// restart stops the broker in order, starts it again and notes when the connections return.
func (g *load) restart(ctx context.Context, r *Report) error {
	g.o.Log("restarting the broker")
	all := int(g.links.Load())
	if err := g.bounce(ctx, g.target.stop); err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for _, percent := range []int{10, 25, 50, 75, 90, 99, 100} {
		for int(g.links.Load())*100 < all*percent {
			if time.Since(began) > 2*backoffMost {
				return fmt.Errorf("%d of %d connections returned; the last refusal: %w", g.links.Load(), all, g.dialError)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		r.Return = append(r.Return, Percent{percent, time.Since(began).Seconds()})
	}
	return nil
}

// bounce ends the broker and starts it again where it was.
func (g *load) bounce(ctx context.Context, end func()) error {
	end()
	g.target.pin()
	return g.target.start(ctx)
}

// close ends every connection and waits.
func (g *load) close() {
	g.stop()
	for _, l := range g.idles {
		if l != nil {
			l.ws.Close()
		}
	}
	g.all.Wait()
}
