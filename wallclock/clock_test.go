package wallclock

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wall is a clock that somebody sets.
type wall struct{ off atomic.Int64 }

func (w *wall) now() time.Time        { return time.Now().Add(time.Duration(w.off.Load())) }
func (w *wall) set(off time.Duration) { w.off.Store(int64(off)) }

func TestJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(wall)
		c := New(w.now)
		want := func(n int) {
			t.Helper()
			if got, _ := c.Jumps(); got != n {
				t.Errorf("%d jumps, want %d", got, n)
			}
		}
		time.Sleep(100 * time.Hour)
		want(0)
		w.set(Jump)
		want(0) // as NTP does it
		_, next := c.Jumps()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.Watch(ctx)
		for n, off := range []time.Duration{72 * time.Hour, -time.Hour, 0, Jump + 2} {
			w.set(off)
			began := time.Now()
			<-next
			if took := time.Since(began); took > watchEvery {
				t.Errorf("heard of it after %s", took)
			}
			want(n + 1)
			_, next = c.Jumps()
		}
	})
}

// What was noted before a jump is measured by the clock on the wall, which a monotonic reading would hide.
func TestNowIsOfTheWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(wall)
		c := New(w.now)
		before := c.Now()
		w.set(-72 * time.Hour)
		if d := c.Now().Sub(before); d != -72*time.Hour {
			t.Errorf("%s passed", d)
		}
	})
}

func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(wall)
		c := New(w.now)
		want := func(settled bool) {
			t.Helper()
			if c.Settled() != settled {
				t.Errorf("settled is %v", !settled)
			}
		}
		want(false)
		time.Sleep(Settle - 1)
		want(false)
		time.Sleep(1)
		want(true)
		w.set(time.Hour)
		want(false)
		n, _ := c.Jumps()
		c.Confirm(n)
		want(true)
		w.set(0)
		want(false)
		c.Confirm(n) // a word of before the jump
		want(false)
		if !c.Steady(0) || c.Steady(time.Second) {
			t.Error("steady is wrong")
		}
	})
}

func TestRecent(t *testing.T) {
	now := time.Unix(1e9, 0)
	for age, want := range map[time.Duration]bool{0: true, time.Minute - 1: true, time.Minute: false, -Jump + 1: true, -Jump: false, -72 * time.Hour: false} {
		if Recent(now.Add(-age), now, time.Minute) != want {
			t.Errorf("%s ago: recent is %v", age, !want)
		}
	}
}
