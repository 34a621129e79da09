package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/protocol"
)

// A loop that was stopped stays stopped over a restart of the daemon, says so, and goes on at the user's word.
func TestLoopSurvivesARestart(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	guarded := func() string {
		all, err := a.bob.Sessions(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatalf("bob's sessions: %+v %v", all, err)
		}
		return strings.Join(all[0].Guarded, "")
	}
	for i := range delivery.LoopMost + 1 {
		a.send("bob/api", fmt.Sprintf("ping %d", i), protocol.PriorityNow)
		mail := a.take(a.bob.Client, "s1", protocol.RungSocket).Messages
		if len(mail) != 1 {
			t.Fatalf("exchange %d: %v, %s", i, bodies(mail), guarded())
		}
		if _, err := a.bob.Send(t.Context(), protocol.SendRequest{ReplyTo: mail[0].ID, Body: "pong", Session: "s1"}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // after a restart, and after another
		a.send("bob/api", "and on it goes", protocol.PriorityNow)
		if mail := a.take(a.bob.Client, "s1", protocol.RungSocket).Messages; len(mail) != 0 || !strings.Contains(guarded(), "a loop with alice") {
			t.Fatalf("the loop goes on: %v %q", bodies(mail), guarded())
		}
		home := a.bob.home
		a.bob.end()
		a.bob = startDaemon(t, home)
		a.bob.wantState("acme", protocol.ConnOpen)
	}
	a.hook(protocol.HookPrompt, "s1", func(r *protocol.HookRequest) { r.Human, r.Quiet = true, true })
	if mail := a.take(a.bob.Client, "s1", protocol.RungSocket).Messages; len(mail) != 2 || guarded() != "" {
		t.Errorf("after the user's word: %v %q", bodies(mail), guarded())
	}
}
