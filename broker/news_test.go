package broker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

func TestChanges(t *testing.T) {
	a, b, c := crypto.PublicKey{1}, crypto.PublicKey{2}, crypto.PublicKey{3}
	var all changes
	for _, k := range []crypto.PublicKey{a, b, a, c, b} {
		all.touch(k)
	}
	for _, test := range []struct {
		seen uint64
		want []crypto.PublicKey
	}{{0, []crypto.PublicKey{b, c, a}}, {3, []crypto.PublicKey{b, c}}, {4, []crypto.PublicKey{b}}, {5, nil}, {9, nil}} {
		if got := all.since(test.seen); !slices.Equal(got, test.want) {
			t.Errorf("since %d: %v, want %v", test.seen, got, test.want)
		}
	}
	all.forget(4)
	if got := all.since(0); !slices.Equal(got, []crypto.PublicKey{b}) || len(all.byKey) != 1 {
		t.Errorf("after forget(4): %v, %d by key", got, len(all.byKey))
	}
}

// Sessions come and go for hours: what everybody was told of is forgotten.
func TestNewsAreForgotten(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.alice.connect()
		for _, label := range []string{"one", "two", "three"} {
			w.bob.session(label).leave()
		}
		synctest.Wait()
		m := w.srv.mesh(w.mesh)
		length := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.presenceNews.order.Len() + m.peopleNews.order.Len()
		}
		if n := length(); n < 4 {
			t.Fatalf("%d keys changed, want three sessions and bob", n)
		}
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		if n := length(); n != 0 {
			t.Errorf("%d changes are kept that everybody was told of", n)
		}
	})
}
