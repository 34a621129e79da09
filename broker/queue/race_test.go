package queue

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/store/storetest"
)

// whileFlushing calls f again and again during one flush, and once after it.
func whileFlushing(t *testing.T, q *Disk, f func()) {
	t.Helper()
	flushed := make(chan error, 1)
	go func() { flushed <- q.Flush() }()
	for {
		select {
		case err := <-flushed:
			if err != nil {
				t.Fatal(err)
			}
			f()
			return
		default:
			f()
		}
	}
}

// TestPullWhileFlushing has rows leave the journal, and acknowledged rows leave
// the DB, under the eyes of a long Pull.
func TestPullWhileFlushing(t *testing.T) {
	q := openTest(t, storetest.NewDisk(), Options{MemoryLimit: 1, SegmentSize: 500})
	bob := Recipient{2}
	var want []uint64
	for range 8 {
		done := make(chan uint64, 200)
		for range cap(done) {
			q.Put(direct(bob, "header", "body"), func(lsn uint64, _ error) { done <- lsn })
		}
		for range cap(done) {
			want = append(want, <-done)
		}
		whileFlushing(t, q, func() { wantPull(t, q, bob, want...) })
		for range 10 {
			i := len(want) * 2 / 3
			if there, err := q.Ack(bob, Now, want[i]); err != nil || !there {
				t.Fatalf("ack: %v, %v", there, err)
			}
			want = slices.Delete(want, i, i+1)
		}
		whileFlushing(t, q, func() { wantPull(t, q, bob, want...) })
		if t.Failed() {
			return
		}
	}
}
