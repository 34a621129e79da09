package cli

import "testing"

// What may be allocated until the next collection is the same for brokers of any size, within reason.
func TestCollectorPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, collectorMost}, {1 << 20, collectorMost}, {12 << 20, 200}, {24 << 20, 100}, {48 << 20, 50}, {50 << 20, 45}, {96 << 20, 25}, {10 << 30, collectorLeast},
	} {
		if got := collectorPercent(c.live); got != c.want {
			t.Errorf("%d MiB live: %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}
