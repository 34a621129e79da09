// Package memory keeps the machine's memory (package recall) up to date inside the daemon.
//
// Hooks tell which recording changed; it is read within a second. A slow sweep finds the rest. The
// index is opened with the first need of it, and a memory that cannot be opened disturbs nothing
// else of the daemon.
//
//	hook ─▶ Changed ─▶ one worker ─▶ recall.Read        verbs ─▶ Memory ─▶ recall.Search
//	timer ──────────▶      │      ─▶ recall.Sweep
//
// Keeper.mu is a leaf and held over nothing that waits.
package memory

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall"
)

const (
	sweepEvery = 10 * time.Minute
	firstSweep = 2 * time.Second        // after the start: verbs that wait for the daemon come first
	settle     = 300 * time.Millisecond // from a hook to the reading
	again      = 2 * time.Second        // and once more: the client may write the end of a turn after its hook
	maxWaiting = 256                    // changed recordings; beyond, the next sweep finds them
)

// Keeper owns the memory of a daemon.
type Keeper struct {
	// fixed at construction
	path string
	opts recall.Options
	log  *slog.Logger

	sweep   chan struct{} // one slot
	compact chan struct{} // one slot

	opening sync.Mutex // held while the index is opened

	mu       sync.Mutex
	memory   *recall.Memory // nil before it is needed
	changed  map[string]reading
	wake     chan struct{} // one slot
	indexing bool
	closed   bool
}

// reading is when a changed recording is read, and whether once more after that.
type reading struct {
	at    time.Time
	again bool
}

// New returns a keeper of the memory in the file at path. It opens nothing.
func New(path string, opts recall.Options, log *slog.Logger) *Keeper {
	return &Keeper{path: path, opts: opts, log: log, changed: map[string]reading{}, sweep: make(chan struct{}, 1), compact: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
}

// Memory returns the open memory. It fails when the index cannot be opened, for instance on a full disk.
func (k *Keeper) Memory() (*recall.Memory, error) {
	k.opening.Lock()
	defer k.opening.Unlock()
	k.mu.Lock()
	m, closed := k.memory, k.closed
	k.mu.Unlock()
	if m != nil {
		return m, nil
	}
	if closed {
		return nil, protocol.Refuse(protocol.CodeDraining, "the daemon stops")
	}
	m, err := recall.Open(k.path, k.opts)
	if err != nil {
		k.log.Error("memory not opened", "path", k.path, "err", err)
		return nil, protocol.Refuse(protocol.CodeStoreFailed, "the memory cannot be opened: %v", err).WithHint("claudemesh doctor")
	}
	k.mu.Lock()
	k.memory = m
	k.mu.Unlock()
	return m, nil
}

// Indexing reports whether recordings are being read now.
func (k *Keeper) Indexing() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.indexing
}

// Path is where the index lies.
func (k *Keeper) Path() string { return k.path }

// Changed tells that the recording at path grew. It returns at once.
func (k *Keeper) Changed(path string) {
	k.mu.Lock()
	if len(k.changed) < maxWaiting {
		k.changed[path] = reading{at: time.Now().Add(settle), again: true}
	}
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// SweepSoon makes the next sweep come at once. It returns before.
func (k *Keeper) SweepSoon() {
	select {
	case k.sweep <- struct{}{}:
	default:
	}
}

// CompactSoon takes what was removed off the disk. It returns before.
func (k *Keeper) CompactSoon() {
	select {
	case k.compact <- struct{}{}:
	default:
	}
}

// Run reads recordings until ctx ends, and closes the memory then.
func (k *Keeper) Run(ctx context.Context) {
	defer k.close()
	sweep := time.NewTimer(firstSweep)
	defer sweep.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-due.C:
		case <-k.sweep:
			sweep.Reset(0)
			continue
		case <-k.compact:
			k.work(ctx, func(m *recall.Memory) error { return m.Compact(ctx) })
		case <-sweep.C:
			if len(k.opts.Sources) > 0 {
				k.work(ctx, func(m *recall.Memory) error { return m.Sweep(ctx) })
			}
			sweep.Reset(sweepEvery)
		}
		due.Reset(k.readChanged(ctx))
	}
}

// readChanged reads what is due, and returns when the next one is.
func (k *Keeper) readChanged(ctx context.Context) time.Duration {
	now := time.Now()
	next := time.Hour
	var paths []string
	k.mu.Lock()
	for path, r := range k.changed {
		if wait := r.at.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		paths = append(paths, path)
		if r.again {
			k.changed[path] = reading{at: now.Add(again)}
			next = min(next, again)
		} else {
			delete(k.changed, path)
		}
	}
	k.mu.Unlock()
	for _, path := range paths {
		k.work(ctx, func(m *recall.Memory) error { return m.Read(ctx, path) })
	}
	return next
}

func (k *Keeper) work(ctx context.Context, f func(*recall.Memory) error) {
	m, err := k.Memory()
	if err != nil {
		return // logged
	}
	k.setIndexing(true)
	defer k.setIndexing(false)
	if err := f(m); err != nil && ctx.Err() == nil {
		k.log.Warn("memory not updated", "err", err)
	}
}

func (k *Keeper) setIndexing(on bool) {
	k.mu.Lock()
	k.indexing = on
	k.mu.Unlock()
}

func (k *Keeper) close() {
	k.opening.Lock()
	defer k.opening.Unlock()
	k.mu.Lock()
	m := k.memory
	k.memory, k.closed = nil, true
	k.mu.Unlock()
	if m == nil {
		return
	}
	if err := m.Close(); err != nil {
		k.log.Warn("memory not closed", "err", err)
	}
}
