package delivery

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/wallclock"
)

const (
	pushableFor  = 40 * time.Second // a rung that asked within this can push: a long poll stays open 25 s
	ProvedWithin = 20 * time.Second // an idle session shows what was pushed within a second; after this the next rung gets it, marked
	QuietFor     = 5 * time.Minute  // a turn that the user interrupted tells nobody: without a sign of life for this long the session counts as idle
	SettleFor    = 4 * time.Second  // at the start of a session, the tool server may still be on its way: its ways are better
	forgetRungs  = 24 * time.Hour   // of a session that nobody asked for
)

// ladder is the order in which ways of delivery are used. The pull stands beside it: it always works.
var ladder = []string{protocol.RungSocket, protocol.RungChannel, protocol.RungRewake, protocol.RungHook}

func rank(rung string) int {
	if i := slices.Index(ladder, rung); i >= 0 {
		return i
	}
	return len(ladder)
}

// Rungs knows which ways of delivery work for which session. It is in memory only: after a restart every rung asks again.
type Rungs struct {
	mu       sync.Mutex
	sessions map[string]*rungRow // by session id
}

type rungRow struct {
	asked  map[string]time.Time // by rung: when it last asked for mail, or is asking
	broken map[string]bool      // pushed, and the session never showed it
	first  time.Time            // when the session was first heard of
	came   bool                 // the tool server has asked
	event  time.Time            // last one that a hook told
	stop   bool                 // that was the end of a turn
	waiter int64                // newest background hook, by its start
	newer  chan struct{}        // closed when a newer one comes
}

func newRungTable() *Rungs { return &Rungs{sessions: make(map[string]*rungRow)} }

func (t *Rungs) rowLocked(session string) *rungRow {
	r := t.sessions[session]
	if r == nil {
		r = &rungRow{asked: make(map[string]time.Time), broken: make(map[string]bool), newer: make(chan struct{})}
		t.sessions[session] = r
	}
	return r
}

// Asking notes that a rung waits for mail of a session; the end of the call is another note.
func (t *Rungs) Asking(session, rung string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rowLocked(session)
	r.asked[rung] = now
	r.came = r.came || rung == protocol.RungSocket || rung == protocol.RungChannel
	if r.first.IsZero() {
		r.first = now
	}
	for id, r := range t.sessions {
		last := r.event
		for _, at := range r.asked {
			last = latest(last, at)
		}
		if now.Sub(last) > forgetRungs {
			delete(t.sessions, id)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// failed notes that a rung gave mail back: the next one need not wait for its silence.
func (t *Rungs) failed(session, rung string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rowLocked(session).asked, rung)
}

// proved notes that what a rung pushed was shown.
func (t *Rungs) proved(session, rung string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.rowLocked(session).broken, rung)
}

// unproved notes that what a rung pushed was not.
func (t *Rungs) unproved(session, rung string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rowLocked(session).broken[rung] = true
}

// Heard notes that a hook told something: hooks are installed, and the session lives.
func (t *Rungs) Heard(session, event string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rowLocked(session)
	r.event = now
	if event != protocol.HookNotification { // of which one comes a minute after the end of a turn
		r.stop = event == protocol.HookStop
	}
	if r.first.IsZero() {
		r.first = now
	}
}

// stopped says whether the last that was heard of a session is that its turn ended.
func (t *Rungs) stopped(session string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.sessions[session]
	return r != nil && r.stop
}

// Forget drops what is known of a session that ended.
func (t *Rungs) Forget(session string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.sessions[session]; r != nil {
		close(r.newer)
		delete(t.sessions, session)
	}
}

// Wait enters a background hook. Replaced is closed when a newer one comes; false: there is a newer one already.
func (t *Rungs) Wait(session string, waiter int64) (replaced <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rowLocked(session)
	switch {
	case waiter < r.waiter:
		return nil, false
	case waiter > r.waiter:
		close(r.newer)
		r.waiter, r.newer = waiter, make(chan struct{})
	}
	return r.newer, true
}

// SessionRungs is what is known of one session at one moment.
type SessionRungs struct {
	works  []string // ways that push by themselves, best first
	young  bool     // the session began just now, and its tool server has not asked yet
	broken map[string]bool
	event  time.Time
}

func (t *Rungs) Of(session string, now time.Time) SessionRungs {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.sessions[session]
	if r == nil {
		return SessionRungs{}
	}
	out := SessionRungs{broken: maps.Clone(r.broken), event: r.event}
	out.young = !r.came && !r.first.IsZero() && wallclock.Recent(r.first, now, SettleFor)
	for _, rung := range ladder {
		if at, asked := r.asked[rung]; asked && rung != protocol.RungHook && !r.broken[rung] && wallclock.Recent(at, now, pushableFor+1) {
			out.works = append(out.works, rung)
		}
	}
	return out
}

func (r SessionRungs) Pushable() bool { return len(r.works) > 0 }

// better says whether a way above this one works, or may work in a moment.
func (r SessionRungs) better(rung string) bool {
	if rung == protocol.RungRewake && r.young {
		return true
	}
	if r.broken[rung] {
		return len(r.works) > 0 // any: it showed nothing, and is a last resort
	}
	return len(r.works) > 0 && rank(r.works[0]) < rank(rung)
}

// hooked says whether hooks are installed, so that showing can be proved.
func (r SessionRungs) hooked() bool { return !r.event.IsZero() }

// status is the status that gates mail: working ends with the turn, or when the turn was interrupted without a word.
func (r SessionRungs) status(told string, now time.Time) string {
	if told == protocol.StatusWorking && r.hooked() && !wallclock.Recent(r.event, now, QuietFor+1) {
		return protocol.StatusIdle
	}
	return told
}
