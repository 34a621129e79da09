//go:build e2e

package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// How long a person waits, as medians of 20. Figures for the log: a shared machine cannot promise times.
func TestVerbLatencyFigures(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	for _, verb := range [][]string{{"--version"}, {"peers"}, {"members"}, {"inbox"}, {"status"}, {"whoami"}, {"send", "bob", "hi"}, {"send", "bob", "hi", "--wait", "5s"}} {
		var took []time.Duration
		for range 20 {
			r := alice.try(verb...)
			if r.code != 0 {
				t.Fatalf("%v: exit %d %s%s", verb, r.code, r.out, r.err)
			}
			took = append(took, r.took)
		}
		slices.Sort(took)
		t.Logf("%-28s median %6.1f ms, worst %6.1f ms", verb, ms(took[10]), ms(took[19]))
	}
}

// What Claude Code waits for at each event of a session, and for its status line: process, daemon and all. 30 runs each.
func TestHookFigures(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	event := func(name string) string {
		return `{"session_id":"s1","cwd":"/src/api","hook_event_name":"` + name + `","prompt":"go on","tool_name":"Bash","tool_response":"` + strings.Repeat("x", 10_000) + `"}`
	}
	for _, c := range []struct {
		stdin string
		verb  []string
	}{
		{"", []string{"--version"}}, // what the process alone takes
		{event("SessionStart"), []string{"hook", "session-start"}}, {event("UserPromptSubmit"), []string{"hook", "user-prompt-submit"}},
		{event("PostToolUse"), []string{"hook", "post-tool-use"}}, {event("Stop"), []string{"hook", "stop"}}, {`{"session_id":"s1"}`, []string{"statusline"}},
	} {
		var took []time.Duration
		for range 30 {
			r := bob.tryIn(c.stdin, c.verb...)
			if r.code != 0 {
				t.Fatalf("%v: exit %d %s", c.verb, r.code, r.err)
			}
			took = append(took, r.took)
		}
		slices.Sort(took)
		t.Logf("%-28v median %5.1f ms, p90 %5.1f ms, worst %5.1f ms", c.verb, ms(took[15]), ms(took[27]), ms(took[29]))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// A turn begins and ends on bob's machine: how long until alice's machine shows it? Asserted is that it does, and in that order; the times go to the log.
func TestStatusReachesAPeerFigures(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	home, err := config.OpenHome(filepath.Join(alice.dir, ".claudemesh"))
	if err != nil {
		t.Fatal(err)
	}
	alices := client.Dial(home)
	seen := func() string {
		peers, _ := alices.Peers(t.Context(), "")
		for _, p := range peers {
			if p.Name == "bob" && p.Session == "api" {
				return p.Status
			}
		}
		return ""
	}
	hook := func(event, name string) {
		r := bob.tryIn(`{"session_id":"s1","cwd":"/src/api","hook_event_name":"`+name+`","prompt":"go on"}`, "hook", event)
		if r.code != 0 {
			t.Fatalf("hook %s: exit %d %s", event, r.code, r.err)
		}
	}
	hook("session-start", "SessionStart")
	eventually(t, "alice sees bob's session", func() bool { return seen() == protocol.StatusIdle })
	var fromStart, fromEnd []time.Duration
	for i := range 20 {
		event, name, want := "user-prompt-submit", "UserPromptSubmit", protocol.StatusWorking
		if i%2 == 1 {
			event, name, want = "stop", "Stop", protocol.StatusIdle
		}
		shown := make(chan time.Time, 1)
		go func() { // looks while the hook runs: the status may be there before it ends
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for seen() != want && t.Context().Err() == nil {
				<-tick.C
			}
			shown <- time.Now()
		}()
		began := time.Now()
		hook(event, name)
		ended := time.Now()
		select {
		case at := <-shown:
			fromStart, fromEnd = append(fromStart, at.Sub(began)), append(fromEnd, max(0, at.Sub(ended)))
		case <-time.After(20 * time.Second):
			t.Fatalf("alice does not see that bob's session is %s", want)
		}
	}
	slices.Sort(fromStart)
	slices.Sort(fromEnd)
	t.Logf("from the start of the hook's process to alice's daemon: median %.1f ms, worst %.1f ms", ms(fromStart[10]), ms(fromStart[19]))
	t.Logf("from the end of the hook's process to alice's daemon: median %.1f ms, worst %.1f ms", ms(fromEnd[10]), ms(fromEnd[19]))
	if out := alice.must("peers"); !strings.Contains(out, "idle") {
		t.Errorf("alice's peers: %s", out)
	}
}
