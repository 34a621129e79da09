package daemon

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Two sessions that answer each other without end cost money and help nobody; a peer that writes faster than anybody reads buries the rest.
const (
	loopMost  = 10               // automatic exchanges between a session and a peer within loopTime; then mail waits for the user
	loopTime  = 10 * time.Minute //
	loopHolds = time.Hour        // unless the user lets it go on before
	floodMost = 30               // messages of one sender brought in front of a session by themselves within floodTime; the rest wait
	floodTime = time.Minute
)

// gift is a message that was brought in front of a session by itself.
type gift struct {
	from, member crypto.PublicKey
	name         string
}

// guard bounds what comes by itself. It is in memory only: a restart of the daemon begins anew.
type guard struct {
	mu    sync.Mutex
	pairs map[guardPair]*guardRow
}

type guardPair struct{ session, member crypto.PublicKey }

type guardRow struct {
	name      string
	given     []time.Time // within floodTime
	exchanges []time.Time // within loopTime
	answered  bool        // the session wrote to the peer since it was last given something
	held      time.Time   // when the loop was noticed
}

func newGuard() *guard { return &guard{pairs: make(map[guardPair]*guardRow)} }

// sent notes that a session wrote to somebody: what comes back from there is part of an exchange.
func (g *guard) sent(session, member crypto.PublicKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.pairs[guardPair{session, member}]; r != nil {
		r.answered = true
	}
}

// gave notes what a rung was given for a session.
func (g *guard) gave(session crypto.PublicKey, gifts []gift, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gift := range gifts {
		pair := guardPair{session, gift.member}
		r := g.pairs[pair]
		if r == nil {
			r = new(guardRow)
			g.pairs[pair] = r
		}
		r.name = gift.name
		r.given = append(within(r.given, now, floodTime), now)
		if r.answered {
			r.answered = false
			r.exchanges = append(within(r.exchanges, now, loopTime), now)
		}
		if len(r.exchanges) >= loopMost && !r.loops(now) {
			r.held = now
		}
	}
	for pair, r := range g.pairs { // bounded by who wrote within the longest of the times
		if now.Sub(r.given[len(r.given)-1]) >= loopHolds {
			delete(g.pairs, pair)
		}
	}
}

func within(times []time.Time, now time.Time, d time.Duration) []time.Time {
	return slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) >= d })
}

func (r *guardRow) loops(now time.Time) bool {
	return !r.held.IsZero() && now.Sub(r.held) < loopHolds
}

func (r *guardRow) floods(now time.Time) bool {
	n := 0
	for _, at := range r.given {
		if now.Sub(at) < floodTime {
			n++
		}
	}
	return n >= floodMost
}

// stops says whether a message has to wait for the user, or for its turn.
func (g *guard) stops(session crypto.PublicKey, row *waitRow, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.pairs[guardPair{session, row.Sender}]
	return r != nil && (r.loops(now) || r.floods(now))
}

// human notes that the user wrote to his session himself: its exchanges are not automatic any more.
func (g *guard) human(session crypto.PublicKey) (released bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pair, r := range g.pairs {
		if pair.session == session {
			released = released || !r.held.IsZero()
			r.exchanges, r.held, r.answered = nil, time.Time{}, false
		}
	}
	return released
}

// accept lets a sender go on.
func (g *guard) accept(member crypto.PublicKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pair := range g.pairs {
		if pair.member == member {
			delete(g.pairs, pair)
		}
	}
}

// state says in words what is being stopped for a session.
func (g *guard) state(session crypto.PublicKey, now time.Time) (words []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pair, r := range g.pairs {
		name := protocol.NeutralizeName(r.name)
		switch {
		case pair.session != session:
		case r.loops(now):
			words = append(words, fmt.Sprintf("a loop with %s: %d exchanges without a word of yours; it goes on when you write to the session, or with: claudemesh accept %s", name, len(r.exchanges), name))
		case r.floods(now):
			words = append(words, fmt.Sprintf("a flood from %s: more than %d messages a minute; the rest comes slower", name, floodMost))
		}
	}
	slices.Sort(words)
	return words
}
