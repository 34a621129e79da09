package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
)

// TestSettledHeader keeps what a sender is told, and nothing else.
func TestSettledHeader(t *testing.T) {
	row := messageRow{
		class: queue.Low, noReceipt: true, created: 7, sender: crypto.PublicKey{1}, member: crypto.PublicKey{2},
		messageID: []byte("message"), clientID: []byte("client"), target: []byte("target"), name: []byte("alice"), wrap: []byte("wrap"),
	}
	got, err := parseMessageRow(settledHeader(row.appendTo(nil)))
	if err != nil {
		t.Fatal(err)
	}
	row.target, row.name, row.wrap = []byte{}, []byte{}, []byte{}
	if fmt.Sprint(got) != fmt.Sprint(row) {
		t.Errorf("%+v, want %+v", got, row)
	}
	if id := messageIDOf(settledHeader(row.appendTo(nil))); string(id) != "message" {
		t.Errorf("id %q", id)
	}
}

// TestWindowInAnyOrder acknowledges in any order, against a plain list.
func TestWindowInAnyOrder(t *testing.T) {
	random, f := rand.New(rand.NewPCG(1, 2)), new(feed)
	var w window
	var plain []uint64
	for lsn := uint64(1); lsn < 3000; lsn++ {
		if len(plain) < 40 && random.IntN(5) > 1 {
			w.add(&pushed{feed: f, row: fmt.Appendf(nil, "r%d", lsn), lsn: lsn, size: 10})
			plain = append(plain, lsn)
		} else if len(plain) > 0 {
			i := min(random.IntN(len(plain)), random.IntN(len(plain)))
			p, ok := w.take(fmt.Appendf(nil, "r%d", plain[i]))
			if !ok || p.lsn != plain[i] {
				t.Fatalf("took %+v, %v, want %d", p, ok, plain[i])
			}
			if _, again := w.take(fmt.Appendf(nil, "r%d", plain[i])); again || holds(&w, plain[i]) {
				t.Fatalf("%d is there after it was taken", plain[i])
			}
			plain = slices.Delete(plain, i, i+1)
		}
		if w.count != len(plain) || w.bytes != 10*len(plain) || len(plain) > 0 && !holds(&w, plain[len(plain)-1]) {
			t.Fatalf("%d rows, %d bytes, want %d rows", w.count, w.bytes, len(plain))
		}
	}
}

// holds reports whether the row of that number is not acknowledged.
func holds(w *window, lsn uint64) bool {
	return slices.ContainsFunc(w.rows[w.head:], func(p pushed) bool { return p.feed != nil && p.lsn == lsn })
}
