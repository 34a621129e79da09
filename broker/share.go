package broker

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// sharer is who something that waits is counted for: a member, or all who came by one link and are not admitted. It is the
// beginning of the key, and its lowest bit is set for a link. It stands in the header of each row, so that what was counted
// when a row came is given back when it goes, whoever is gone by then.
type sharer uint64

// invited tells whether it is a link.
func (s sharer) invited() bool { return s&1 == 1 }

// sharerLocked is whom p's messages are counted for. A stranger makes as many keys as his link allows; they share.
func (m *mesh) sharerLocked(p *member) sharer {
	if m.certifiedLocked(p) || p.invite == nil {
		return sharer(binary.BigEndian.Uint64(p.key[:]) &^ 1)
	}
	link := p.invite.Body.(*protocol.Invite).Link
	return sharer(binary.BigEndian.Uint64(link[:]) | 1)
}

// sharerOf is whom the acts of a key are counted for.
func (m *mesh) sharerOf(key crypto.PublicKey) sharer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.members[key]; p != nil {
		return m.sharerLocked(p)
	}
	return m.sharerLocked(&member{key: key})
}

// everyInvited is whom the mail of all invited together is counted for, beside their links.
const everyInvited sharer = 1

// load is what waits, or may.
type load struct {
	messages int
	bytes    int64
}

// loads are one sharer's mail, and beside it his receipts and other control messages: a full one must not stop the other.
type loads [2]load

func lane(side bool) int {
	if side {
		return 1
	}
	return 0
}

// shares is how much waits, by sharer. It costs the same at every depth, and allocates for a sharer that it does not know
// yet. The mutex is a leaf.
type shares struct {
	mu sync.Mutex
	of map[sharer]*loads
}

// reserve counts another message, unless that is more than the most. It returns what waited before.
func (w *shares) reserve(s sharer, side bool, bytes int64, most load) (before load, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.of[s]
	if of == nil {
		if w.of == nil {
			w.of = make(map[sharer]*loads)
		}
		of = new(loads)
		w.of[s] = of
	}
	l := &of[lane(side)]
	before = *l
	if ok = l.messages < most.messages && l.bytes+bytes <= most.bytes; ok {
		l.messages++
		l.bytes += bytes
	}
	return before, ok
}

// release takes a message back that was counted.
func (w *shares) release(s sharer, side bool, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if of := w.of[s]; of != nil {
		of[lane(side)].messages--
		of[lane(side)].bytes -= bytes
	}
}

// tidy forgets sharers of whom nothing waits. Until then they keep their places, so that a steady flow allocates nothing.
func (w *shares) tidy() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s, of := range w.of {
		if *of == (loads{}) {
			delete(w.of, s)
		}
	}
	if len(w.of) == 0 {
		w.of = nil
	}
}

// unbounded is for what waits already.
var unbounded = load{math.MaxInt, math.MaxInt64}

// mayWait is what may wait of s for one person, and, if s is a link, of all links.
func (l *Limits) mayWait(s sharer, side bool) (own, together load) {
	own, together = load{l.ShareMessages, l.ShareBytes}, unbounded
	if s.invited() {
		own, together = load{l.LinkMessages, l.LinkBytes}, load{l.InvitedMessages, l.InvitedBytes}
	}
	if side {
		own.messages *= sideQueueFactor
	}
	if side && s.invited() {
		together.messages *= sideQueueFactor
	}
	return own, together
}

// reserve counts a row that is to wait for a, or says why no more of s may.
func (m *mesh) reserve(a *address, s sharer, side bool, bytes int64) error {
	most, together := m.srv.limits.mayWait(s, side)
	if !s.invited() {
		if l, ok := a.member.waits.reserve(s, side, bytes, most); !ok {
			return errFull("%d of your messages wait for %s already, %s in all: one sender may have %d and %s",
				l.messages, a.key.Short(), inBytes(l.bytes), most.messages, inBytes(most.bytes))
		}
		return nil
	}
	if l, ok := m.links.reserve(s, side, bytes, most); !ok {
		return errFull("%d messages of those who came by your link and are not admitted wait, %s in all: they may have %d and %s",
			l.messages, inBytes(l.bytes), most.messages, inBytes(most.bytes))
	}
	if l, ok := a.member.waits.reserve(everyInvited, side, bytes, together); !ok {
		m.links.release(s, side, bytes)
		return errFull("%d messages of people who are not admitted wait for %s, %s in all: there may be %d and %s",
			l.messages, a.key.Short(), inBytes(l.bytes), together.messages, inBytes(together.bytes))
	}
	return nil
}

// recount counts a row that waits already.
func (m *mesh) recount(a *address, s sharer, side bool, bytes int64) {
	if s.invited() {
		m.links.reserve(s, side, bytes, unbounded)
		s = everyInvited
	}
	a.member.waits.reserve(s, side, bytes, unbounded)
}

// release takes back a row that waits no more, or does not come.
func (m *mesh) release(a *address, s sharer, side bool, bytes int64) {
	if s.invited() {
		m.links.release(s, side, bytes)
		s = everyInvited
	}
	a.member.waits.release(s, side, bytes)
}

func errFull(format string, args ...any) error {
	return protocol.Refuse(protocol.CodeQueueFull, format, args...).RetryAfter(queueFullRetry)
}

// inBytes writes a size as people read it.
func inBytes(n int64) string {
	switch {
	case n >= 1<<20:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	case n >= 1<<10:
		return strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// forgottenKey is a key that counts as nobody's any more. A message may have been accepted for it a moment before, and come
// into its queue after that was emptied.
type forgottenKey struct {
	a      *address
	sweeps int
}

// forgetLocked notes keys that were taken out of addresses.
func (m *mesh) forgetLocked(gone []*address) {
	for _, a := range gone {
		m.forgotten = append(m.forgotten, forgottenKey{a: a})
	}
}

// sweepShares forgets sharers of whom nothing waits, and empties once more what was forgotten: nothing stays counted that
// nobody will ever fetch.
func (m *mesh) sweepShares() {
	var again []*address
	m.mu.Lock()
	for _, p := range m.members {
		p.waits.tidy()
	}
	m.links.tidy()
	m.forgotten = slices.DeleteFunc(m.forgotten, func(f forgottenKey) bool { return f.sweeps > 0 })
	for i := range m.forgotten {
		m.forgotten[i].sweeps++
		if m.addresses[m.forgotten[i].a.key] != nil {
			continue // it is in use again, and has the same queue
		}
		again = append(again, m.forgotten[i].a)
	}
	m.mu.Unlock()
	m.giveUp(again, dropForgotten, "the session ended, and newer ones took its place")
}
