package delivery

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
	if r := table.Of("s", now); r.Pushable() || r.better(protocol.RungPull) || r.hooked() {
		t.Errorf("a session that nobody asked for: %+v", r)
	}
	table.Asking("s", protocol.RungRewake, now)
	table.Asking("s", protocol.RungSocket, now)
	r := table.Of("s", now)
	if !slices.Equal(r.works, []string{protocol.RungSocket, protocol.RungRewake}) {
		t.Errorf("works: %v", r.works)
	}
	if r.better(protocol.RungSocket) || !r.better(protocol.RungRewake) || !r.better(protocol.RungHook) {
		t.Error("the socket is the best way, and above all others")
	}
	table.failed("s", protocol.RungSocket)
	if r := table.Of("s", now.Add(SettleFor)); r.better(protocol.RungRewake) {
		t.Error("a way that gave mail back stays in the way")
	}
	table.Asking("s", protocol.RungSocket, now)
	now = now.Add(SettleFor)
	table.unproved("s", protocol.RungSocket)
	if r := table.Of("s", now); r.better(protocol.RungRewake) || !r.broken[protocol.RungSocket] {
		t.Error("a way that showed nothing stays in the way")
	}
	table.proved("s", protocol.RungSocket)
	if r := table.Of("s", now); !r.better(protocol.RungRewake) {
		t.Error("a way that proved itself is not used again")
	}
	if r := table.Of("s", now.Add(pushableFor+1)); r.Pushable() {
		t.Errorf("ways that fell silent still work: %v", r.works)
	}
	table.Forget("s")
	if r := table.Of("s", now); r.Pushable() {
		t.Error("a session that ended can be pushed to")
	}
}

// The background hook starts with the session, the tool server a moment later: the hook waits for it, but not for ever.
func TestBackgroundHookLetsTheSocketCome(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := newRungTable()
	table.Asking("s", protocol.RungRewake, now)
	if !table.Of("s", now).better(protocol.RungRewake) {
		t.Error("the hook does not wait")
	}
	if later := now.Add(SettleFor); table.Of("s", later).better(protocol.RungRewake) {
		t.Error("the hook waits for ever")
	}
}

func TestOneWaiterTheNewest(t *testing.T) {
	table := newRungTable()
	first, ok := table.Wait("s", 1)
	if !ok {
		t.Fatal("the first waiter is refused")
	}
	if again, ok := table.Wait("s", 1); !ok || again != first {
		t.Error("the second poll of the same waiter is another waiter")
	}
	second, ok := table.Wait("s", 2)
	if !ok {
		t.Fatal("a newer waiter is refused")
	}
	select {
	case <-first:
	default:
		t.Error("the older waiter is not told")
	}
	if _, ok := table.Wait("s", 1); ok {
		t.Error("the older waiter drives out the newer")
	}
	table.Forget("s")
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
	table.Heard("s", protocol.HookPrompt, now)
	for _, test := range []struct {
		told  string
		after time.Duration
		want  string
	}{
		{protocol.StatusWorking, QuietFor, protocol.StatusWorking},
		{protocol.StatusWorking, QuietFor + 1, protocol.StatusIdle},
		{protocol.StatusDND, 10 * QuietFor, protocol.StatusDND},
	} {
		at := now.Add(test.after)
		if got := table.Of("s", at).status(test.told, at); got != test.want {
			t.Errorf("%s after %v: %s, want %s", test.told, test.after, got, test.want)
		}
	}
	if got := table.Of("other", now.Add(time.Hour)).status(protocol.StatusWorking, now.Add(time.Hour)); got != protocol.StatusWorking {
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
	stopped := func(g *Guard, k crypto.PublicKey) bool { return g.stops(session, &inbox.Waiting{Sender: k}, now) }

	t.Run("a loop", func(t *testing.T) {
		g := newGuard(tables(t))
		g.gave(session, from(bob, "bob"), now)
		for i := range LoopMost {
			if stopped(g, bob) {
				t.Fatalf("stopped after %d exchanges", i)
			}
			g.Sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		if !stopped(g, bob) || stopped(g, cathy) {
			t.Error("want bob stopped and cathy not")
		}
		if s := g.State(session, now); len(s) != 1 || !strings.Contains(s[0], "a loop with bob") {
			t.Errorf("state: %q", s)
		}
		now = now.Add(loopTime) // time alone does not start it again at once
		if !stopped(g, bob) {
			t.Error("goes on by itself")
		}
		if released, err := g.Human(session); !released || err != nil || stopped(g, bob) || len(g.State(session, now)) != 0 {
			t.Error("does not go on after a word of the user")
		}
	})
	t.Run("accepting lets it go on", func(t *testing.T) {
		g := newGuard(tables(t))
		g.gave(session, from(bob, "bob"), now)
		for range LoopMost {
			g.Sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		g.accept(bob)
		if stopped(g, bob) {
			t.Error("still stopped")
		}
	})
	t.Run("messages without answers are no loop", func(t *testing.T) {
		g := newGuard(tables(t))
		for range LoopMost + 1 {
			g.gave(session, from(bob, "bob"), now)
		}
		if stopped(g, bob) {
			t.Error("stopped")
		}
	})
	t.Run("slow exchanges are no loop", func(t *testing.T) {
		g := newGuard(tables(t))
		for range 3 * LoopMost {
			g.Sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
			now = now.Add(loopTime / 5)
		}
		if stopped(g, bob) {
			t.Error("stopped")
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		db := tables(t)
		again := func() *Guard {
			g := newGuard(db)
			if err := g.Load(); err != nil {
				t.Fatal(err)
			}
			return g
		}
		again().gave(session, from(bob, "bob"), now)
		for i := range LoopMost { // every exchange is another daemon's
			g := again()
			if stopped(g, bob) {
				t.Fatalf("stopped after %d exchanges", i)
			}
			g.Sent(session, bob)
			g.gave(session, from(bob, "bob"), now)
		}
		for range floodMost {
			again().gave(session, from(cathy, "cathy"), now)
		}
		if g := again(); !stopped(g, bob) || !stopped(g, cathy) || len(g.State(session, now)) != 2 {
			t.Errorf("forgotten: %q", g.State(session, now))
		}
		if released, err := again().Human(session); !released || err != nil || stopped(again(), bob) || !stopped(again(), cathy) {
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
		if !stopped(g, bob) || !strings.Contains(strings.Join(g.State(session, now), ""), "a flood from bob") {
			t.Error("not stopped")
		}
		now = now.Add(floodTime)
		if stopped(g, bob) {
			t.Error("the rest does not come later")
		}
	})
}
