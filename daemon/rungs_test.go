package daemon

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

func TestLadder(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newRungTable()
	if r := table.of("s", now); r.pushable() || r.better(protocol.RungPull) || r.hooked() {
		t.Errorf("a session that nobody asked for: %+v", r)
	}
	table.asking("s", protocol.RungRewake, now)
	table.asking("s", protocol.RungSocket, now)
	r := table.of("s", now)
	if !slices.Equal(r.works, []string{protocol.RungSocket, protocol.RungRewake}) {
		t.Errorf("works: %v", r.works)
	}
	if r.better(protocol.RungSocket) || !r.better(protocol.RungRewake) || !r.better(protocol.RungHook) {
		t.Error("the socket is the best way, and above all others")
	}
	table.failed("s", protocol.RungSocket)
	if r := table.of("s", now.Add(settleFor)); r.better(protocol.RungRewake) {
		t.Error("a way that gave mail back stays in the way")
	}
	table.asking("s", protocol.RungSocket, now)
	now = now.Add(settleFor)
	table.unproved("s", protocol.RungSocket)
	if r := table.of("s", now); r.better(protocol.RungRewake) || !r.broken[protocol.RungSocket] {
		t.Error("a way that showed nothing stays in the way")
	}
	table.proved("s", protocol.RungSocket)
	if r := table.of("s", now); !r.better(protocol.RungRewake) {
		t.Error("a way that proved itself is not used again")
	}
	if r := table.of("s", now.Add(pushableFor+1)); r.pushable() {
		t.Errorf("ways that fell silent still work: %v", r.works)
	}
	table.forget("s")
	if r := table.of("s", now); r.pushable() {
		t.Error("a session that ended can be pushed to")
	}
}

// The background hook starts with the session, the tool server a moment later: the hook waits for it, but not for ever.
func TestBackgroundHookLetsTheSocketCome(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newRungTable()
	table.asking("s", protocol.RungRewake, now)
	if !table.of("s", now).better(protocol.RungRewake) {
		t.Error("the hook does not wait")
	}
	if later := now.Add(settleFor); table.of("s", later).better(protocol.RungRewake) {
		t.Error("the hook waits for ever")
	}
}

func TestOneWaiterTheNewest(t *testing.T) {
	table := newRungTable()
	first, ok := table.wait("s", 1)
	if !ok {
		t.Fatal("the first waiter is refused")
	}
	if again, ok := table.wait("s", 1); !ok || again != first {
		t.Error("the second poll of the same waiter is another waiter")
	}
	second, ok := table.wait("s", 2)
	if !ok {
		t.Fatal("a newer waiter is refused")
	}
	select {
	case <-first:
	default:
		t.Error("the older waiter is not told")
	}
	if _, ok := table.wait("s", 1); ok {
		t.Error("the older waiter drives out the newer")
	}
	table.forget("s")
	select {
	case <-second:
	default:
		t.Error("the waiter of a session that ended is not told")
	}
}

// A turn that the user interrupts ends without a word: mail must not wait for ever.
func TestInterruptedTurnCountsAsIdle(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newRungTable()
	table.heard("s", protocol.HookPrompt, now)
	for _, test := range []struct {
		told  string
		after time.Duration
		want  string
	}{
		{protocol.StatusWorking, quietFor, protocol.StatusWorking},
		{protocol.StatusWorking, quietFor + 1, protocol.StatusIdle},
		{protocol.StatusDND, 10 * quietFor, protocol.StatusDND},
	} {
		at := now.Add(test.after)
		if got := table.of("s", at).status(test.told, at); got != test.want {
			t.Errorf("%s after %v: %s, want %s", test.told, test.after, got, test.want)
		}
	}
	if got := table.of("other", now.Add(time.Hour)).status(protocol.StatusWorking, now.Add(time.Hour)); got != protocol.StatusWorking {
		t.Error("without hooks only the session itself says that it is idle")
	}
}

// tables is an empty store of the daemon's.
func tables(t *testing.T) *store.DB {
	t.Helper()
	db, err := table.Open(filepath.Join(t.TempDir(), "daemon.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestGuard(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	session, bob, cathy := crypto.PublicKey{1}, crypto.PublicKey{2}, crypto.PublicKey{3}
	from := func(k crypto.PublicKey, name string) []gift { return []gift{{from: k, member: k, name: name}} }
	stopped := func(g *guard, k crypto.PublicKey) bool { return g.stops(session, &inbox.Waiting{Sender: k}, now) }

	t.Run("a loop", func(t *testing.T) {
		g := newGuard(tables(t))
		g.gave(session, from(bob, "bob"), now)
		for i := range loopMost {
			if stopped(g, bob) {
				t.Fatalf("stopped after %d exchanges", i)
			}
			g.sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		if !stopped(g, bob) || stopped(g, cathy) {
			t.Error("want bob stopped and cathy not")
		}
		if s := g.state(session, now); len(s) != 1 || !strings.Contains(s[0], "a loop with bob") {
			t.Errorf("state: %q", s)
		}
		now = now.Add(loopTime) // time alone does not start it again at once
		if !stopped(g, bob) {
			t.Error("goes on by itself")
		}
		if released, err := g.human(session); !released || err != nil || stopped(g, bob) || len(g.state(session, now)) != 0 {
			t.Error("does not go on after a word of the user")
		}
	})
	t.Run("accepting lets it go on", func(t *testing.T) {
		g := newGuard(tables(t))
		g.gave(session, from(bob, "bob"), now)
		for range loopMost {
			g.sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		g.accept(bob)
		if stopped(g, bob) {
			t.Error("still stopped")
		}
	})
	t.Run("messages without answers are no loop", func(t *testing.T) {
		g := newGuard(tables(t))
		for range loopMost + 1 {
			g.gave(session, from(bob, "bob"), now)
		}
		if stopped(g, bob) {
			t.Error("stopped")
		}
	})
	t.Run("slow exchanges are no loop", func(t *testing.T) {
		g := newGuard(tables(t))
		for range 3 * loopMost {
			g.sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
			now = now.Add(loopTime / 5)
		}
		if stopped(g, bob) {
			t.Error("stopped")
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		db := tables(t)
		again := func() *guard {
			g := newGuard(db)
			if err := g.load(); err != nil {
				t.Fatal(err)
			}
			return g
		}
		again().gave(session, from(bob, "bob"), now)
		for i := range loopMost { // every exchange is another daemon's
			g := again()
			if stopped(g, bob) {
				t.Fatalf("stopped after %d exchanges", i)
			}
			g.sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		for range floodMost {
			again().gave(session, from(cathy, "cathy"), now)
		}
		if g := again(); !stopped(g, bob) || !stopped(g, cathy) || len(g.state(session, now)) != 2 {
			t.Errorf("forgotten: %q", g.state(session, now))
		}
		if released, err := again().human(session); !released || err != nil || stopped(again(), bob) || !stopped(again(), cathy) {
			t.Errorf("the user's word is forgotten: %v", err)
		}
		if err := again().accept(cathy); err != nil || stopped(again(), cathy) {
			t.Errorf("an accepted sender is stopped again: %v", err)
		}
		now = now.Add(loopHolds)
		again().gave(session, from(cathy, "cathy"), now)
		if n := len(again().pairs); n != 1 {
			t.Errorf("%d rows are kept", n)
		}
	})
	t.Run("a flood", func(t *testing.T) {
		g := newGuard(tables(t))
		for i := range floodMost {
			if stopped(g, bob) {
				t.Fatalf("stopped after %d", i)
			}
			g.gave(session, from(bob, "bob"), now)
		}
		if !stopped(g, bob) || !strings.Contains(strings.Join(g.state(session, now), ""), "a flood from bob") {
			t.Error("not stopped")
		}
		now = now.Add(floodTime)
		if stopped(g, bob) {
			t.Error("the rest does not come later")
		}
	})
}
