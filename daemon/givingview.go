package daemon

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// giveView is what decides for one session, read before the transaction.
type giveView struct {
	s        registry.Session
	key      crypto.PublicKey
	former   []crypto.PublicKey // of the sessions that this one's process went on from: what was on its way to them is for this one
	now      time.Time
	rung     string
	status   string
	ladder   sessionRungs
	guard    *guard
	live     map[string]registry.Session // by hex of the key
	chosen   bool                        // this session is the one that gets the member's mail now
	accepted func(protocol.MeshID, crypto.PublicKey) bool
	groups   map[protocol.MeshID][]string // of this session, and of the member as a whole
	gave     []gift                       // what take handed out by itself
}

func (g *giver) view(s registry.Session, local *localSession, rung string) *giveView {
	v := &giveView{
		s: s, key: local.public(), now: g.d.cfg.Now(), rung: rung, guard: g.guard,
		live: make(map[string]registry.Session), groups: make(map[protocol.MeshID][]string),
	}
	v.former = g.d.formerKeys(s)
	v.ladder = g.rungs.of(s.ID, v.now)
	v.status = v.ladder.status(statusOr(s.Status), v.now)
	for _, m := range g.d.meshes() {
		v.groups[m.id()] = m.groupsOf(v.key)
	}
	for _, other := range g.d.live.Live() {
		if _, l, err := g.d.liveSession(other.ID); err == nil {
			v.live[l.public().String()] = other
		}
	}
	chosen := g.choose(v.live, v.now)
	v.chosen = rung == protocol.RungPull || chosen == s.ID || chosen == "" && rung == protocol.RungHook
	return v
}

// choose picks the session that the member's mail is offered to: idle before working, then the most recently active, among those that can be pushed to.
func (g *giver) choose(live map[string]registry.Session, now time.Time) string {
	best, bestIdle := registry.Session{}, false
	for _, s := range live {
		if !g.rungs.of(s.ID, now).pushable() {
			continue
		}
		idle := statusOr(s.Status) == protocol.StatusIdle
		switch {
		case best.ID == "", idle && !bestIdle:
			best, bestIdle = s, idle
		case idle == bestIdle && (s.Active.After(best.Active) || s.Active.Equal(best.Active) && s.ID < best.ID):
			best = s
		}
	}
	return best.ID
}

// mine says whether the row concerns this session at all, whatever its priority.
func (v *giveView) mine(row *waitRow) bool {
	switch {
	case !row.Member:
		return row.Own == v.key || slices.Contains(v.former, row.Own)
	case row.From == v.key:
		return false // own words
	case !row.Several:
		return true
	case row.Group != "" && !slices.Contains(v.groups[row.Mesh], row.Group):
		return false
	}
	// A message to several reaches the sessions that were there when it came; if none was, the first to come after.
	if row.Received >= v.s.Registered.UnixMilli() {
		return true
	}
	for key := range row.Given {
		if key != v.key.String() {
			return false
		}
	}
	return true
}

// held says whether the row waits for the user to accept its sender.
func (v *giveView) held(row *waitRow) bool {
	return (row.Held || v.s.Bypass) && !v.accepted(row.Mesh, row.Sender)
}

// ready says whether the rung may have the row now; again, that it may have been in front of the session before.
func (v *giveView) ready(row *waitRow) (ok, again bool) {
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
		if _, alive := v.live[key]; !alive && !own {
			continue // its session ended without showing it
		}
		switch {
		case mark.State == protocol.SettleShown:
			return false, false
		case mark.State == protocol.SettlePushed && !(own && v.mayRepeat(mark)):
			return false, false
		case mark.State == stateTaken && !(own && v.asksAnew(mark)) && v.now.Sub(time.UnixMilli(mark.At)) < takenFor:
			return false, false
		case mark.State == protocol.SettleReturned && mark.Rung == v.rung && own:
			return false, false // this rung failed with it
		}
		again = again || own && mark.State != protocol.SettleReturned
	}
	if v.rung == protocol.RungPull {
		return true, again
	}
	if row.Member && !row.Several && !v.chosen {
		return false, false
	}
	return gate(row.Prio, v.status), again
}

// mayRepeat says whether the rung may give what was pushed by another and never proved to be shown.
func (v *giveView) mayRepeat(mark givenMark) bool {
	if v.rung == protocol.RungPull {
		return true
	}
	return rank(mark.Rung) < rank(v.rung) && v.ladder.broken[mark.Rung] && v.now.Sub(time.UnixMilli(mark.At)) >= provedWithin
}

// asksAnew says whether the rung that took the message asks for more: the tool server has one loop, which settles what it took before it takes
// again, so the answer never reached it (this daemon, or the one before, died meanwhile). What came after must not overtake the message.
func (v *giveView) asksAnew(mark givenMark) bool {
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
