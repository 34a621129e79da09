package protocol

import "time"

// The bounds of the numbers and times that others send. They are checked where a number is decoded, so
// that whatever holds a decoded number can format it, encode it as JSON, and reckon with it.
const (
	// MaxSeconds and MaxMillis are the end of the year 9999 as Unix time. RFC 3339, and with it JSON,
	// has no later times.
	MaxSeconds = 253402300799
	MaxMillis  = MaxSeconds*1000 + 999

	// MessageSpan is how far the time of a message may lie from the reader's clock, either way.
	MessageSpan = 30 * 24 * time.Hour

	// MaxRetryAfter is the longest wait that a broker may ask for. A wait without bound would outlive
	// the broker's trouble, and the broker.
	MaxRetryAfter = time.Hour
)

// TimeOf returns the time of a number of Unix milliseconds, in UTC. A number outside of the years 1970
// to 9999 gives the nearer end of them, so the result always has an RFC 3339 form.
func TimeOf(ms int64) time.Time { return time.UnixMilli(min(max(ms, 0), MaxMillis)).UTC() }

// TimeOfSeconds is TimeOf for Unix seconds.
func TimeOfSeconds(s int64) time.Time { return time.Unix(min(max(s, 0), MaxSeconds), 0).UTC() }

// Millis returns the duration of a number of milliseconds, at least 0 and at most most.
func Millis(ms int64, most time.Duration) time.Duration {
	if ms >= most.Milliseconds() {
		return most
	}
	return time.Duration(max(ms, 0)) * time.Millisecond
}
