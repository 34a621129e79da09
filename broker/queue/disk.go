package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/store"
)

const (
	// defaultMemoryLimit keeps the bytes of some ten thousand messages at
	// hand; beyond it only 100 bytes for each stay in memory.
	defaultMemoryLimit = 16 << 20
	// defaultJournalLimit is some seconds of flushing at bbolt's rate.
	defaultJournalLimit = 256 << 20
	// defaultFlushEvery, once to twice, is longer than a recipient who is there
	// needs, also in a burst: what he acknowledges in time never touches bbolt.
	defaultFlushEvery = 5 * time.Second
	// journalFull quarters of the journal's limit have the oldest segments
	// flushed, of which the most is acknowledged, until it is down to
	// journalEased quarters: the one is a burst of 200,000 messages.
	journalFull, journalEased = 3, 2
)

// Options of Open; the zero value works.
type Options struct {
	FS           store.FS         // of the journal; nil is the operating system's
	Now          func() time.Time // nil is time.Now
	MemoryLimit  int64            // bytes of rows held in memory; zero means 16 MiB
	SegmentSize  int64            // bytes of a journal segment; zero means 4 MiB
	JournalLimit int64            // bytes of segments beyond which commits wait for the flush; zero means 256 MiB
	FlushEvery   time.Duration    // zero means 5 s
	Logger       *slog.Logger     // nil discards
}

// Disk is the Queue of a single broker: a journal in front of a store.DB.
type Disk struct {
	// fixed at construction
	db           *store.DB
	journal      *store.Journal
	now          func() time.Time
	log          *slog.Logger
	memoryLimit  int64
	journalLimit int64
	shards       [64]shard

	stop     chan struct{}
	stopped  chan struct{} // closed when flushLoop has ended
	kick     chan struct{} // one slot: flush now
	progress chan struct{} // one slot: a flush got on, or failed

	closeOnce sync.Once
	closeErr  error
	closed    atomic.Bool // the segments are closed
	flushMu   sync.Mutex  // one flush at a time

	dirtyMu sync.Mutex
	dirty   []*queue // those that the next flush must visit

	committed atomic.Uint64 // every record up to it is published
	flushed   atomic.Uint64 // F
	flushErr  atomic.Pointer[error]
	oldest    atomic.Int64 // when the first unflushed batch was committed, Unix ns; 0: none

	memory    atomic.Int64 // bytes of rows held in memory
	ringBytes atomic.Int64 // bytes of unacknowledged rows above F, in memory or not
	messages  atomic.Int64
	bytes     atomic.Int64
	commits   atomic.Uint64
	accepted  atomic.Uint64
	flushes   atomic.Uint64

	// owned by the committer
	batch       []*putRecord
	wakes       []*subscriber
	batchNumber uint64 // from 1
}

// Open brings the queues to the state of the last commit. It takes the buckets
// q, b and qmeta of db, which stays the caller's to close, after Close; and
// the directory dir, created when missing.
func Open(db *store.DB, dir string, o Options) (*Disk, error) {
	d := &Disk{
		db: db, now: o.Now, log: o.Logger,
		memoryLimit: o.MemoryLimit, journalLimit: o.JournalLimit,
		stop: make(chan struct{}), stopped: make(chan struct{}),
		kick: make(chan struct{}, 1), progress: make(chan struct{}, 1),
		batchNumber: 1,
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.memoryLimit == 0 {
		d.memoryLimit = defaultMemoryLimit
	}
	if d.journalLimit == 0 {
		d.journalLimit = defaultJournalLimit
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = defaultFlushEvery
	}
	for i := range d.shards {
		d.shards[i].queues = make(map[Recipient]*queue)
	}
	if err := d.load(); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	var err error
	d.journal, err = store.OpenJournal(dir, store.JournalOptions{
		FS: o.FS, SegmentSize: o.SegmentSize, Floor: d.flushed.Load(),
		Replay: d.replay, Throttle: d.throttle, AfterBatch: d.afterBatch,
	})
	if err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	go d.flushLoop(o.FlushEvery, d.committed.Load(), d.now())
	return d, nil
}

// load prepares the buckets, reads F and counts the rows of each queue.
func (d *Disk) load() error {
	err := d.db.Update(func(tx *store.Tx) error {
		for _, name := range []string{rowBucket, bodyBucket, metaBucket} {
			if err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		v := tx.Peek(metaBucket, versionKey)
		if v == nil {
			return tx.Put(metaBucket, versionKey, []byte{version})
		}
		if len(v) != 1 || v[0] > version {
			return fmt.Errorf("queue format %x: %w", v, store.ErrNewer)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.db.View(func(tx *store.Tx) error {
		if v := tx.Peek(metaBucket, flushedKey); len(v) == 8 {
			d.flushed.Store(binary.BigEndian.Uint64(v))
		}
		d.committed.Store(d.flushed.Load())
		for k, v := range tx.Scan(rowBucket, nil, nil) {
			to, class, lsn, err := parseKey(k)
			if err != nil {
				return err
			}
			h, err := parseRowHeader(v)
			if err != nil {
				return err
			}
			if lsn > d.flushed.Load() {
				return fmt.Errorf("row %d above the flushed %d: %w", lsn, d.flushed.Load(), store.ErrCorrupt)
			}
			q := d.lock(to)
			q.flushed = d.flushed.Load()
			q.laneLocked(class).disk++
			q.addLocked(1, int64(h.size()))
			q.noteExpiryLocked(h.expires)
			q.mu.Unlock()
		}
		return nil
	})
}

// Close commits what was Put, flushes all to the DB and ends the goroutines.
// Later Puts are refused with store.ErrClosed.
func (d *Disk) Close() error {
	d.closeOnce.Do(func() {
		d.journal.Stop()
		close(d.stop)
		<-d.stopped
		err := d.Flush()
		if err == nil {
			err = d.journal.ReleaseAll(d.flushed.Load())
		}
		d.closed.Store(true)
		d.closeErr = errors.Join(err, d.journal.Close())
	})
	return d.closeErr
}

// Ready commits a record of its own and returns nil when that and the last
// flush went well.
func (d *Disk) Ready(ctx context.Context) error {
	p := make(probe, 1)
	if err := d.journal.Append(p); err != nil {
		return err
	}
	select {
	case err := <-p:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("commit to the journal: %w", ctx.Err())
	}
	return d.lastFlushError()
}

// Committed returns the LSN up to which every message is on disk and visible to Pull. A message above it may be visible already.
func (d *Disk) Committed() uint64 { return d.committed.Load() }

// Backup writes a consistent copy of the whole DB, with every message committed
// before the call. To restore it, put it in place and remove the journal
// directory.
func (d *Disk) Backup(w io.Writer) (int64, error) {
	if err := d.Flush(); err != nil {
		return 0, err
	}
	return d.db.WriteTo(w)
}

// Stats are gauges, and counters since Open.
type Stats struct {
	Messages int64 // waiting, in all queues
	Bytes    int64 // of their headers and bodies

	Memory          int64 // bytes of them held in memory
	JournalSegments int
	JournalBytes    int64
	FlushLag        time.Duration // age of the oldest commit that was not flushed

	Commits  uint64 // batches
	Accepted uint64 // messages in them
	Flushes  uint64 // transactions
}

// Stats reads each figure by itself; together they are no snapshot.
func (d *Disk) Stats() Stats {
	s := Stats{
		Messages: d.messages.Load(), Bytes: d.bytes.Load(), Memory: d.memory.Load(),
		JournalSegments: d.journal.Segments(), JournalBytes: d.journal.Size(),
		Commits: d.commits.Load(), Accepted: d.accepted.Load(), Flushes: d.flushes.Load(),
	}
	if t := d.oldest.Load(); t != 0 {
		s.FlushLag = d.now().Sub(time.Unix(0, t))
	}
	return s
}
