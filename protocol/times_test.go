package protocol

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

// Whatever number becomes a time has a form in JSON, and reads back as a time of the same kind.
func TestTimesHaveJSON(t *testing.T) {
	for _, n := range []int64{math.MinInt64, -1, 0, 1, 1_700_000_000_123, MaxSeconds, MaxMillis, MaxMillis + 1, 1<<53 - 1, math.MaxInt64} {
		for _, at := range []time.Time{TimeOf(n), TimeOfSeconds(n)} {
			b, err := json.Marshal(at)
			if err != nil {
				t.Errorf("%d: %v", n, err)
				continue
			}
			var back time.Time
			if err := json.Unmarshal(b, &back); err != nil || !back.Equal(at) {
				t.Errorf("%d: %s reads as %s, %v", n, b, back, err)
			}
		}
	}
	if got := TimeOf(1_700_000_000_123); !got.Equal(time.UnixMilli(1_700_000_000_123)) || got.Location() != time.UTC {
		t.Errorf("got %s", got)
	}
	if got := TimeOf(MaxMillis).Format(time.RFC3339Nano); got != "9999-12-31T23:59:59.999Z" {
		t.Errorf("the last time is %s", got)
	}
	if got := TimeOfSeconds(MaxSeconds).Format(time.RFC3339); got != "9999-12-31T23:59:59Z" {
		t.Errorf("the last second is %s", got)
	}
}

func TestMillis(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		math.MinInt64: 0, -1: 0, 0: 0, 1: time.Millisecond, 59_999: 59_999 * time.Millisecond, 60_000: time.Minute, 60_001: time.Minute,
		math.MaxInt64/1_000_000 + 1: time.Minute, math.MaxInt64: time.Minute,
	} {
		if got := Millis(ms, time.Minute); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}
