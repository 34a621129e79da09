package queue

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

// never is a flush interval for tests that flush by hand.
const never = 1000 * time.Hour

// model is what the queues must hold: slices, and three kinds of doubt that
// only a crash brings.
type model struct {
	rows map[Recipient][]modelRow
}

type modelRow struct {
	lsn     uint64
	class   Class
	header  string
	body    string
	expires int64
	acked   bool // a crash may bring it back
	failed  bool // a commit that was refused; a crash may bring it to light
}

// world is a Disk on a simulated disk beside its model.
type world struct {
	t    *testing.T
	r    *rand.Rand
	o    Options
	disk *storetest.Disk
	db   *store.DB
	path string
	q    *Disk
	m    model
	now  atomic.Int64 // Unix ms
	who  []Recipient
	seen uint64 // highest LSN told
}

func newWorld(t *testing.T, seed uint64, o Options) *world {
	w := &world{
		t: t, r: rand.New(rand.NewPCG(seed, 1)), o: o,
		disk: storetest.NewDisk(), path: filepath.Join(t.TempDir(), "broker.db"),
		m: model{rows: map[Recipient][]modelRow{}},
	}
	w.now.Store(1_000_000)
	for i := range 5 {
		w.who = append(w.who, Recipient{byte(i), byte(seed)})
	}
	w.o.Now = func() time.Time { return time.UnixMilli(w.now.Load()) }
	w.open()
	t.Cleanup(func() {
		w.q.Close()
		w.db.Close()
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.db, err = store.Open(w.path, store.Options{}); err != nil {
		w.t.Fatal(err)
	}
	w.o.FS = w.disk
	w.o.FlushEvery = never
	if w.q, err = Open(w.db, "/journal", w.o); err != nil {
		w.t.Fatal(err)
	}
}

// crash cuts the power, or only kills the process, and starts again.
func (w *world) crash(power bool) {
	w.t.Helper()
	old := w.disk
	if power {
		w.disk = old.Crash(w.r)
	} else {
		w.disk = old.Kill()
	}
	w.q.abandon()
	w.db.Close()
	w.open()
	w.settleDoubts()
}

// abandon ends the goroutines of a Disk without a last flush.
func (d *Disk) abandon() {
	d.closeOnce.Do(func() {
		d.journal.Stop()
		close(d.stop)
		<-d.stopped
		d.closed.Store(true)
		d.journal.Close()
	})
}

// settleDoubts takes what the queue says about rows that may or may not be
// there; everything else must be as the model has it.
func (w *world) settleDoubts() {
	w.t.Helper()
	for _, to := range w.who {
		have := map[string]uint64{}
		for class := range Class(classes) {
			for _, r := range w.drain(to, class) {
				have[string(r.Header)] = r.LSN
			}
		}
		w.m.rows[to] = slices.DeleteFunc(w.m.rows[to], func(m modelRow) bool {
			_, there := have[m.header]
			return (m.acked || m.failed) && !there
		})
		for i := range w.m.rows[to] {
			m := &w.m.rows[to][i]
			if m.failed {
				m.lsn = have[m.header]
			}
			m.acked, m.failed = false, false
		}
		slices.SortStableFunc(w.m.rows[to], func(a, b modelRow) int {
			return int(int64(a.lsn) - int64(b.lsn))
		})
	}
}

// drain pulls a class in pages of random size.
func (w *world) drain(to Recipient, class Class) (all []Row) {
	w.t.Helper()
	var after uint64
	for {
		rows, err := w.q.Pull(to, class, after, 1+w.r.IntN(6), w.r.IntN(400))
		if err != nil {
			w.t.Fatal(err)
		}
		if len(rows) == 0 {
			return all
		}
		all = append(all, rows...)
		after = rows[len(rows)-1].LSN
	}
}

func (w *world) put() {
	w.t.Helper()
	m := Message{Class: Class(w.r.IntN(classes)), Body: make([]byte, w.r.IntN(3)*w.r.IntN(100))}
	for i := range m.Body {
		m.Body[i] = byte(w.r.Uint32())
	}
	if w.r.IntN(4) == 0 {
		m.Expires = w.now.Load() + int64(w.r.IntN(1000))
	}
	n := 1
	if w.r.IntN(3) == 0 {
		n = 2 + w.r.IntN(len(w.who)-1)
	}
	for _, i := range w.r.Perm(len(w.who))[:n] {
		header := binary.BigEndian.AppendUint64([]byte("id"), w.r.Uint64())
		m.To = append(m.To, w.who[i])
		m.Headers = append(m.Headers, append(header, make([]byte, w.r.IntN(40))...))
	}
	type answer struct {
		lsn uint64
		err error
	}
	c := make(chan answer, 1)
	body, headers := string(m.Body), make([]string, len(m.Headers))
	for i, h := range m.Headers {
		headers[i] = string(h)
	}
	w.q.Put(m, func(lsn uint64, err error) { c <- answer{lsn, err} })
	for _, b := range append(m.Headers, m.Body) {
		for i := range b {
			b[i] = 0xee // Put has copied it
		}
	}
	a := <-c
	if a.err == nil && a.lsn <= w.seen {
		w.t.Fatalf("lsn %d after %d", a.lsn, w.seen)
	}
	w.seen = max(w.seen, a.lsn)
	for i, to := range m.To {
		w.m.rows[to] = append(w.m.rows[to], modelRow{
			lsn: a.lsn, class: m.Class, header: headers[i], body: body,
			expires: m.Expires, failed: a.err != nil,
		})
	}
}

func (w *world) ack() {
	w.t.Helper()
	to := w.who[w.r.IntN(len(w.who))]
	rows := w.m.rows[to]
	if len(rows) == 0 {
		return
	}
	i := w.r.IntN(min(len(rows), 1+w.r.IntN(len(rows)))) // rather old ones
	m := &rows[i]
	if m.failed {
		return
	}
	there, err := w.q.Ack(to, m.class, m.lsn)
	if err != nil {
		w.t.Fatal(err)
	}
	if there == m.acked {
		w.t.Fatalf("ack of %d: there %v, acked before %v", m.lsn, there, m.acked)
	}
	m.acked = true
}

func (w *world) expire() {
	w.t.Helper()
	now := w.now.Add(int64(w.r.IntN(400)))
	got := map[string]bool{}
	if _, err := w.q.Expire(context.Background(), nil, func(_ Recipient, r Row) { got[string(r.Header)] = true }); err != nil {
		w.t.Fatal(err)
	}
	for _, to := range w.who {
		for i := range w.m.rows[to] {
			m := &w.m.rows[to][i]
			due := !m.acked && !m.failed && m.expires > 0 && m.expires <= now
			if due != got[m.header] {
				w.t.Fatalf("row %d expires at %d, now %d: expired %v", m.lsn, m.expires, now, got[m.header])
			}
			m.acked = m.acked || due
		}
	}
}

// check compares every queue with the model.
func (w *world) check() {
	w.t.Helper()
	var messages, bytes int64
	for _, to := range w.who {
		var n int
		var size int64
		for class := range Class(classes) {
			var want []modelRow
			for _, m := range w.m.rows[to] {
				if m.class == class && !m.acked && !m.failed {
					want = append(want, m)
					size += int64(len(m.header) + len(m.body))
				}
			}
			n += len(want)
			w.compare(to, class, w.drain(to, class), want)
		}
		if gotN, gotSize := w.q.Depth(to); gotN != n || gotSize != size {
			w.t.Fatalf("depth %d messages, %d bytes; want %d, %d", gotN, gotSize, n, size)
		}
		messages += int64(n)
		bytes += size
	}
	if s := w.q.Stats(); s.Messages != messages || s.Bytes != bytes || s.Memory < 0 {
		w.t.Fatalf("stats %+v; want %d messages, %d bytes", s, messages, bytes)
	}
}

func (w *world) compare(to Recipient, class Class, got []Row, want []modelRow) {
	w.t.Helper()
	for i := range min(len(got), len(want)) {
		g, m := got[i], want[i]
		if g.LSN != m.lsn || string(g.Header) != m.header || string(g.Body) != m.body || g.Expires != m.expires ||
			g.Class != class || g.Size != len(m.header)+len(m.body) {
			w.t.Fatalf("%x class %d row %d: got %d %q; want %d %q", to[:2], class, i, g.LSN, g.Header, m.lsn, m.header)
		}
	}
	if len(got) != len(want) {
		w.t.Fatalf("%x class %d: got %d rows; want %d", to[:2], class, len(got), len(want))
	}
}

// checkEmptied acknowledges all, flushes, and wants nothing left anywhere.
func (w *world) checkEmptied() {
	w.t.Helper()
	for _, to := range w.who {
		if _, err := w.q.Drop(to, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.q.Flush(); err != nil {
		w.t.Fatal(err)
	}
	if s := w.q.Stats(); s.Messages != 0 || s.Bytes != 0 || s.Memory != 0 || w.q.ringBytes.Load() != 0 {
		w.t.Fatalf("emptied, but %+v, %d bytes in rings", s, w.q.ringBytes.Load())
	}
	for i := range w.q.shards {
		if n := len(w.q.shards[i].queues); n != 0 {
			w.t.Fatalf("emptied, but %d queues are kept", n)
		}
	}
	w.db.View(func(tx *store.Tx) error {
		if n := tx.Count(rowBucket, nil) + tx.Count(bodyBucket, nil); n != 0 {
			w.t.Fatalf("emptied, but %d rows are in the file", n)
		}
		return nil
	})
	if err := w.db.Check(); err != nil {
		w.t.Fatal(err)
	}
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := Options{SegmentSize: 2000, MemoryLimit: []int64{1, 2000, 1 << 20}[seed%3]}
			w := newWorld(t, seed, o)
			for range 1000 {
				switch n := w.r.IntN(100); {
				case n < 45:
					w.put()
				case n < 85:
					w.ack()
				case n < 90:
					if err := w.q.Flush(); err != nil {
						t.Fatal(err)
					}
				case n < 93:
					w.expire()
				case n < 94:
					w.crash(true)
				case n < 95:
					w.crash(false)
				case n < 97:
					w.duringFlush()
				case n < 98:
					w.fault()
				default:
					w.check()
				}
			}
			w.check()
			w.checkEmptied()
		})
	}
}

// duringFlush puts and acknowledges while a flush has taken its rows and waits
// for the DB.
func (w *world) duringFlush() {
	w.t.Helper()
	flushed := make(chan error, 1)
	err := w.db.Update(func(*store.Tx) error {
		go func() { flushed <- w.q.Flush() }()
		for len(flushed) == 0 && w.q.dirtyQueues() > 0 {
			runtime.Gosched()
		}
		for range 10 {
			w.ack()
			if w.r.IntN(3) == 0 {
				w.put()
			}
		}
		w.check()
		return nil
	})
	if err := errors.Join(err, <-flushed); err != nil {
		w.t.Fatal(err)
	}
	w.check()
}

func (d *Disk) dirtyQueues() int {
	d.dirtyMu.Lock()
	defer d.dirtyMu.Unlock()
	return len(d.dirty)
}

// fault has a commit go wrong: no room, or an fsync that is refused.
func (w *world) fault() {
	w.t.Helper()
	if w.r.IntN(2) == 0 {
		w.disk.SetCapacity(w.disk.Used() + int64(w.r.IntN(100)))
		for range 3 {
			w.put()
		}
		w.disk.SetCapacity(-1)
		if err := w.q.Ready(context.Background()); err != nil {
			w.t.Fatalf("room again, not ready: %v", err)
		}
		return
	}
	w.disk.FailSyncs(1)
	w.put()
	w.put()
	if err := w.q.Ready(context.Background()); !errors.Is(err, store.ErrPoisoned) {
		w.t.Fatalf("ready after a refused fsync: %v", err)
	}
	w.check()
	if w.r.IntN(2) == 0 {
		if err := w.q.Flush(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.crash(false)
	if w.r.IntN(2) == 0 {
		w.crash(true)
	}
}

func TestReopenAfterClose(t *testing.T) {
	w := newWorld(t, 1, Options{SegmentSize: 2000})
	for range 200 {
		w.put()
		w.ack()
	}
	if err := w.q.Close(); err != nil {
		t.Fatal(err)
	}
	if names, _ := w.disk.ReadDir("/journal"); len(names) != 0 {
		t.Errorf("segments after a clean close: %v", names)
	}
	var backup bytes.Buffer
	if _, err := w.db.WriteTo(&backup); err != nil || backup.Len() == 0 {
		t.Fatalf("backup of %d bytes: %v", backup.Len(), err)
	}
	w.db.Close()
	w.open()
	for _, to := range w.who {
		w.m.rows[to] = slices.DeleteFunc(w.m.rows[to], func(m modelRow) bool { return m.acked })
	}
	w.check()
	w.put() // its LSN is above all before
	w.check()
}
