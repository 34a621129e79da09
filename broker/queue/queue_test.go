package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

var alice, bob, cathy = Recipient{1}, Recipient{2}, Recipient{3}

func pull(t *testing.T, q *Disk, to Recipient, after uint64, max, maxBytes int) []Row {
	t.Helper()
	rows, err := q.Pull(to, Now, after, max, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func wantDepth(t *testing.T, q *Disk, to Recipient, messages int, bytes int64) {
	t.Helper()
	if n, size := q.Depth(to); n != messages || size != bytes {
		t.Errorf("depth %d messages, %d bytes; want %d, %d", n, size, messages, bytes)
	}
}

func mustFlush(t *testing.T, q *Disk) {
	t.Helper()
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestPullLimits(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	for i := range 6 {
		mustPut(t, q, direct(bob, "head", strings.Repeat("b", 6)))
		if i == 2 {
			mustFlush(t, q) // three on disk, three in the ring
		}
	}
	for _, test := range []struct{ after, max, maxBytes, want int }{
		{0, 100, 0, 6}, {0, 2, 0, 2}, {0, 4, 0, 4}, {2, 100, 0, 4}, {3, 100, 0, 3}, {4, 1, 0, 1}, {6, 9, 0, 0},
		{0, 9, 1, 1}, {0, 9, 9, 1}, {0, 9, 10, 1}, {0, 9, 20, 2}, {0, 9, 35, 3}, {0, 9, 45, 4}, {4, 9, 3, 1}, {0, 0, 0, 0},
	} {
		rows := pull(t, q, bob, uint64(test.after), test.max, test.maxBytes)
		if len(rows) != test.want {
			t.Errorf("after %d, at most %d rows, %d bytes: got %d rows, want %d",
				test.after, test.max, test.maxBytes, len(rows), test.want)
		}
		for i, r := range rows {
			if r.LSN != uint64(test.after+i+1) || string(r.Header) != "head" || string(r.Body) != "bbbbbb" {
				t.Errorf("row %d: %+v", i, r)
			}
		}
	}
	if rows, err := q.Pull(bob, 9, 0, 1, 0); len(rows) != 0 || err != nil {
		t.Errorf("unknown class: %v, %v", rows, err)
	}
	if there, err := q.Ack(bob, 9, 1); there || err != nil {
		t.Errorf("ack of an unknown class: %v, %v", there, err)
	}
}

// TestWalk has rows in the DB, in memory and only in the journal, and of each some that were acknowledged.
func TestWalk(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{MemoryLimit: 40})
	for i := range 12 {
		mustPut(t, q, direct(bob, fmt.Sprintf("head%02d", i+1), strings.Repeat("b", 9)))
		mustPut(t, q, Message{To: []Recipient{alice, cathy}, Headers: [][]byte{[]byte("a"), []byte("c")}, Body: []byte("both")})
		if i == 3 {
			mustFlush(t, q)
		}
	}
	for _, lsn := range []uint64{1, 5, 15, 23} {
		if there, err := q.Ack(bob, Now, lsn); !there || err != nil {
			t.Fatal(there, err)
		}
	}
	if there, err := q.Ack(alice, Now, 2); !there || err != nil {
		t.Fatal(there, err)
	}
	for _, flushed := range []bool{false, true} {
		got, last := map[Recipient]string{}, uint64(0)
		err := q.Walk(func(to Recipient, lsn uint64, header []byte, size int) error {
			if want := len(header) + map[bool]int{true: 9, false: 4}[to == bob]; size != want {
				t.Errorf("row %d is told to have %d bytes, not %d", lsn, size, want)
			}
			if to == bob {
				if lsn <= last {
					t.Errorf("row %d after %d", lsn, last)
				}
				last = lsn
			}
			got[to] += " " + string(header)
			return nil
		})
		want := map[Recipient]string{
			alice: strings.Repeat(" a", 11), cathy: strings.Repeat(" c", 12),
			bob: " head02 head04 head05 head06 head07 head09 head10 head11",
		}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("flushed %v: %v, %v", flushed, got, err)
		}
		if flushed {
			break
		}
		mustFlush(t, q)
	}
	if err := q.Walk(func(Recipient, uint64, []byte, int) error { return storetest.ErrIO }); !errors.Is(err, storetest.ErrIO) {
		t.Errorf("stopped with %v", err)
	}
}

func TestMalformedPanics(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	for _, m := range []Message{
		{}, {To: []Recipient{bob}}, {To: []Recipient{bob}, Headers: [][]byte{nil}, Class: 3},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", m)
				}
			}()
			q.Put(m, nil)
		}()
	}
}

// TestLostWakeup pulls, finds nothing, and only then waits; the message comes
// at any moment in between.
func TestLostWakeup(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	wake := make(chan struct{}, 1)
	cancel := q.Subscribe(bob, func() { signal(wake) })
	var after uint64
	for range 2000 {
		put := make(chan uint64, 1)
		go q.Put(direct(bob, "h", ""), func(lsn uint64, _ error) { put <- lsn })
		for {
			rows := pull(t, q, bob, after, 1, 0)
			if len(rows) == 1 {
				after = rows[0].LSN
				break
			}
			<-wake // a lost one hangs here
		}
		if lsn := <-put; lsn != after {
			t.Fatalf("pulled %d, put %d", after, lsn)
		}
	}
	cancel()
	cancel()
	for len(wake) > 0 {
		<-wake
	}
	mustPut(t, q, direct(bob, "h", ""))
	if err := q.Ready(context.Background()); err != nil || len(wake) != 0 {
		t.Errorf("woken after cancel, or %v", err)
	}
}

func TestWakesEachSubscriberOncePerCommit(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	woken := map[string]int{}
	for _, name := range []string{"first", "second"} {
		defer q.Subscribe(bob, func() { woken[name]++ })()
	}
	hold := make(chan struct{})
	q.Put(direct(alice, "", ""), func(uint64, error) { <-hold })
	for range 10 {
		q.Put(direct(bob, "", ""), nil)
	}
	close(hold)
	if err := q.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	q.journal.Stop()
	if woken["first"] == 0 || woken["first"] > 2 || woken["first"] != woken["second"] {
		t.Errorf("woken %v", woken)
	}
}

func TestDepthCountsWhatIsNotCommitted(t *testing.T) {
	disk := storetest.NewDisk()
	q := openTest(t, disk, Options{})
	began, hold := make(chan struct{}), make(chan struct{})
	q.Put(direct(bob, "head", "body"), func(uint64, error) { close(began); <-hold })
	<-began // the committer is held
	refused := make(chan error, 1)
	q.Put(direct(bob, "head", "body!"), func(_ uint64, err error) { refused <- err })
	wantDepth(t, q, bob, 2, 17)
	if rows := pull(t, q, bob, 0, 9, 0); len(rows) != 1 {
		t.Errorf("%d rows are visible, want the committed one", len(rows))
	}
	disk.FailSyncs(1)
	close(hold)
	if err := <-refused; !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("got %v, want ErrPoisoned", err)
	}
	wantDepth(t, q, bob, 1, 8)
	q.Put(direct(cathy, "head", ""), func(_ uint64, err error) { refused <- err })
	if err := <-refused; !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("got %v, want ErrPoisoned", err)
	}
	wantDepth(t, q, cathy, 0, 0)
	if err := q.Ready(context.Background()); !errors.Is(err, store.ErrPoisoned) {
		t.Errorf("ready: %v, want ErrPoisoned", err)
	}
}

// sharedBodies returns the count of each body in the DB.
func sharedBodies(q *Disk) (counts []uint32, rows int) {
	q.db.View(func(tx *store.Tx) error {
		rows = tx.Count(bodyBucket, nil)
		for k, v := range tx.Scan(bodyBucket, nil, nil) {
			if len(k) == 8 {
				counts = append(counts, uint32(v[3]))
			}
		}
		return nil
	})
	return counts, rows
}

func TestGroupBodyIsKeptOnce(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	body := strings.Repeat("g", 1000)
	group := Message{
		To:      []Recipient{alice, bob, cathy, bob},
		Headers: [][]byte{[]byte("for alice"), []byte("for bob"), []byte("for cathy"), []byte("again")},
		Body:    []byte(body),
	}
	lsn := mustPut(t, q, group)
	if m := q.Stats().Memory; m >= 2000 {
		t.Errorf("%d bytes in memory: the body is not shared", m)
	}
	wantDepth(t, q, bob, 1, 1007) // named twice, kept once
	if there, err := q.Ack(cathy, Now, lsn); !there || err != nil {
		t.Errorf("ack: %v, %v", there, err)
	}
	mustFlush(t, q)
	for _, want := range [][]uint32{{2}, {1}, nil} {
		if got, rows := sharedBodies(q); !slices.Equal(got, want) || rows != 2*len(want) {
			t.Errorf("bodies counted %v in %d rows, want %v", got, rows, want)
		}
		for i, to := range []Recipient{alice, bob} {
			rows := pull(t, q, to, 0, 9, 0)
			if len(rows) == 0 {
				continue
			}
			if string(rows[0].Header) != []string{"for alice", "for bob"}[i] || string(rows[0].Body) != body {
				t.Errorf("row %q", rows[0].Header)
			}
			q.Ack(to, Now, lsn)
			break
		}
		mustFlush(t, q)
	}
}

func TestMemoryLimit(t *testing.T) {
	const limit = 10_000
	q := openTest(t, storetest.NewDisk(), Options{MemoryLimit: limit, SegmentSize: 5000})
	for i := range 100 {
		mustPut(t, q, direct(bob, fmt.Sprintf("%03d", i), strings.Repeat("x", 300)))
	}
	s := q.Stats()
	if s.Memory > limit || s.Memory < limit-303 || s.Messages != 100 || s.Bytes != 30300 {
		t.Errorf("%+v", s)
	}
	for round := range 2 {
		for i, r := range pull(t, q, bob, 0, 1000, 0) {
			if string(r.Header) != fmt.Sprintf("%03d", i) || string(r.Body) != strings.Repeat("x", 300) {
				t.Fatalf("row %d of round %d: %q %q", i, round, r.Header, r.Body)
			}
		}
		mustFlush(t, q)
		if m := q.Stats().Memory; m != 0 {
			t.Errorf("%d bytes in memory after the flush", m)
		}
	}
}

// TestJournalLimit has nothing flush but commits that would grow the journal
// past its limit.
func TestJournalLimit(t *testing.T) {
	const limit, segment = 50_000, 5000
	q := openTest(t, storetest.NewDisk(), Options{JournalLimit: limit, SegmentSize: segment})
	for i := range 500 {
		mustPut(t, q, direct(bob, "h", strings.Repeat("x", 500)))
		if size := q.journal.Size(); size > limit+segment {
			t.Fatalf("%d bytes in the journal after %d messages, the limit is %d", size, i, limit)
		}
	}
	if n := len(pull(t, q, bob, 0, 1000, 0)); n != 500 {
		t.Errorf("pulled %d rows, want 500", n)
	}
}

// TestFlushFails has the DB gone: up to the journal's limit nothing is refused,
// but the queue is not ready.
func TestFlushFails(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "broker.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := Open(db, "/journal", Options{FS: storetest.NewDisk(), FlushEvery: never, JournalLimit: 2000, SegmentSize: 500})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Ready(context.Background()); err != nil {
		t.Fatal(err)
	}
	db.Close()
	mustPut(t, q, direct(bob, "h", "kept"))
	if err := q.Flush(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("flush: %v, want ErrClosed", err)
	}
	if err := q.Ready(context.Background()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("ready: %v, want ErrClosed", err)
	}
	wantPull(t, q, bob, 2)
	refused := make(chan error, 1)
	for {
		q.Put(direct(bob, "h", strings.Repeat("x", 500)), func(_ uint64, err error) { refused <- err })
		if err := <-refused; err != nil {
			if !errors.Is(err, store.ErrClosed) || q.journal.Size() < 2000 {
				t.Errorf("refused at %d bytes: %v", q.journal.Size(), err)
			}
			break
		}
	}
	if err := q.Close(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("close: %v, want ErrClosed", err)
	}
}

// TestFlushFailsOnce cannot read back what it has to flush, and then can.
func TestFlushFailsOnce(t *testing.T) {
	disk := storetest.NewDisk()
	var log strings.Builder
	q := openTest(t, disk, Options{MemoryLimit: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	first, second := mustPut(t, q, direct(bob, "1", "b")), mustPut(t, q, direct(bob, "2", "b"))
	disk.FailReads(true)
	q.report(q.flushNow)
	q.report(q.flushNow)
	q.report(func() error { return q.flush(0, time.Now()) }) // has nothing to move, so it proves nothing
	if err := q.lastFlushError(); !errors.Is(err, storetest.ErrIO) {
		t.Errorf("the last flush that had something to move: %v, want ErrIO", err)
	}
	if _, err := q.Pull(bob, Now, 0, 9, 0); !errors.Is(err, storetest.ErrIO) {
		t.Errorf("pull: %v, want ErrIO", err)
	}
	if there, err := q.Ack(bob, Now, first); !there || err != nil {
		t.Errorf("ack: %v, %v", there, err)
	}
	disk.FailReads(false)
	wantPull(t, q, bob, second)
	q.report(q.flushNow)
	q.report(q.flushNow)
	wantPull(t, q, bob, second)
	if n := len(q.queues()[bob].deletes); n != 0 || q.Stats().Flushes != 1 || q.flushed.Load() != 2 {
		t.Errorf("%d rows to delete, flushed up to %d, %+v", n, q.flushed.Load(), q.Stats())
	}
	q.Ack(bob, Now, second)
	mustFlush(t, q)
	if n := len(q.queues()); n != 0 {
		t.Errorf("%d queues are kept", n)
	}
	if errs, well := strings.Count(log.String(), "level=ERROR"), strings.Count(log.String(), "works again"); errs != 1 || well != 1 {
		t.Errorf("logged %q", log.String())
	}
}

// TestAckSurvives has the next commit carry an acknowledgement to the disk.
func TestAckSurvives(t *testing.T) {
	w := newWorld(t, 1, Options{})
	mustPut(t, w.q, direct(bob, "1", "b"))
	second := mustPut(t, w.q, direct(bob, "2", "b"))
	mustFlush(t, w.q)
	third := mustPut(t, w.q, direct(bob, "3", "b"))
	for _, lsn := range []uint64{second, third} { // one in the DB, one in the ring
		if there, err := w.q.Ack(bob, Now, lsn); !there || err != nil {
			t.Errorf("ack: %v, %v", there, err)
		}
	}
	last := mustPut(t, w.q, direct(bob, "4", "b"))
	w.crash(true)
	wantPull(t, w.q, bob, 1, last)
	wantDepth(t, w.q, bob, 2, 4)
}

func TestFlushesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openTest(t, storetest.NewDisk(), Options{FlushEvery: 500 * time.Millisecond})
		mustPut(t, q, direct(bob, "h", "b"))
		synctest.Wait()
		time.Sleep(100 * time.Millisecond) // of the bubble's clock
		if lag := q.Stats().FlushLag; lag != 100*time.Millisecond {
			t.Errorf("lag %v, want 100ms", lag)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if s := q.Stats(); s.FlushLag != 600*time.Millisecond || s.Flushes != 0 {
			t.Errorf("what is just committed has its time to be acknowledged: %+v", s)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if s := q.Stats(); s.FlushLag != 0 || s.Flushes != 1 || s.Memory != 0 {
			t.Errorf("after a flush: %+v", s)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := q.Stats().Flushes; n != 1 {
			t.Errorf("%d transactions with nothing to do", n-1)
		}
	})
}

func TestStats(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{SegmentSize: 1})
	for range 3 {
		mustPut(t, q, direct(bob, "head", "body"))
	}
	q.Ack(bob, Now, 2)
	s := q.Stats()
	s.FlushLag = 0
	want := Stats{Messages: 2, Bytes: 16, Memory: 16, JournalSegments: 3, JournalBytes: s.JournalBytes, Commits: 3, Accepted: 3}
	if s != want || s.JournalBytes < 3*60 {
		t.Errorf("got %+v, want %+v", s, want)
	}
	mustFlush(t, q)
	if s := q.Stats(); s.JournalSegments != 1 || s.Messages != 2 || s.Flushes != 1 || s.FlushLag != 0 {
		t.Errorf("after a flush: %+v", s)
	}
}

func TestDropAndRecipients(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	for i := range 600 {
		m := direct(bob, "h", "b")
		m.Class = Class(i % classes)
		mustPut(t, q, m)
		if i == 400 {
			mustFlush(t, q)
		}
	}
	mustPut(t, q, direct(alice, "h", "b"))
	defer q.Subscribe(cathy, func() {})() // nothing waits for her
	who := slices.SortedFunc(q.Recipients(), func(a, b Recipient) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(who, []Recipient{alice, bob}) {
		t.Errorf("recipients %v", who)
	}
	var heard int
	if n, err := q.Drop(bob, func(Row) { heard++ }); n != 600 || heard != 600 || err != nil {
		t.Errorf("dropped %d, heard of %d, %v", n, heard, err)
	}
	wantDepth(t, q, bob, 0, 0)
	if who := slices.Collect(q.Recipients()); !slices.Equal(who, []Recipient{alice}) {
		t.Errorf("recipients %v", who)
	}
	mustFlush(t, q)
	if n, err := q.Drop(bob, nil); n != 0 || err != nil || q.queues()[bob] != nil {
		t.Errorf("dropped %d, %v again", n, err)
	}
}

func TestExpireStopsAndGoesOn(t *testing.T) {
	now := time.UnixMilli(1000)
	q := openTest(t, storetest.NewDisk(), Options{Now: func() time.Time { return now }})
	for _, at := range []int64{0, 900, 1000, 1001} {
		m := direct(bob, fmt.Sprint(at), "")
		m.Expires = at
		mustPut(t, q, m)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if n, err := q.Expire(cancelled, nil, nil); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %d, %v", n, err)
	}
	var got []string
	note := func(to Recipient, r Row) { got = append(got, string(r.Header)) }
	if n, err := q.Expire(context.Background(), nil, note); n != 2 || err != nil || !slices.Equal(got, []string{"900", "1000"}) {
		t.Errorf("expired %d %q, %v", n, got, err)
	}
	now = time.UnixMilli(1001)
	if n, err := q.Expire(context.Background(), nil, note); n != 1 || err != nil {
		t.Errorf("expired %d, %v", n, err)
	}
	wantPull(t, q, bob, 1)
}

func TestBackup(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	lsn := mustPut(t, q, direct(bob, "h", "b"))
	var b bytes.Buffer
	if n, err := q.Backup(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	restored, err := Open(db, "/journal", Options{FS: storetest.NewDisk(), FlushEvery: never})
	if err != nil {
		t.Fatal(err)
	}
	defer restored.Close()
	wantPull(t, restored, bob, lsn)
	if next := mustPut(t, restored, direct(bob, "h", "")); next != lsn+1 {
		t.Errorf("lsn %d follows %d", next, lsn)
	}
}

func TestNewerFormat(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "broker.db"), store.Options{Buckets: []string{metaBucket}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.Update(func(tx *store.Tx) error { return tx.Put(metaBucket, versionKey, []byte{version + 1}) })
	if _, err := Open(db, "/journal", Options{FS: storetest.NewDisk()}); !errors.Is(err, store.ErrNewer) {
		t.Errorf("got %v, want ErrNewer", err)
	}
}

func TestIdleRecipientsCostNoGoroutine(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	before := runtime.NumGoroutine()
	var cancels []func()
	for i := range 10_000 {
		cancels = append(cancels, q.Subscribe(Recipient{byte(i), byte(i >> 8), 7}, func() {}))
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines more", n-before)
	}
	for _, cancel := range cancels {
		cancel()
	}
	if n := len(q.queues()); n != 0 {
		t.Errorf("%d queues are kept", n)
	}
}

func TestPutAllocations(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{SegmentSize: 1 << 30})
	m := direct(bob, "header", "body")
	began, hold := make(chan struct{}), make(chan struct{})
	q.Put(m, func(uint64, error) { close(began); <-hold })
	<-began // the committer is held: only Put itself is measured
	done := func(uint64, error) {}
	got := testing.AllocsPerRun(1000, func() { q.Put(m, done) })
	close(hold)
	if got > 6 { // the row's bytes; a record and its target, which a commit gives back
		t.Errorf("%v allocations per Put", got)
	}
}

func TestExpireSpares(t *testing.T) {
	now := time.UnixMilli(1000)
	q := openTest(t, storetest.NewDisk(), Options{Now: func() time.Time { return now }})
	for _, at := range []int64{900, 901} {
		m := direct(bob, fmt.Sprint(at), "")
		m.Expires = at
		mustPut(t, q, m)
	}
	var got []string
	note := func(_ Recipient, r Row) { got = append(got, string(r.Header)) }
	spare := func(r Row) bool { return string(r.Header) == "900" }
	if n, err := q.Expire(t.Context(), spare, note); n != 1 || err != nil || !slices.Equal(got, []string{"901"}) {
		t.Errorf("expired %d %q, %v", n, got, err)
	}
	if n, err := q.Expire(t.Context(), nil, note); n != 1 || err != nil { // it is looked at again
		t.Errorf("expired %d %q, %v", n, got, err)
	}
}
