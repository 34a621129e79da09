package queue

import (
	"encoding/binary"
	"runtime"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

func lsns(rows []Row) (out []uint64) {
	for _, r := range rows {
		out = append(out, r.LSN)
	}
	return out
}

func wantPull(t *testing.T, q *Disk, to Recipient, want ...uint64) {
	t.Helper()
	rows, err := q.Pull(to, Now, 0, len(want)+1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := lsns(rows); !slices.Equal(got, want) {
		t.Errorf("pull: got %v, want %v", got, want)
	}
}

// TestPullBeforeSettle stops a flush where the rows are in the DB and still in
// memory, and reads, acknowledges and flushes on.
func TestPullBeforeSettle(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{})
	alice, bob := Recipient{1}, Recipient{2}
	first := mustPut(t, q, direct(bob, "1", ""))
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	second := mustPut(t, q, direct(bob, "2", ""))
	third := mustPut(t, q, direct(bob, "3", ""))
	last := mustPut(t, q, direct(alice, "1", ""))

	flushed := make(chan error, 1)
	held := q.find(alice) // alice is settled first, and bob has to wait
	held.mu.Unlock()
	err := q.db.Update(func(*store.Tx) error {
		go func() { flushed <- q.Flush() }()
		taken := func() bool {
			b := q.find(bob)
			defer b.mu.Unlock()
			return b.lanes[Now].ring.live()[0].flushing
		}
		for !taken() {
			runtime.Gosched()
		}
		held.mu.Lock()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for onDisk := uint64(0); onDisk < last; runtime.Gosched() {
		q.db.View(func(tx *store.Tx) error {
			onDisk = binary.BigEndian.Uint64(tx.Peek(metaBucket, flushedKey))
			return nil
		})
	}
	wantPull(t, q, bob, first, second, third)
	if there, err := q.Ack(bob, Now, second); !there || err != nil {
		t.Errorf("ack: %v, %v", there, err)
	}
	wantPull(t, q, bob, first, third)
	held.mu.Unlock()
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	wantPull(t, q, bob, first, third)
	if n := len(q.queues()[bob].deletes); n != 1 {
		t.Errorf("%d rows to delete, want 1", n)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	wantPull(t, q, bob, first, third)
	wantPull(t, q, alice, last)
}

func (d *Disk) queues() map[Recipient]*queue {
	m := map[Recipient]*queue{}
	for q := range d.all() {
		m[q.to] = q
	}
	return m
}
