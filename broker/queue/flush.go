package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/store"
)

// flushBytes is about how much one transaction takes: its pages are in memory
// until it commits, and the DB's other writers wait for it.
const flushBytes = 8 << 20

// flushLoop ends when stop is closed. What it flushes by the clock was committed one round before, so that a recipient who is there
// has had that long to acknowledge it.
func (d *Disk) flushLoop(every time.Duration, goal uint64, asOf time.Time) {
	defer close(d.stopped)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-tick.C:
			d.report(func() error { return d.flush(goal, asOf) })
			goal, asOf = d.committed.Load(), d.now()
		case <-d.kick:
			d.report(d.shrink)
		}
	}
}

// report runs a flush and logs when flushing begins to go wrong and when it is well again.
func (d *Disk) report(flush func() error) {
	before := d.lastFlushError()
	switch err := d.locked(flush); {
	case err != nil && before == nil:
		d.log.Error("queue flush failed", "err", err)
	case err == nil && before != nil && d.lastFlushError() == nil:
		d.log.Info("queue flush works again")
	}
}

func (d *Disk) lastFlushError() error {
	if err := d.flushErr.Load(); err != nil {
		return *err
	}
	return nil
}

// Flush moves what is committed and not acknowledged to the DB and drops the
// segments that held it. It happens by itself; a call returns when all that was
// committed before has moved.
func (d *Disk) Flush() error {
	return d.locked(d.flushNow)
}

func (d *Disk) flushNow() error { return d.flush(d.committed.Load(), d.now()) }

// locked runs one flush at a time and remembers how it ended.
func (d *Disk) locked(flush func() error) error {
	d.flushMu.Lock()
	defer d.flushMu.Unlock()
	err := flush()
	if err != nil {
		err = fmt.Errorf("flush queue: %w", err)
		d.flushErr.Store(&err)
	}
	signal(d.progress)
	return err
}

// flush moves everything up to goal, which was the last that was committed at asOf.
func (d *Disk) flush(goal uint64, asOf time.Time) error {
	for {
		f := d.flushed.Load()
		if goal < f {
			return nil
		}
		upTo := goal
		if d.ringBytes.Load() > flushBytes {
			if end := d.journal.OldestEnd(); end > f {
				upTo = min(end, goal)
			}
		}
		if err := d.flushSome(upTo); err != nil {
			return err
		}
		if upTo < goal {
			continue
		}
		if d.committed.Load() == goal {
			d.oldest.Store(0)
		} else {
			d.oldest.Store(max(d.oldest.Load(), asOf.UnixNano()))
		}
		return nil
	}
}

// shrink moves the oldest segments, of which most is acknowledged, until the journal is small again.
func (d *Disk) shrink() error {
	for d.journal.Size() > d.journalLimit/4*journalEased {
		end, f := d.journal.OldestEnd(), d.flushed.Load()
		if goal := min(end, d.committed.Load()); goal > f {
			if err := d.flushSome(goal); err != nil {
				return err
			}
			continue
		}
		// It was still being written when its records were flushed.
		if err := d.journal.Release(f); err != nil || d.journal.OldestEnd() == end {
			return err
		}
	}
	return nil
}

func (d *Disk) flushSome(upTo uint64) error {
	moved, err := d.flushTo(upTo)
	if moved { // else it is not known whether it would go well now
		d.flushErr.Store(nil)
		signal(d.progress)
	}
	return err
}

// take is what a flush does for one queue.
type take struct {
	q       *queue
	rows    []taken
	deletes []taken // rows of bbolt; only LSN and class are set
}

type taken struct {
	class Class
	row   row
}

// flushTo moves the prefix of LSNs up to upTo in one transaction, and reports whether there was anything to move.
func (d *Disk) flushTo(upTo uint64) (moved bool, err error) {
	d.dirtyMu.Lock()
	dirty := d.dirty
	d.dirty = nil
	d.dirtyMu.Unlock()
	slices.SortFunc(dirty, func(a, b *queue) int { return bytes.Compare(a.to[:], b.to[:]) })
	takes := make([]take, len(dirty))
	nothing := upTo == d.flushed.Load()
	for i, q := range dirty {
		takes[i] = q.take(upTo)
		nothing = nothing && len(takes[i].rows)+len(takes[i].deletes) == 0
	}
	if !nothing {
		err = d.db.Update(func(tx *store.Tx) error { return d.writeTakes(tx, takes, upTo) })
	}
	if nothing || err != nil {
		d.dirtyMu.Lock()
		d.dirty = append(d.dirty, dirty...)
		d.dirtyMu.Unlock()
		return false, err
	}
	for i := range takes {
		if takes[i].q.settle(&takes[i], upTo) {
			d.prune(takes[i].q)
		}
	}
	d.flushed.Store(upTo)
	d.flushes.Add(1)
	return true, d.journal.Release(upTo)
}

// take copies what the transaction needs. Rows acknowledged from here on until
// settle will have been written: settle puts them into the delete set.
func (q *queue) take(upTo uint64) take {
	t := take{q: q}
	q.mu.Lock()
	defer q.mu.Unlock()
	for class := range q.lanes {
		live := q.lanes[class].ring.live()
		for i := range live {
			r := &live[i]
			if r.lsn > upTo {
				break
			}
			if r.flushing = !r.acked; r.flushing {
				t.rows = append(t.rows, taken{Class(class), *r})
			}
		}
	}
	for lsn, class := range q.deletes {
		t.deletes = append(t.deletes, taken{class, row{lsn: lsn}})
	}
	return t
}

// settle moves F, counts and ring together after the transaction. It tells
// whether the queue can be forgotten.
func (q *queue) settle(t *take, upTo uint64) (idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range t.deletes {
		delete(q.deletes, r.row.lsn)
	}
	for class := range q.lanes {
		q.settleLaneLocked(Class(class), upTo)
	}
	q.flushed = upTo
	q.moves++
	q.dirty = false
	again := len(q.deletes) > 0
	for i := range q.lanes {
		again = again || len(q.lanes[i].ring.live()) > 0
	}
	if again {
		q.touchLocked()
	}
	return q.idleLocked()
}

func (q *queue) settleLaneLocked(class Class, upTo uint64) {
	l := &q.lanes[class]
	live := l.ring.live()
	n := 0
	for ; n < len(live) && live[n].lsn <= upTo; n++ {
		r := &live[n]
		switch {
		case !r.acked:
			l.disk++
			q.d.ringBytes.Add(-int64(r.size()))
			q.d.memory.Add(-r.forget())
		case r.flushing:
			q.deleteLocked(class, r.lsn)
		}
	}
	if n > 0 {
		l.ring.pop(n)
	}
}

// writeTakes runs in the transaction; it changes nothing in memory.
func (d *Disk) writeTakes(tx *store.Tx, takes []take, upTo uint64) error {
	w := rowWriter{d: d, tx: tx, bodies: make(map[uint64]uint32)}
	for _, t := range takes {
		for _, r := range t.deletes {
			if err := deleteRow(tx, t.q.to, r.class, r.row.lsn); err != nil {
				return err
			}
		}
		for i := range t.rows {
			if err := w.write(t.q.to, t.rows[i].class, &t.rows[i].row); err != nil {
				return err
			}
		}
	}
	for lsn, n := range w.bodies {
		if err := tx.Put(bodyBucket, countKey(lsn), binary.BigEndian.AppendUint32(nil, n)); err != nil {
			return err
		}
	}
	return tx.Put(metaBucket, flushedKey, binary.BigEndian.AppendUint64(nil, upTo))
}

// rowWriter writes the rows of one flush.
type rowWriter struct {
	d      *Disk
	tx     *store.Tx
	slab   []byte            // room for values, which must live as long as the transaction
	bodies map[uint64]uint32 // rows written of each shared body
}

const slabSize = 1 << 20

// room returns an empty slice with room for n bytes.
func (w *rowWriter) room(n int) []byte {
	if len(w.slab) < n {
		w.slab = make([]byte, max(n, slabSize))
	}
	b := w.slab[:0:n]
	w.slab = w.slab[n:]
	return b
}

func (w *rowWriter) write(to Recipient, class Class, r *row) error {
	h := rowHeader{expires: r.expires, header: r.header.len, body: r.body.len, shared: r.shared != nil}
	own := h.size()
	if h.shared {
		own = int(h.header)
		if err := w.share(r); err != nil {
			return err
		}
	}
	v := appendRowHeader(w.room(rowHeaderSize+own), h)
	if r.data != nil {
		v = append(v, r.data...)
	} else {
		v = v[:rowHeaderSize+own]
		parts := v[rowHeaderSize:]
		if err := w.read(parts[:h.header], r.at, r.header); err != nil {
			return err
		}
		if !h.shared {
			if err := w.read(parts[h.header:], r.at, r.body); err != nil {
				return err
			}
		}
	}
	k := makeKey(to, class, r.lsn)
	return w.tx.Put(rowBucket, k[:], v)
}

// share counts a row of a group message and writes the body with the first.
func (w *rowWriter) share(r *row) error {
	w.bodies[r.lsn]++
	if w.bodies[r.lsn] > 1 {
		return nil
	}
	body := r.shared.body
	if body == nil {
		body = w.room(int(r.body.len))[:r.body.len]
		if err := w.read(body, r.at, r.body); err != nil {
			return err
		}
	}
	return w.tx.Put(bodyBucket, bodyKey(r.lsn), body)
}

func (w *rowWriter) read(p []byte, at store.Position, s span) error {
	if len(p) == 0 {
		return nil
	}
	return w.d.journal.ReadAt(p, at, int(s.off))
}

// throttle makes commits wait for the flush when the journal has grown past its
// limit. It is the committer's; it ends when flushing gets on, fails or stops.
func (d *Disk) throttle(size int64) error {
	for size > d.journalLimit && d.flushed.Load() < d.committed.Load() {
		signal(d.kick)
		select {
		case <-d.progress:
		case <-d.stop:
			return nil
		}
		if err := d.lastFlushError(); err != nil {
			return err
		}
		size = d.journal.Size()
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
