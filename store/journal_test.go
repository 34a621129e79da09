package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

const dir = "/journal"

// note is a record that tells a channel its fate.
type note struct {
	text []byte
	done chan fate
}

type fate struct {
	lsn uint64
	at  store.Position
	err error
}

func (n *note) AppendTo(b []byte) []byte { return append(b, n.text...) }
func (n *note) Committed(lsn uint64, at store.Position, err error) {
	n.done <- fate{lsn, at, err}
}

// log is what a replay has found.
type log struct {
	lsns  []uint64
	texts []string
}

func open(d *storetest.Disk, o store.JournalOptions) (*store.Journal, log, error) {
	var l log
	o.FS = d
	o.Replay = func(lsn uint64, _ store.Position, payload []byte) error {
		l.lsns = append(l.lsns, lsn)
		l.texts = append(l.texts, string(payload))
		return nil
	}
	j, err := store.OpenJournal(dir, o)
	return j, l, err
}

func mustOpen(t *testing.T, d *storetest.Disk, o store.JournalOptions) (*store.Journal, log) {
	t.Helper()
	j, l, err := open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, l
}

func start(t *testing.T, j *store.Journal, text string) chan fate {
	t.Helper()
	n := &note{[]byte(text), make(chan fate, 1)}
	if err := j.Append(n); err != nil {
		n.done <- fate{err: err}
	}
	return n.done
}

func add(t *testing.T, j *store.Journal, text string) fate { t.Helper(); return <-start(t, j, text) }

func mustAdd(t *testing.T, j *store.Journal, text string) fate {
	t.Helper()
	f := add(t, j, text)
	if f.err != nil {
		t.Fatal(f.err)
	}
	return f
}

func wantLog(t *testing.T, l log, texts ...string) {
	t.Helper()
	if !slices.Equal(l.texts, texts) {
		t.Errorf("replayed %q, want %q", l.texts, texts)
	}
	for i := 1; i < len(l.lsns); i++ {
		if l.lsns[i] != l.lsns[i-1]+1 {
			t.Errorf("replayed LSNs %d", l.lsns)
		}
	}
}

func segments(t *testing.T, d *storetest.Disk) []string {
	t.Helper()
	names, err := d.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for i := range names {
		names[i] = dir + "/" + names[i]
	}
	return names
}

func TestJournalReplay(t *testing.T) {
	d := storetest.NewDisk()
	j, l := mustOpen(t, d, store.JournalOptions{SegmentSize: 60})
	wantLog(t, l)
	var want []string
	for i := range 9 {
		text := fmt.Sprint("record ", i)
		want = append(want, text)
		f := mustAdd(t, j, text)
		if f.lsn != uint64(i+1) {
			t.Errorf("lsn %d, want %d", f.lsn, i+1)
		}
		got := make([]byte, 2)
		if err := j.ReadAt(got, f.at, 6); err != nil || string(got) != text[6:] {
			t.Errorf("read %q, %v", got, err)
		}
	}
	if n := len(segments(t, d)); n != j.Segments() || n < 3 {
		t.Errorf("%d files, %d segments", n, j.Segments())
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	if err := add(t, j, "late").err; !errors.Is(err, store.ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := j.AppendLazy(nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("lazy append after close: %v", err)
	}
	j, l = mustOpen(t, d, store.JournalOptions{})
	wantLog(t, l, want...)
	if f := mustAdd(t, j, "next"); f.lsn != 10 {
		t.Errorf("lsn %d after reopening, want 10", f.lsn)
	}
}

func TestJournalRelease(t *testing.T) {
	d := storetest.NewDisk()
	j, _ := mustOpen(t, d, store.JournalOptions{SegmentSize: 1})
	first := mustAdd(t, j, "one")
	for _, text := range []string{"two", "three"} {
		mustAdd(t, j, text)
	}
	size := j.Size()
	if end := j.OldestEnd(); end != 1 {
		t.Errorf("the oldest segment ends at %d, want 1", end)
	}
	if err := j.Release(1); err != nil || j.Segments() != 2 || len(segments(t, d)) != 2 || j.Size() >= size {
		t.Errorf("released: %v, %d segments, %d files, %d bytes", err, j.Segments(), len(segments(t, d)), j.Size())
	}
	if err := j.ReadAt(make([]byte, 1), first.at, 0); !errors.Is(err, store.ErrGone) {
		t.Errorf("read of a released record: %v, want ErrGone", err)
	}
	if err := j.Release(99); err != nil || j.Segments() != 1 {
		t.Errorf("the current segment is not to be released: %v, %d left", err, j.Segments())
	}
	if err := j.ReleaseAll(3); err != nil || len(segments(t, d)) != 0 || j.Size() != 0 {
		t.Errorf("release all: %v, %d files", err, len(segments(t, d)))
	}
	j.Close()
	j, l := mustOpen(t, d, store.JournalOptions{Floor: 3})
	wantLog(t, l)
	if f := mustAdd(t, j, "four"); f.lsn != 4 {
		t.Errorf("lsn %d above floor 3", f.lsn)
	}
}

// TestJournalCommitsTogether holds the committer and wants one fsync for all
// that has come meanwhile, called back in order.
func TestJournalCommitsTogether(t *testing.T) {
	d := storetest.NewDisk()
	held, hold := make(chan struct{}), make(chan struct{})
	var once sync.Once
	batches := 0
	j, _ := mustOpen(t, d, store.JournalOptions{
		Throttle:   func(int64) error { once.Do(func() { close(held); <-hold }); return nil },
		AfterBatch: func(uint64, error) { batches++ },
	})
	first := start(t, j, "first")
	<-held
	order := make(chan fate, 100)
	for range cap(order) {
		j.AppendLazy([]byte("lazy"))
		if err := j.Append(&note{[]byte("eager"), order}); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	<-first
	for i := range cap(order) {
		if f := <-order; f.err != nil || f.lsn != uint64(3+2*i) {
			t.Fatalf("record %d: %+v", i, f)
		}
	}
	j.Stop()
	if d.Syncs() != 2 || batches != 2 {
		t.Errorf("%d fsyncs in %d batches, want 2 in 2", d.Syncs(), batches)
	}
}

func TestJournalRefusesAndGoesOn(t *testing.T) {
	d := storetest.NewDisk()
	refuse := errors.New("not now")
	var throttle error
	j, _ := mustOpen(t, d, store.JournalOptions{Throttle: func(int64) error { return throttle }})
	mustAdd(t, j, "one")
	throttle = refuse
	if err := add(t, j, "no").err; err != refuse {
		t.Errorf("throttled: %v", err)
	}
	throttle = nil
	if err := add(t, j, string(make([]byte, store.MaxRecord+1))).err; !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	d.SetCapacity(d.Used() + 20)
	if err := add(t, j, "a record that does not fit").err; !errors.Is(err, store.ErrFull) {
		t.Errorf("disk full: %v, want ErrFull", err)
	}
	d.SetCapacity(-1)
	if f := mustAdd(t, j, "two"); f.lsn != 2 {
		t.Errorf("lsn %d, want 2", f.lsn)
	}
	_, l := mustOpen(t, d.Crash(rand.New(rand.NewPCG(1, 1))), store.JournalOptions{})
	wantLog(t, l, "one", "two")
}

// TestJournalFullAtRotation runs out of room for a new segment, then has room
// for a small record, and loses power before that is synced.
func TestJournalFullAtRotation(t *testing.T) {
	for room := range int64(40) {
		d := storetest.NewDisk()
		j, _ := mustOpen(t, d, store.JournalOptions{SegmentSize: 80})
		mustAdd(t, j, "one")
		d.SetCapacity(d.Used() + room)
		if err := add(t, j, "a record for the next segment, and a long one").err; !errors.Is(err, store.ErrFull) {
			t.Fatalf("disk full: %v, want ErrFull", err)
		}
		d.SetCapacity(-1)
		d.FailSyncs(1)
		add(t, j, "two")
		for seed := range uint64(20) {
			j, l, err := open(d.Crash(rand.New(rand.NewPCG(seed, 1))), store.JournalOptions{})
			if err != nil {
				t.Fatalf("room %d, seed %d: %v", room, seed, err)
			}
			j.Close()
			if len(l.texts) != 1 {
				wantLog(t, l, "one", "two")
			}
		}
	}
}

func TestJournalPoisoned(t *testing.T) {
	for name, breakIt := range map[string]func(*storetest.Disk){
		"fsync": func(d *storetest.Disk) { d.FailSyncs(1) },
		"write": func(d *storetest.Disk) { d.FailWrites(true) },
	} {
		t.Run(name, func(t *testing.T) {
			d := storetest.NewDisk()
			j, _ := mustOpen(t, d, store.JournalOptions{})
			mustAdd(t, j, "one")
			breakIt(d)
			if err := add(t, j, "two").err; !errors.Is(err, store.ErrPoisoned) || !errors.Is(err, storetest.ErrIO) {
				t.Errorf("got %v, want ErrPoisoned for ErrIO", err)
			}
			d.FailWrites(false)
			syncs := d.Syncs()
			if err := add(t, j, "three").err; !errors.Is(err, store.ErrPoisoned) {
				t.Errorf("afterwards: %v, want ErrPoisoned", err)
			}
			if err := j.Err(); !errors.Is(err, store.ErrPoisoned) {
				t.Errorf("state: %v", err)
			}
			j.Close()
			if d.Syncs() != syncs {
				t.Error("the file was synced again")
			}
			// The next process finds the record in the page cache, if at all, and
			// must not tell anybody before it is on disk.
			d = d.Kill()
			j, l := mustOpen(t, d, store.JournalOptions{})
			mustAdd(t, j, "four")
			_, after := mustOpen(t, d.Crash(rand.New(rand.NewPCG(1, 1))), store.JournalOptions{})
			wantLog(t, after, append(l.texts, "four")...)
		})
	}
}

// TestJournalLazyIsWritten has lazy records fill a segment that no one syncs,
// and a crash after the next one was begun.
func TestJournalLazyIsWritten(t *testing.T) {
	for seed := range uint64(20) {
		d := storetest.NewDisk()
		batches := make(chan uint64, 10)
		j, _ := mustOpen(t, d, store.JournalOptions{
			SegmentSize: 1000, AfterBatch: func(last uint64, _ error) { batches <- last },
		})
		big := bytes.Repeat([]byte("x"), 64<<10) // as much as is left waiting
		j.AppendLazy(big)
		if last := <-batches; last != 1 || d.Syncs() != 0 {
			t.Fatalf("lazy batch up to %d, %d fsyncs", last, d.Syncs())
		}
		d.SetCapacity(d.Used() + 50)
		start(t, j, string(big)) // begins a segment, finds no room for the rest
		<-batches
		_, l, err := open(d.Crash(rand.New(rand.NewPCG(seed, 1))), store.JournalOptions{})
		if err != nil || len(l.texts) > 1 {
			t.Fatalf("seed %d: %d records, %v", seed, len(l.texts), err)
		}
	}
}

// TestJournalDamage flips each byte of each segment, and cuts each off.
func TestJournalDamage(t *testing.T) {
	d := storetest.NewDisk()
	j, _ := mustOpen(t, d, store.JournalOptions{SegmentSize: 70})
	var want []string
	for i := range 6 {
		want = append(want, fmt.Sprint("record ", i))
		mustAdd(t, j, want[i])
	}
	j.Close()
	files := segments(t, d)
	for n, path := range files {
		whole, _ := d.ReadFile(path)
		last := n == len(files)-1
		check := func(what string, data []byte) {
			t.Helper()
			d.WriteFile(path, data)
			j, l, err := open(d, store.JournalOptions{})
			switch {
			case err == nil:
				j.Close()
				if !last || len(l.texts) >= len(want) || !slices.Equal(l.texts, want[:len(l.texts)]) {
					t.Errorf("%s of %s: replayed %q", what, path, l.texts)
				}
			case last || !errors.Is(err, store.ErrCorrupt):
				t.Errorf("%s of %s: %v", what, path, err)
			}
			d.WriteFile(path, whole)
		}
		for i := range whole {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 0x40
			check(fmt.Sprint("flip at ", i), flipped)
			check(fmt.Sprint("cut at ", i), whole[:i])
		}
	}
	_, l := mustOpen(t, d, store.JournalOptions{})
	wantLog(t, l, want...)
	d.Remove(files[1])
	if _, _, err := open(d, store.JournalOptions{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a missing segment: %v, want ErrCorrupt", err)
	}
	d.Remove(files[0])
	if _, _, err := open(d, store.JournalOptions{}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("the first segments missing: %v, want ErrCorrupt", err)
	}
}

// FuzzJournalTail puts anything behind good records: those must come back, and
// whatever follows must be records in sequence that replay the same again.
func FuzzJournalTail(f *testing.F) {
	d := storetest.NewDisk()
	j, err := store.OpenJournal(dir, store.JournalOptions{FS: d})
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		n := &note{[]byte(text), make(chan fate, 1)}
		j.Append(n)
		<-n.done
	}
	j.Close()
	const path = dir + "/0000000000000001.journal"
	good, err := d.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Add([]byte("garbage"))
	f.Add(make([]byte, 4096))
	f.Add(good)
	f.Add(good[16:])
	f.Add(good[16:33])
	f.Fuzz(func(t *testing.T, tail []byte) {
		d := storetest.NewDisk()
		d.WriteFile(path, slices.Concat(good, tail))
		j, l := mustOpen(t, d, store.JournalOptions{})
		if len(l.texts) < 2 || l.texts[0] != "one" || l.texts[1] != "two" {
			t.Fatalf("replayed %q", l.texts)
		}
		next := mustAdd(t, j, "next")
		if next.lsn != l.lsns[len(l.lsns)-1]+1 {
			t.Errorf("lsn %d follows %d", next.lsn, l.lsns)
		}
		j.Close()
		_, again := mustOpen(t, d, store.JournalOptions{})
		wantLog(t, again, append(l.texts, "next")...)
	})
}

// TestJournalOnFiles runs on the real file system.
func TestJournalOnFiles(t *testing.T) {
	path := t.TempDir() + "/a/journal"
	var got []string
	open := func() *store.Journal {
		got = nil
		j, err := store.OpenJournal(path, store.JournalOptions{
			SegmentSize: 100,
			Replay: func(_ uint64, _ store.Position, payload []byte) error {
				got = append(got, string(payload))
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open()
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint("record ", i))
		mustAdd(t, j, want[i])
	}
	j.Close()
	j = open()
	if !slices.Equal(got, want) {
		t.Errorf("replayed %q", got)
	}
	if err := errors.Join(j.ReleaseAll(20), j.Close()); err != nil {
		t.Error(err)
	}
	open().Close()
	if len(got) != 0 {
		t.Errorf("released, but replayed %q", got)
	}
}
