package delivery

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// What was noted by a clock that was set back since holds up nothing.
func TestNotedInTheFuture(t *testing.T) {
	now := time.Unix(2e9, 0)
	ahead := now.Add(3 * 24 * time.Hour)
	g := newGuard(nil)
	session, member := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
	row := &inbox.Waiting{Sender: member}
	for range floodMost {
		g.count(session, []gift{{member: member}}, ahead)
	}
	if !g.stops(session, row, ahead) {
		t.Fatal("a flood is none")
	}
	if g.stops(session, row, now) {
		t.Error("a flood of the future is held up")
	}
	if g.count(session, []gift{{member: member}}, now); g.stops(session, row, now) {
		t.Error("what was given in the future counts")
	}

	rungs := newRungTable()
	rungs.Heard("s", protocol.HookPrompt, ahead)
	rungs.Asking("s", protocol.RungSocket, ahead)
	if r := rungs.Of("s", ahead); !r.Pushable() || r.status(protocol.StatusWorking, ahead) != protocol.StatusWorking {
		t.Fatalf("%+v", r)
	}
	if r := rungs.Of("s", now); r.Pushable() || r.young || r.status(protocol.StatusWorking, now) != protocol.StatusIdle {
		t.Errorf("a way that was there in the future: %+v", r)
	}
	if rungs.Asking("s", protocol.RungSocket, now); !rungs.Of("s", now).Pushable() {
		t.Error("a way that asks now is not there")
	}
}
