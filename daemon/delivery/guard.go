package delivery

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// Two sessions that answer each other without end cost money and help nobody; a peer that writes faster than anybody reads buries the rest.
const (
	LoopMost  = 10               // automatic exchanges between a session and a peer within loopTime; then mail waits for the user
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

// Guard bounds what comes by itself. What it knows is on disk, too, so that a restart of the daemon neither forgets a loop nor the user's word about it.
type Guard struct {
	db *store.DB

	mu    sync.Mutex
	pairs map[guardPair]*guardRow
}

type guardPair struct{ session, member crypto.PublicKey }

type guardRow struct {
	Name      string      `json:"name"`
	Given     []time.Time `json:"given"`              // within floodTime
	Exchanges []time.Time `json:"exchanges"`          // within loopTime
	Answered  bool        `json:"answered,omitempty"` // the session wrote to the peer since it was last given something; stored with the next change
	Held      time.Time   `json:"held,omitzero"`      // when the loop was noticed
}

func newGuard(db *store.DB) *Guard { return &Guard{db: db, pairs: make(map[guardPair]*guardRow)} }

// Load takes up what an earlier daemon knew.
func (g *Guard) Load() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.db.View(func(tx *store.Tx) error {
		for k, b := range tx.Scan(table.Guard, nil, nil) {
			r := new(guardRow)
			if err := json.Unmarshal(b, r); err != nil || len(k) != 2*len(crypto.PublicKey{}) {
				return fmt.Errorf("decode a row of %s: %w", table.Guard, err)
			}
			g.pairs[guardPair{crypto.PublicKey(k[:len(k)/2]), crypto.PublicKey(k[len(k)/2:])}] = r
		}
		return nil
	})
}

// save stores what is known of pairs when the transaction runs, which may be more than the caller knew. Call it without g.mu.
func (g *Guard) save(pairs []guardPair) error {
	if len(pairs) == 0 {
		return nil
	}
	err := g.db.Commit(func(tx *store.Tx) error {
		for _, pair := range pairs {
			key := slices.Concat(pair.session[:], pair.member[:])
			g.mu.Lock()
			r, ok := g.pairs[pair]
			b, err := json.Marshal(r)
			g.mu.Unlock()
			if !ok {
				err = tx.Delete(table.Guard, key)
			} else if err == nil {
				err = tx.Put(table.Guard, key, b)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return table.Refusal("keep the count of exchanges", err)
	}
	return nil
}

// Sent notes that a session wrote to somebody: what comes back from there is part of an exchange.
func (g *Guard) Sent(session, member crypto.PublicKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.pairs[guardPair{session, member}]; r != nil {
		r.Answered = true
	}
}

// gave notes what a rung was given for a session.
func (g *Guard) gave(session crypto.PublicKey, gifts []gift, now time.Time) error {
	if len(gifts) == 0 {
		return nil
	}
	return g.save(g.count(session, gifts, now))
}

func (g *Guard) count(session crypto.PublicKey, gifts []gift, now time.Time) (changed []guardPair) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gift := range gifts {
		pair := guardPair{session, gift.member}
		r := g.pairs[pair]
		if r == nil {
			r = new(guardRow)
			g.pairs[pair] = r
		}
		r.Name = gift.name
		r.Given = append(within(r.Given, now, floodTime), now)
		if r.Answered {
			r.Answered = false
			r.Exchanges = append(within(r.Exchanges, now, loopTime), now)
		}
		if len(r.Exchanges) >= LoopMost && !r.loops(now) {
			r.Held = now
		}
		changed = append(changed, pair)
	}
	for pair, r := range g.pairs { // bounded by who wrote within the longest of the times
		if !wallclock.Recent(r.Given[len(r.Given)-1], now, loopHolds) {
			delete(g.pairs, pair)
			changed = append(changed, pair)
		}
	}
	return changed
}

func within(times []time.Time, now time.Time, d time.Duration) []time.Time {
	return slices.DeleteFunc(times, func(t time.Time) bool { return !wallclock.Recent(t, now, d) })
}

func (r *guardRow) loops(now time.Time) bool {
	return !r.Held.IsZero() && wallclock.Recent(r.Held, now, loopHolds)
}

func (r *guardRow) floods(now time.Time) bool {
	n := 0
	for _, at := range r.Given {
		if wallclock.Recent(at, now, floodTime) {
			n++
		}
	}
	return n >= floodMost
}

// stops says whether a message has to wait for the user, or for its turn.
func (g *Guard) stops(session crypto.PublicKey, row *inbox.Waiting, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.pairs[guardPair{session, row.Sender}]
	return r != nil && (r.loops(now) || r.floods(now))
}

// Human notes that the user wrote to his session himself: its exchanges are not automatic any more.
func (g *Guard) Human(session crypto.PublicKey) (released bool, err error) {
	var changed []guardPair
	g.mu.Lock()
	for pair, r := range g.pairs {
		if pair.session != session {
			continue
		}
		released = released || !r.Held.IsZero()
		if len(r.Exchanges) > 0 || !r.Held.IsZero() {
			changed = append(changed, pair)
		}
		r.Exchanges, r.Held, r.Answered = nil, time.Time{}, false
	}
	g.mu.Unlock()
	return released, g.save(changed)
}

// accept lets a sender go on.
func (g *Guard) accept(member crypto.PublicKey) error {
	var changed []guardPair
	g.mu.Lock()
	for pair := range g.pairs {
		if pair.member == member {
			delete(g.pairs, pair)
			changed = append(changed, pair)
		}
	}
	g.mu.Unlock()
	return g.save(changed)
}

// State says in words what is being stopped for a session.
func (g *Guard) State(session crypto.PublicKey, now time.Time) (words []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for pair, r := range g.pairs {
		name := protocol.NeutralizeName(r.Name)
		switch {
		case pair.session != session:
		case r.loops(now):
			words = append(words, fmt.Sprintf("a loop with %s: %d exchanges without a word of yours; it goes on when you write to the session, or with: claudemesh accept %s", name, len(r.Exchanges), name))
		case r.floods(now):
			words = append(words, fmt.Sprintf("a flood from %s: more than %d messages a minute; the rest comes slower", name, floodMost))
		}
	}
	slices.Sort(words)
	return words
}
