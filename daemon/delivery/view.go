package delivery

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/wallclock"
)

// giveView is what decides for one session, read before the transaction.
type giveView struct {
	s        registry.Session
	key      crypto.PublicKey
	heirs    *roster.Succession
	now      time.Time
	rung     string
	status   string
	ladder   SessionRungs
	guard    *Guard
	live     map[string]registry.Session // by hex of the key
	chosen   bool                        // this session is the one that gets the member's mail now
	accepted func(protocol.MeshID, crypto.PublicKey) bool
	groups   map[protocol.MeshID][]string // of this session, and of the member as a whole
	gave     []gift                       // what take handed out by itself
	taken    []takenRow                   // what take handed out
}

func (g *Dispatcher) view(s registry.Session, local *keyring.Session, rung string) *giveView {
	v := &giveView{
		s: s, key: local.Public(), now: g.d.Now(), rung: rung, guard: g.Guard,
		live: make(map[string]registry.Session), groups: make(map[protocol.MeshID][]string),
	}
	v.heirs = g.d.Succession()
	v.ladder = g.Rungs.Of(s.ID, v.now)
	v.status = v.ladder.status(roster.StatusOr(s.Status), v.now)
	for _, m := range g.d.Meshes() {
		v.groups[m.ID()] = m.GroupsOf(v.key)
	}
	for _, other := range g.d.Live.Live() {
		if _, l, err := g.d.LiveSession(other.ID); err == nil {
			v.live[l.Public().String()] = other
		}
	}
	chosen := g.choose(v.live, v.now)
	v.chosen = rung == protocol.RungPull || chosen == s.ID || chosen == "" && rung == protocol.RungHook
	return v
}

// choose picks the session that the member's mail is offered to: idle before working, then the most recently active, among those that can be pushed to.
func (g *Dispatcher) choose(live map[string]registry.Session, now time.Time) string {
	best, bestIdle := registry.Session{}, false
	for _, s := range live {
		if !g.Rungs.Of(s.ID, now).Pushable() {
			continue
		}
		idle := roster.StatusOr(s.Status) == protocol.StatusIdle
		switch {
		case best.ID == "", idle && !bestIdle:
			best, bestIdle = s, idle
		case idle == bestIdle && cmp.Or(activeAt(best, now).Compare(activeAt(s, now)), strings.Compare(s.ID, best.ID)) < 0:
			best = s
		}
	}
	return best.ID
}

// activeAt is when a session last gave a sign of life. One from the future, of a clock that was set back since, says nothing.
func activeAt(s registry.Session, now time.Time) time.Time {
	if s.Active.After(now.Add(wallclock.Jump)) {
		return time.Time{}
	}
	return s.Active
}

// mine says whether the row concerns this session at all, whatever its priority.
func (v *giveView) mine(row *inbox.Waiting) bool {
	switch {
	case row.Own == v.key:
		return true
	case row.From == v.key:
		return false // own words
	case !row.Member:
		id, _ := v.heirs.Heir(row.Own, row.Label)
		return id == v.s.ID || id == "" && (row.Prio == protocol.PriorityNow || !v.heirs.Resting(row.Own))
	case !row.Several:
		return true
	case row.Group != "" && !slices.Contains(v.groups[row.Mesh], row.Group):
		return false
	}
	// A message to several reaches the sessions that were there when it came; if none was, the first to come after.
	if _, mine := row.Given[v.key.String()]; mine || row.Received >= v.s.Registered.UnixMilli() {
		return true
	}
	return len(row.Given) == 0
}

// inherited says whether the row was for a session that has ended.
func (v *giveView) inherited(row *inbox.Waiting) bool {
	if row.Member || row.Own == v.key {
		return false
	}
	_, ended := v.heirs.Heir(row.Own, row.Label)
	return ended
}

// anybodys says whether one of several sessions is to get the row, whichever is best.
func (v *giveView) anybodys(row *inbox.Waiting) bool {
	if row.Member {
		return !row.Several
	}
	id, _ := v.heirs.Heir(row.Own, row.Label)
	return id == ""
}

// held says whether the row waits for the user to accept its sender.
func (v *giveView) held(row *inbox.Waiting) bool {
	return (row.Held || v.s.Bypass) && !v.accepted(row.Mesh, row.Sender)
}

// ready says whether the rung may have the row now; again, that it may have been in front of the session before.
func (v *giveView) ready(row *inbox.Waiting) (ok, again bool) {
	if !v.mine(row) || v.held(row) {
		return false, false
	}
	if v.rung != protocol.RungPull && (v.ladder.better(v.rung) || v.guard.stops(v.key, row, v.now)) {
		return false, false
	}
	for key, mark := range row.Given {
		own := key == v.key.String()
		if !own && row.Several {
			continue
		}
		switch {
		case mark.State == protocol.SettleShown:
			return false, false
		case !v.lives(key, mark): // its session, or that life of it, ended without proof
		case mark.State == protocol.SettlePushed && !(own && v.mayRepeat(mark)):
			return false, false
		case mark.State == stateTaken && !(own && v.asksAnew(mark)) && wallclock.Recent(protocol.TimeOf(mark.At), v.now, TakenFor):
			return false, false
		case mark.GaveUp() && mark.Rung == v.rung && own && !v.comesAnew():
			return false, false // this rung failed with it
		}
		again = again || mark.State != protocol.SettleReturned
	}
	if v.rung == protocol.RungPull {
		return true, again
	}
	if v.anybodys(row) && !v.chosen {
		return false, false
	}
	return gate(row.Prio, v.status), again
}

// lives says whether the session that a mark is of still lives in the process that it was given to.
func (v *giveView) lives(key string, mark inbox.Attempt) bool {
	s, alive := v.live[key]
	return alive && mark.Life == lifeOf(s)
}

// comesAnew says whether each try of the rung is a process or a request of its own, of which one may work where another
// failed. The others would try again at once, and for ever.
func (v *giveView) comesAnew() bool {
	return v.rung == protocol.RungHook || v.rung == protocol.RungPull
}

// mayRepeat says whether the rung may give what was pushed by another and never proved to be shown.
func (v *giveView) mayRepeat(mark inbox.Attempt) bool {
	if v.rung == protocol.RungPull {
		return true
	}
	return rank(mark.Rung) < rank(v.rung) && v.ladder.broken[mark.Rung] && !wallclock.Recent(protocol.TimeOf(mark.At), v.now, ProvedWithin)
}

// asksAnew says whether the rung that took the message asks for more: the tool server has one loop, which settles what it took before it takes
// again, so the answer never reached it (this daemon, or the one before, died meanwhile). What came after must not overtake the message.
func (v *giveView) asksAnew(mark inbox.Attempt) bool {
	return mark.Rung == v.rung && (v.rung == protocol.RungSocket || v.rung == protocol.RungChannel)
}

// gate says which priorities may come by themselves.
func gate(prio, status string) bool {
	switch prio {
	case protocol.PriorityNow:
		return true
	case protocol.PriorityNext:
		return status == protocol.StatusIdle
	}
	return false
}
