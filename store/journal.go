package store

import (
	"fmt"
	"sync"
)

const (
	defaultSegmentSize = 4 << 20
	// maxPending bounds the bytes that wait for the committer. One more fsync
	// costs nothing any more beyond a MiB.
	maxPending = 1 << 20
	// lazyBatch is how many lazy bytes may wait for somebody else's commit.
	lazyBatch = 64 << 10
	// keepBuffer is the largest batch buffer that is used again.
	keepBuffer = 2 << 20
)

// Record is what Append takes.
type Record interface {
	// AppendTo appends the payload to b. It is called once, inside Append.
	AppendTo(b []byte) []byte
	// Committed is called once by the committer, in the order of the LSNs,
	// when the record is on disk, or with an error when it never will be
	// (then lsn and at are zero). It must not append to the journal.
	Committed(lsn uint64, at Position, err error)
}

// JournalOptions configure OpenJournal; the zero value works.
type JournalOptions struct {
	// FS is the file system; nil is the operating system's.
	FS FS

	// SegmentSize is when a new file is begun. Zero means 4 MiB.
	SegmentSize int64

	// Floor is the highest LSN that earlier segments, now released, may have
	// held: new records are numbered above it.
	Floor uint64

	// Replay is called for each record that the directory holds, in order.
	// The payload is only valid during the call.
	Replay func(lsn uint64, at Position, payload []byte) error

	// Throttle is called by the committer before it writes, with the bytes of
	// all segments. It may wait; its error refuses the batch.
	Throttle func(size int64) error

	// AfterBatch is called by the committer after a batch's Committed calls,
	// with the highest LSN on disk. Err is the batch's.
	AfterBatch func(last uint64, err error)
}

// Journal appends records to segments and calls each record back when it is on
// disk. One committer goroutine takes all that waits, writes it, syncs once,
// and repeats; it never waits to collect. A write or sync error poisons the
// journal for good: nobody knows what the disk holds, and a second fsync of
// that file would say yes without having written it. Only a full disk, noticed
// by the write and cut off again, is refused and may be tried again.
type Journal struct {
	// fixed at construction
	fs         FS
	dir        string
	segSize    int64
	throttle   func(int64) error
	afterBatch func(uint64, error)
	wake       chan struct{} // one slot
	done       chan struct{} // closed when the committer has ended

	mu      sync.Mutex
	room    sync.Cond // pending was taken, or stopped
	pending batch
	err     error // poisoned
	stopped bool

	segMu    sync.Mutex
	segments []*segment // oldest first
	current  *segment   // the one being written, nil before the first
	size     int64

	// owned by the committer
	lsn      uint64 // last given
	end      int64  // where the next byte of current goes
	dirty    bool   // current has bytes that no sync has covered
	unnamed  bool   // the directory was not synced since current was created
	rotating bool   // a new segment was begun and not finished
	spare    batch  // for the next swap
}

// batch is what waits for one commit.
type batch struct {
	buf     []byte
	ends    []int    // where each record ends in buf
	records []Record // nil for a lazy one
	eager   bool     // somebody waits
}

func (b *batch) reset() {
	if cap(b.buf) > keepBuffer {
		b.buf = nil
	}
	clear(b.records)
	b.buf, b.ends, b.records, b.eager = b.buf[:0], b.ends[:0], b.records[:0], false
}

// Append queues a record and returns. It blocks while too much waits. After an
// error the record is not called back: ErrClosed, ErrTooLarge, or ErrPoisoned,
// which names its cause.
func (j *Journal) Append(r Record) error {
	j.mu.Lock()
	for len(j.pending.buf) >= maxPending && j.err == nil && !j.stopped {
		j.room.Wait()
	}
	err := j.refuseLocked()
	if err == nil {
		start := len(j.pending.buf)
		j.pending.buf = r.AppendTo(append(j.pending.buf, zeroHeader[:]...))
		if err = j.closeRecordLocked(start, r); err == nil {
			j.pending.eager = true
		}
	}
	j.mu.Unlock()
	if err == nil {
		j.wakeCommitter()
	}
	return err
}

// AppendLazy queues a record whose loss does no harm. It is written with the
// next batch and never blocks.
func (j *Journal) AppendLazy(payload []byte) error {
	j.mu.Lock()
	err := j.refuseLocked()
	full := false
	if err == nil {
		start := len(j.pending.buf)
		j.pending.buf = append(append(j.pending.buf, zeroHeader[:]...), payload...)
		err = j.closeRecordLocked(start, nil)
		full = len(j.pending.buf) >= lazyBatch
	}
	j.mu.Unlock()
	if full {
		j.wakeCommitter()
	}
	return err
}

var zeroHeader [recordHeader]byte // filled by the committer

func (j *Journal) refuseLocked() error {
	if j.err != nil {
		return j.err
	}
	if j.stopped {
		return ErrClosed
	}
	return nil
}

func (j *Journal) closeRecordLocked(start int, r Record) error {
	p := &j.pending
	if len(p.buf)-start > recordHeader+MaxRecord {
		p.buf = p.buf[:start]
		return ErrTooLarge
	}
	p.ends = append(p.ends, len(p.buf))
	p.records = append(p.records, r)
	return nil
}

func (j *Journal) wakeCommitter() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Err is nil while the journal takes records, else ErrPoisoned with its cause.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Stop refuses further records and returns when those accepted have been
// called back. Segments stay readable.
func (j *Journal) Stop() {
	j.mu.Lock()
	first := !j.stopped
	j.stopped = true
	j.room.Broadcast()
	j.mu.Unlock()
	if first {
		j.wakeCommitter()
	}
	<-j.done
}

// Close stops, and closes the segments, which stay on disk. After a Stop,
// ReleaseAll would unlink them.
func (j *Journal) Close() error {
	j.Stop()
	j.segMu.Lock()
	open := j.segments
	j.segments, j.current, j.size = nil, nil, 0
	j.segMu.Unlock()
	var first error
	for _, s := range open {
		if err := s.file.Close(); err != nil && first == nil {
			first = fmt.Errorf("close journal: %w", err)
		}
	}
	return first
}

// ReleaseAll unlinks every segment with records up to upTo, the one that was
// being written too. Only after Stop.
func (j *Journal) ReleaseAll(upTo uint64) error {
	j.Stop()
	j.segMu.Lock()
	j.current = nil
	j.segMu.Unlock()
	return j.Release(upTo)
}
