package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func openDB(t *testing.T, path string, o Options) *DB {
	t.Helper()
	db, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func newDB(t *testing.T, buckets ...string) *DB {
	return openDB(t, filepath.Join(t.TempDir(), "test.db"), Options{Buckets: buckets})
}

func put(tx *Tx, key, value string) error { return tx.Put("b", []byte(key), []byte(value)) }

func get(t *testing.T, db *DB, key string) (value []byte) {
	t.Helper()
	if err := db.View(func(tx *Tx) error { value = tx.Get("b", []byte(key)); return nil }); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestOpenModeAndLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openDB(t, path, Options{})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Open(path, Options{Timeout: time.Millisecond}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	openDB(t, path, Options{}).Close()
	if _, err := Open(filepath.Join(t.TempDir(), "no", "test.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open in a missing directory: %v", err)
	}
}

func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	var ran []int
	step := func(n int, err error) func(*bolt.Tx) error {
		return func(*bolt.Tx) error { ran = append(ran, n); return err }
	}
	open := func(steps ...func(*bolt.Tx) error) error {
		ran = nil
		db, err := Open(path, Options{Migrations: steps})
		if err == nil {
			err = db.Close()
		}
		return err
	}
	for _, test := range []struct {
		steps []func(*bolt.Tx) error
		want  []int
		err   error
	}{
		{nil, nil, nil},
		{[]func(*bolt.Tx) error{step(1, nil), step(2, nil)}, []int{1, 2}, nil},
		{[]func(*bolt.Tx) error{step(1, nil), step(2, nil), step(3, nil), step(4, os.ErrInvalid)}, []int{3, 4}, os.ErrInvalid},
		{[]func(*bolt.Tx) error{step(1, nil), step(2, nil), step(3, nil), step(4, nil)}, []int{4}, nil},
		{[]func(*bolt.Tx) error{step(1, nil)}, nil, ErrNewer},
	} {
		before, _ := os.ReadFile(path)
		err := open(test.steps...)
		if !errors.Is(err, test.err) || !slices.Equal(ran, test.want) {
			t.Errorf("ran %v, %v; want %v, %v", ran, err, test.want, test.err)
		}
		if after, _ := os.ReadFile(path); test.err == ErrNewer && !bytes.Equal(before, after) {
			t.Error("a newer file was changed")
		}
	}
}

func TestReadOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openDB(t, path, Options{Buckets: []string{"b"}})
	if err := db.Update(func(tx *Tx) error { return put(tx, "k", "v") }); err != nil {
		t.Fatal(err)
	}
	if err := db.View(func(tx *Tx) error { return put(tx, "k", "w") }); !errors.Is(err, ErrReadOnly) {
		t.Errorf("put in a view: %v, want ErrReadOnly", err)
	}
	db.Close()
	db = openDB(t, path, Options{ReadOnly: true})
	if got := get(t, db, "k"); string(got) != "v" {
		t.Errorf("got %q", got)
	}
	if err := db.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrReadOnly) {
		t.Errorf("update: %v, want ErrReadOnly", err)
	}
	db.Close()
	step := []func(*bolt.Tx) error{func(*bolt.Tx) error { return nil }}
	if _, err := Open(path, Options{ReadOnly: true, Migrations: step}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("open an older schema: %v, want ErrReadOnly", err)
	}
}

func TestErrorsForCallers(t *testing.T) {
	for _, test := range []struct{ err, want error }{
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, ErrFull},
		{fmt.Errorf("grow: %w", syscall.ENOSPC), ErrFull},
		{&os.PathError{Op: "open", Err: syscall.EROFS}, ErrReadOnly},
	} {
		got := mapError(test.err)
		if !errors.Is(got, test.want) || !errors.Is(got, test.err) {
			t.Errorf("%v: got %v, want also %v", test.err, got, test.want)
		}
		if again := mapError(got); again != got {
			t.Errorf("mapped twice: %v", again)
		}
	}
	db := newDB(t, "b")
	db.Close()
	nothing := func(*Tx) error { return nil }
	for name, err := range map[string]error{
		"view": db.View(nothing), "update": db.Update(nothing), "commit": db.Commit(nothing),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after close: %v, want ErrClosed", name, err)
		}
	}
}

func TestTransactions(t *testing.T) {
	db := newDB(t, "b")
	err := db.Update(func(tx *Tx) error {
		return errors.Join(put(tx, "k", "v"), put(tx, "empty", ""))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *Tx) error { put(tx, "k", "w"); return os.ErrInvalid }); err != os.ErrInvalid {
		t.Errorf("got %v, want the closure's error", err)
	}
	if v := get(t, db, "k"); string(v) != "v" {
		t.Errorf("after rollback: %q", v)
	}
	if v := get(t, db, "empty"); v == nil || len(v) != 0 {
		t.Errorf("empty value: %v", v)
	}
	if v := get(t, db, "none"); v != nil {
		t.Errorf("missing key: %v", v)
	}
	var numbers []uint64
	for range 2 {
		db.Update(func(tx *Tx) error {
			n, err := tx.NextSequence("b")
			numbers = append(numbers, n)
			return errors.Join(err, tx.Delete("b", []byte("k")), tx.Delete("b", []byte("k")))
		})
	}
	if !slices.Equal(numbers, []uint64{1, 2}) || get(t, db, "k") != nil {
		t.Errorf("numbers %v, deleted row %q", numbers, get(t, db, "k"))
	}
	for _, skip := range []struct{ to, next uint64 }{{10, 11}, {3, 12}} {
		var n uint64
		err := db.Update(func(tx *Tx) (err error) {
			if err = tx.SkipSequence("b", skip.to); err == nil {
				n, err = tx.NextSequence("b")
			}
			return err
		})
		if err != nil || n != skip.next {
			t.Errorf("behind %d comes %d, %v, want %d", skip.to, n, err, skip.next)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a missing bucket did not panic")
		}
	}()
	db.View(func(tx *Tx) error { tx.Get("nosuch", nil); return nil })
}

func TestScan(t *testing.T) {
	db := newDB(t, "b")
	keys := []string{"a", "b", "b\x00", "b1", "b2", "b\xff", "b\xff\xff", "c", "\xff", "\xff\xff", "\xffz"}
	slices.Sort(keys)
	db.Update(func(tx *Tx) error {
		for _, k := range keys {
			if err := put(tx, k, "v"+k); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	})
	edges := append([]string{"none", "", "0", "a\x00", "b0", "b11", "d", "\xff\xff\xff"}, keys...)
	for _, prefix := range []string{"", "a", "b", "b\xff", "\xff", "\xff\xff", "d"} {
		for _, edge := range edges {
			from := []byte(edge)
			if edge == "none" {
				from = nil
			}
			var want, wantBack []string
			for _, k := range keys {
				if bytes.HasPrefix([]byte(k), []byte(prefix)) {
					if from == nil || k > edge {
						want = append(want, k)
					}
					if from == nil || k < edge {
						wantBack = append(wantBack, k)
					}
				}
			}
			slices.Reverse(wantBack)
			db.View(func(tx *Tx) error {
				var got, back []string
				for k, v := range tx.Scan("b", []byte(prefix), from) {
					if string(v) != "v"+string(k) {
						t.Errorf("value %q of %q", v, k)
					}
					got = append(got, string(k))
				}
				for k, v := range tx.ScanBack("b", []byte(prefix), from) {
					if string(v) != "v"+string(k) {
						t.Errorf("value %q of %q", v, k)
					}
					back = append(back, string(k))
				}
				if !slices.Equal(got, want) || !slices.Equal(back, wantBack) {
					t.Errorf("prefix %q edge %q: %q and back %q; want %q and %q", prefix, edge, got, back, want, wantBack)
				}
				return nil
			})
		}
	}
	db.Update(func(tx *Tx) error {
		first, value := tx.First("b", []byte("b"))
		last, _ := tx.Last("b", []byte("b"))
		if string(first) != "b" || string(value) != "vb" || string(last) != "b\xff\xff" {
			t.Errorf("first %q=%q, last %q", first, value, last)
		}
		if k, _ := tx.First("b", []byte("d")); k != nil {
			t.Errorf("first of nothing %q", k)
		}
		if n, err := tx.DeletePrefix("b", []byte("b")); n != 6 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		if n := tx.Count("b", nil); n != len(keys)-6 {
			t.Errorf("%d rows are left", n)
		}
		return nil
	})
}

// commitAll has the commits wait for the writer together, so that they form
// one batch, and returns their errors.
func commitAll(db *DB, n int, fn func(i int, tx *Tx) error) []error {
	var all sync.WaitGroup
	held, hold := make(chan struct{}), make(chan struct{})
	all.Go(func() { db.Commit(func(*Tx) error { close(held); <-hold; return nil }) })
	<-held
	errs := make([]error, n)
	for i := range n {
		all.Go(func() { errs[i] = db.Commit(func(tx *Tx) error { return fn(i, tx) }) })
	}
	for waiting := 0; waiting < n; runtime.Gosched() {
		db.mu.Lock()
		waiting = len(db.waiting)
		db.mu.Unlock()
	}
	close(hold)
	all.Wait()
	return errs
}

func TestCommitTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openDB(t, path, Options{Buckets: []string{"b"}})
	transactions := map[int]bool{}
	errs := commitAll(db, 50, func(i int, tx *Tx) error {
		transactions[tx.tx.ID()] = true
		return put(tx, fmt.Sprint(i), "v")
	})
	if err := errors.Join(errs...); err != nil || len(transactions) != 1 {
		t.Errorf("%d transactions, %v; want 1", len(transactions), err)
	}
	db.Close()
	db = openDB(t, path, Options{})
	db.View(func(tx *Tx) error {
		if n := tx.Count("b", nil); n != 50 {
			t.Errorf("%d rows, want 50", n)
		}
		return nil
	})
}

func TestCommitAfterFailure(t *testing.T) {
	db := newDB(t, "b")
	var runs [40]int
	errs := commitAll(db, len(runs), func(i int, tx *Tx) error {
		runs[i]++
		if i == 7 {
			return os.ErrInvalid
		}
		return put(tx, fmt.Sprint(i), "v")
	})
	for i, err := range errs {
		bad := i == 7
		if errors.Is(err, os.ErrInvalid) != bad || (get(t, db, fmt.Sprint(i)) == nil) != bad {
			t.Errorf("commit %d: %v, row %q", i, err, get(t, db, fmt.Sprint(i)))
		}
		if runs[i] > 2 {
			t.Errorf("commit %d ran %d times", i, runs[i])
		}
	}
	if err := db.Check(); err != nil {
		t.Error(err)
	}
}

func TestBackupAndCompact(t *testing.T) {
	db := newDB(t, "b")
	db.Update(func(tx *Tx) error { return put(tx, "big", string(make([]byte, 1<<20))) })
	db.Update(func(tx *Tx) error { return errors.Join(tx.Delete("b", []byte("big")), put(tx, "k", "v")) })
	copied := filepath.Join(t.TempDir(), "copy.db")
	var b bytes.Buffer
	if n, err := db.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("backup of %d bytes: %v", n, err)
	}
	if err := os.WriteFile(copied, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(t.TempDir(), "small.db")
	if err := db.Compact(small); err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(small); !errors.Is(err, os.ErrExist) {
		t.Errorf("compact over a file: %v", err)
	}
	for _, path := range []string{copied, small} {
		c := openDB(t, path, Options{})
		if got := get(t, c, "k"); string(got) != "v" {
			t.Errorf("%s: got %q", path, got)
		}
	}
	size, err := db.Size()
	info, _ := os.Stat(small)
	if err != nil || size <= info.Size() {
		t.Errorf("size %d, compacted %d, %v", size, info.Size(), err)
	}
}

func BenchmarkCommit(b *testing.B) {
	db, err := Open(filepath.Join(b.TempDir(), "test.db"), Options{Buckets: []string{"b"}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			err := db.Commit(func(tx *Tx) error {
				n, _ := tx.NextSequence("b")
				return put(tx, fmt.Sprintf("%016x", n), "value")
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
