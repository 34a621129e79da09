package daemon

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
	rungs.heard("s", protocol.HookPrompt, ahead)
	rungs.asking("s", protocol.RungSocket, ahead)
	if r := rungs.of("s", ahead); !r.pushable() || r.status(protocol.StatusWorking, ahead) != protocol.StatusWorking {
		t.Fatalf("%+v", r)
	}
	if r := rungs.of("s", now); r.pushable() || r.young || r.status(protocol.StatusWorking, now) != protocol.StatusIdle {
		t.Errorf("a way that was there in the future: %+v", r)
	}
	if rungs.asking("s", protocol.RungSocket, now); !rungs.of("s", now).pushable() {
		t.Error("a way that asks now is not there")
	}
}
