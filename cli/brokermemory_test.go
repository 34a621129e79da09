package cli

import (
	"testing"
	"time"
)

// What may be allocated until the next collection is the same for brokers of any size, within reason.
func TestCollectorPercent(t *testing.T) {
	for _, c := range []struct {
		live, room uint64
		want       int
	}{
		{0, collectorRoom, collectorMost}, {1 << 20, collectorRoom, collectorMost}, {12 << 20, collectorRoom, 200}, {24 << 20, collectorRoom, 100},
		{48 << 20, collectorRoom, 50}, {50 << 20, collectorRoom, 45}, {96 << 20, collectorRoom, 25}, {10 << 30, collectorRoom, collectorLeast},
		{4 << 20, collectorQuiet, 100}, {40 << 20, collectorQuiet, 10}, {10 << 30, collectorQuiet, 5},
	} {
		if got := collectorPercent(c.live, c.room); got != c.want {
			t.Errorf("%d MiB live, %d MiB of room: %d %%, want %d", c.live>>20, c.room>>20, got, c.want)
		}
	}
}

// Who is busy has all the room, who is not has little, and between the two a collection comes every four seconds.
func TestCollectorRoom(t *testing.T) {
	for _, c := range []struct {
		allocs uint64
		in     time.Duration
		want   uint64
	}{
		{24 << 20, 100 * time.Millisecond, collectorRoom}, {24 << 20, 4 * time.Second, collectorRoom}, {24 << 20, 8 * time.Second, 12 << 20},
		{4 << 20, time.Minute, collectorQuiet}, {4 << 20, 0, collectorRoom}, {1 << 40, 24 * 365 * time.Hour, collectorQuiet},
	} {
		if got := collectorRoomFor(c.allocs, c.in); got != c.want {
			t.Errorf("%d MiB in %v: %d MiB of room, want %d", c.allocs>>20, c.in, got>>20, c.want>>20)
		}
	}
}
