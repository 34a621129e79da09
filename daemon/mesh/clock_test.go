package mesh

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

const day = 24 * time.Hour

// wrongClocks are off by hours and days, both ways.
var wrongClocks = []time.Duration{time.Hour, 20 * day, -13 * time.Hour, -3 * day}

// clocks runs a story in which everybody's clock is watched, once for each wrong clock.
func clocks(t *testing.T, f func(w *world, off time.Duration)) {
	for _, off := range wrongClocks {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			story(t, func(w *world) {
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				for _, n := range w.nodes {
					go n.clock.Watch(ctx)
				}
				f(w, off)
			})
		})
	}
}

// setClock sets the clock on the node's wall: off from the right time.
func (n *node) setClock(off time.Duration) { n.off.Store(int64(off)) }

// wantConnection fails unless the node's connections are in a state, with that reason.
func (n *node) wantConnection(state string, code protocol.Code) {
	n.Helper()
	synctest.Wait()
	uplinks := []*uplink{n.m.control}
	n.m.mu.Lock()
	for _, u := range n.m.uplinks {
		uplinks = append(uplinks, u)
	}
	n.m.mu.Unlock()
	for _, u := range uplinks {
		if h := u.health(); h.State != state || h.ErrorCode != code {
			n.Errorf("%s: %s is %s with %q (%s), want %s with %q", n.name, u.key.Short(), h.State, h.ErrorCode, h.LastError, state, code)
		}
	}
}

// wantCurrent fails where the node believes a session statement that its signer's clock of today could not have signed.
func (n *node) wantCurrent() {
	n.Helper()
	for _, s := range n.m.trust.Sessions() {
		if age := time.Since(time.UnixMilli(s.Issued)); age < -protocol.ClockSkew || age > protocol.SessionLifetime {
			n.Errorf("%s knows a statement of %s that is %s old", n.name, s.Label, age)
		}
	}
}

// Alice's clock is set wrongly while she is connected: she is off the mesh, keeps what she writes, and is back within a minute
// of the correction, with everything signed anew.
func TestClockIsWrongForAWhile(t *testing.T) {
	clocks(t, func(w *world, off time.Duration) {
		api := w.alice.session("api")
		pass(time.Minute)
		w.alice.setClock(off)
		pass(2 * time.Second)
		w.alice.wantConnection(protocol.ConnRefused, protocol.CodeTimestamp)
		first := w.alice.send("bob", "in between")
		second := w.alice.sendAs(api, protocol.SendRequest{To: "bob", Body: "of a session"})
		w.bob.send("alice", "are you there?")
		pass(5 * time.Minute)
		w.alice.wantConnection(protocol.ConnRefused, protocol.CodeTimestamp)
		w.alice.wantState(first, protocol.StateAccepted, protocol.ProofSelf)

		w.alice.setClock(0)
		pass(3 * time.Second) // she notices it, and does not wait for her next try
		w.alice.wantConnection(protocol.ConnOpen, "")
		w.alice.wantState(first, protocol.StateDelivered, protocol.ProofPeer)
		w.alice.wantState(second, protocol.StateDelivered, protocol.ProofPeer)
		w.alice.want("bob: are you there?")
		got := w.bob.inbox(nil)
		slices.Sort(got)
		if !slices.Equal(got, []string{"alice: in between", "alice: of a session"}) {
			w.Errorf("bob has %q", got)
		}
		w.bob.wantCurrent()
		w.alice.send("bob", "and now")
		synctest.Wait()
		if n := len(w.bob.inbox(nil)); n != 3 {
			w.Errorf("bob has %d messages, want 3", n)
		}
	})
}

// The daemon starts on a machine whose clock is wrong, as one without a battery does, and that is set later.
func TestClockIsWrongAtTheStart(t *testing.T) {
	for _, off := range wrongClocks {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			story(t, func(w *world) {
				w.alice.stop()
				w.alice.db.Close()
				w.alice.setClock(off)
				w.alice.open()
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				go w.alice.clock.Watch(ctx)
				w.alice.start()
				pass(5 * time.Minute)
				w.alice.wantConnection(protocol.ConnRefused, protocol.CodeTimestamp)
				id := w.alice.send("bob", "before the time")
				w.alice.setClock(0)
				pass(time.Minute)
				w.alice.wantConnection(protocol.ConnOpen, "")
				w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
				w.bob.want("alice: before the time")
				w.bob.wantCurrent()
			})
		})
	}
}

// The broker runs on alice's machine, so both are wrong alike, and agree. What she signed then is believed by nobody later.
func TestClocksOfAliceAndBroker(t *testing.T) {
	clocks(t, func(w *world, off time.Duration) {
		api := w.alice.session("api", "old")
		pass(time.Minute)
		w.off.Store(int64(off))
		w.alice.setClock(off)
		pass(time.Minute)
		w.alice.wantConnection(protocol.ConnOpen, "")
		pass(5 * time.Minute)

		w.off.Store(0)
		w.alice.setClock(0)
		pass(time.Minute)
		w.alice.wantConnection(protocol.ConnOpen, "")
		w.bob.wantConnection(protocol.ConnOpen, "")
		w.bob.wantCurrent()
		changed := *api
		changed.Groups = []string{"new"}
		if err := w.alice.m.AddSession(&changed); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		s := w.bob.m.trust.Session(api.Public())
		if s == nil || !s.Body.(*protocol.Session).HasGroup("new") {
			w.Errorf("bob does not know alice's groups")
		}
		w.closeBroker() // and the next one knows them, too
		w.openBroker()
		pass(2 * time.Minute)
		w.bob.wantCurrent()
		w.bob.send("@new", "to the group")
		w.alice.want("bob: to the group")
	})
}

// The broker's clock is wrong, and nobody's else: everybody is back within a minute of its correction, which no clock of theirs
// tells them.
func TestClockOfTheBroker(t *testing.T) {
	clocks(t, func(w *world, off time.Duration) {
		w.off.Store(int64(off))
		for _, n := range w.nodes {
			n.unplug()
			n.plug()
		}
		pass(time.Minute)
		w.alice.wantConnection(protocol.ConnRefused, protocol.CodeTimestamp)
		id := w.alice.send("bob", "hello")
		pass(5 * time.Minute)
		w.off.Store(0)
		pass(time.Minute)
		w.alice.wantConnection(protocol.ConnOpen, "")
		w.bob.wantConnection(protocol.ConnOpen, "")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

// Whatever was signed by a clock of the future, what is signed now bears the time of now, and counts.
func TestSignedInTheFuture(t *testing.T) {
	ambush(t, func(w *world) {
		api := w.alice.session("api", "old")
		signed := func() *protocol.Statement {
			s, err := w.alice.m.ring.Statement(api.Public(), false)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		w.alice.setClock(3 * day)
		ahead := signed()
		if _, err := w.bob.m.trust.Learn([]*protocol.Statement{ahead}, nil); err != nil {
			t.Fatal(err)
		}
		w.alice.setClock(0)
		now := signed()
		if issued := time.UnixMilli(now.Body.(*protocol.Session).Issued); issued.After(time.Now()) {
			t.Errorf("signed for %s from now", time.Until(issued))
		}
		for range 2 { // in either order
			if _, err := w.bob.m.trust.Learn([]*protocol.Statement{now}, nil); err != nil {
				t.Fatal(err)
			}
			if got := w.bob.m.trust.Session(api.Public()); got.ID != now.ID {
				t.Errorf("bob goes by %s", got.ID)
			}
			if _, err := w.bob.m.trust.Learn([]*protocol.Statement{ahead}, nil); err != nil {
				t.Fatal(err)
			}
		}
		_, issued, err := w.alice.m.ring.Attest(api.Public())
		if err != nil || issued > time.Now().UnixMilli() {
			t.Errorf("a message would bear %s, %v", time.UnixMilli(issued), err)
		}
	})
}

// A clock that is far ahead for an hour makes alice forget nothing: no message, no session that somebody may still answer, no
// id that would let a message in twice.
func TestNothingIsForgottenByAWrongClock(t *testing.T) {
	story(t, func(w *world) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go w.alice.clock.Watch(ctx)
		api := w.alice.session("api")
		waits := w.alice.send("bob", "done")
		w.alice.wantState(waits, protocol.StateDelivered, protocol.ProofPeer)
		w.bob.send("alice", "hello")
		synctest.Wait()
		if err := w.alice.m.RemoveSession(api.ID); err != nil {
			w.Fatal(err)
		}
		w.alice.unplug()
		pending := w.alice.send("bob", "on its way")
		rows := func() (n int) {
			err := w.alice.db.View(func(tx *store.Tx) error {
				n = tx.Count(table.Outbox, nil) + tx.Count(table.Replay, nil) + tx.Count(table.OwnSessions, nil) + tx.Count(table.Inbox, nil)
				return nil
			})
			if err != nil {
				w.Fatal(err)
			}
			return n
		}
		before := rows()
		w.alice.setClock(400 * day)
		pass(50 * time.Minute)
		w.alice.setClock(0)
		pass(time.Minute)
		if after := rows(); after != before {
			w.Errorf("%d rows, before %d", after, before)
		}
		w.alice.wantState(pending, protocol.StateAccepted, protocol.ProofSelf)
		w.alice.plug()
		pass(time.Minute)
		w.alice.wantState(pending, protocol.StateDelivered, protocol.ProofPeer)

		// A clock that a broker agrees with is believed, and so is one that is left alone.
		w.alice.unplug()
		late := w.alice.send("bob", "too late")
		w.alice.setClock(outboxGiveUp + time.Minute)
		pass(2 * time.Hour)
		w.alice.wantState(late, protocol.StateDead, protocol.ProofSelf)
	})
}

// Who was seen last by a clock that was set back since is seen anew.
func TestLastSeenInTheFuture(t *testing.T) {
	now := time.Unix(2e9, 0)
	ahead, member := now.Add(3*day), crypto.GenerateKey().Public()
	p := newPresence()
	p.noteMember(member, false, ahead.UnixMilli(), ahead.UnixMilli())
	if p.noteMember(member, false, now.UnixMilli(), now.UnixMilli()); p.members[member].last != now.UnixMilli() {
		t.Errorf("last seen at %d", p.members[member].last)
	}
}

// A gap that was seen by a clock of the future is told when its time is over by the clock of today.
func TestGapOfTheFuture(t *testing.T) {
	ambush(t, func(w *world) {
		var pushes []protocol.Push
		for _, body := range []string{"1", "2", "3"} {
			pushes = append(pushes, w.alice.sealed(w.alice.send("bob", body), w.bob))
		}
		bob := w.bob.wire()
		bob.push(pushes[0])
		w.bob.setClock(3 * day)
		bob.push(pushes[2])
		w.bob.setClock(0)
		w.bob.start()
		pass(10 * time.Minute)
		if n := w.bob.events.of(inbox.EventNotice); len(n) != 0 {
			t.Errorf("too early: %v", n)
		}
		pass(25 * time.Minute)
		if n := w.bob.events.of(inbox.EventNotice); len(n) != 1 {
			t.Errorf("notices: %v", n)
		}
	})
}

// How far the broker is away is measured by no clock that can be set.
func TestRoundTripOverAJump(t *testing.T) {
	story(t, func(w *world) {
		w.alice.m.control.mu.Lock()
		c := w.alice.m.control.conn
		w.alice.m.control.mu.Unlock()
		pass(time.Minute)
		w.alice.m.control.mu.Lock()
		defer w.alice.m.control.mu.Unlock()
		if rtt := w.alice.m.control.rtt; rtt < 0 || rtt > time.Second || c.began.IsZero() {
			t.Errorf("%s", rtt)
		}
	})
}
