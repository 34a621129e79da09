// Package wallclock tells the time of day and detects when the clock is set.
//
// Times that are signed, stored or sent come from Clock.Now. Waits inside this process (backoff,
// leases, deadlines) use the monotonic part of time.Now, which setting the clock does not affect. So
// a clock jump can only invalidate what was signed or stored. A Clock says when to sign again and
// when nothing may expire.
package wallclock

import (
	"context"
	"sync"
	"time"
)

const (
	// Jump is the least change of the time of day that counts as set. A machine that slept for so long counts, too.
	Jump = 30 * time.Second
	// Settle is how long a time of day that nobody confirmed is left alone until it counts as right.
	Settle = time.Hour

	watchEvery = time.Second
)

// Clock is the time of day. Its methods may be called from any goroutine.
type Clock struct {
	wall func() time.Time // fixed at construction

	mu        sync.Mutex
	last      time.Time     // the time of day when it was last looked at
	at        time.Time     // that moment, by time.Now
	jumps     int           // since the start
	since     time.Time     // of the last jump or the start, by time.Now
	confirmed bool          // since then
	changed   chan struct{} // closed and replaced at every jump
}

// New makes a Clock of a source of the time of day, such as time.Now.
func New(wall func() time.Time) *Clock {
	now := time.Now()
	return &Clock{wall: wall, last: wall().Round(0), at: now, since: now, changed: make(chan struct{})}
}

// Now is the time of day. Differences to other times are those of the clock on the wall.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookLocked()
}

func (c *Clock) lookLocked() time.Time {
	wall, now := c.wall().Round(0), time.Now() // Round drops the reading that time.Now measures by
	passed, shown := now.Sub(c.at), wall.Sub(c.last)
	c.last, c.at = wall, now
	if (shown - passed).Abs() > Jump {
		c.jumps++
		c.since, c.confirmed = now, false
		close(c.changed)
		c.changed = make(chan struct{})
	}
	return wall
}

// Watch looks at the clock until ctx ends, so that those who wait for something else hear of a jump.
func (c *Clock) Watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.Now()
		}
	}
}

// Jumps counts the jumps, and returns a channel that is closed at the next one.
func (c *Clock) Jumps() (n int, next <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookLocked()
	return c.jumps, c.changed
}

// Confirm notes that somebody else's clock agreed, unless there was a jump since the n-th.
func (c *Clock) Confirm(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jumps == n {
		c.confirmed = true
	}
}

// Settled reports whether the time of day is fit to throw things away by. A machine that starts with a wrong clock, or is set
// wrongly for a while, must not forget what it keeps for days.
func (c *Clock) Settled() bool { return c.Steady(Settle) }

// Steady reports whether somebody confirmed the time of day, or it was left alone for d.
func (c *Clock) Steady(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookLocked()
	return c.confirmed || c.at.Sub(c.since) >= d
}

// Recent reports whether at lies less than d before now. What lies beyond now was noted by a clock that was set back since.
func Recent(at, now time.Time, d time.Duration) bool {
	age := now.Sub(at)
	return age > -Jump && age < d
}
