package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/protocol"
)

// client332 writes the file in which Claude Code keeps the status of bob's session.
func client332(t *testing.T, file, status string, since time.Time) {
	t.Helper()
	text := fmt.Sprintf(`{"pid":1,"sessionId":"s1","version":"2.1.332","status":%q,"statusUpdatedAt":%d}`, status, since.UnixMilli())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Bob's session asks him for a permission: he and alice read that it waits, whatever asks and however the waiting ends.
func TestSessionWaitsForItsHuman(t *testing.T) {
	a := newAgents(t)
	file := filepath.Join(t.TempDir(), "1.json")
	waits := func(r *protocol.HookRequest) { r.Waits, r.File = true, file }
	becomes := func(what, want string) {
		t.Helper()
		until(t, what, func() bool { return a.status("s1") == want })
	}
	a.hook(protocol.HookSessionStart, "s1")
	a.hook(protocol.HookPrompt, "s1")
	client332(t, file, "busy", time.Now().Add(-time.Hour)) // the dialog is not open yet
	a.hook(protocol.HookPermission, "s1", waits)
	becomes("the request", protocol.StatusWaiting)
	until(t, "alice sees that bob's session waits for him", func() bool {
		peers, _ := a.alice.Peers(t.Context(), "")
		for _, p := range peers {
			if p.Session == "api" {
				return p.Status == protocol.StatusWaiting
			}
		}
		return false
	})
	line, err := a.bob.StatusLine(t.Context(), "another")
	if err != nil || len(line.Waiting) != 1 || line.Waiting[0] != "api" || !line.Unknown {
		t.Errorf("the status line of another session: %v %+v", err, line)
	}
	if line, err := a.bob.StatusLine(t.Context(), "s1"); err != nil || len(line.Waiting) != 0 || line.Unknown {
		t.Errorf("the status line of the session: %v %+v", err, line)
	}

	// Mail for the end of the turn does not come meanwhile.
	a.send("bob/api", "when you are free", protocol.PriorityNext)
	if got := a.take(a.bob.Client, "s1", protocol.RungSocket); len(got.Messages) != 0 {
		t.Errorf("a session that waits was given %q", bodies(got.Messages))
	}

	// He allows it, and the tool runs for an hour: only the client's file tells. Then it asks again, and he refuses: no hook tells that either.
	client332(t, file, "waiting", time.Now().Add(time.Second))
	client332(t, file, "busy", time.Now().Add(2*time.Second))
	becomes("it was allowed", protocol.StatusWorking)
	a.hook(protocol.HookNotification, "s1", waits, func(r *protocol.HookRequest) { r.Quiet = true }) // a subagent asks
	becomes("a subagent's request", protocol.StatusWaiting)
	client332(t, file, "idle", time.Now().Add(time.Minute))
	becomes("it was refused", protocol.StatusIdle)

	// Without the file the next event tells.
	waits = func(r *protocol.HookRequest) { r.Waits = true }
	a.hook(protocol.HookPermission, "s1", waits)
	becomes("a client without the file", protocol.StatusWaiting)
	a.hook(protocol.HookToolUse, "s1", func(r *protocol.HookRequest) { r.Quiet = true })
	becomes("a tool ran", protocol.StatusWorking)
	a.hook(protocol.HookPermission, "s1", waits)
	a.ahead.Store(int64(delivery.QuietFor + time.Minute))
	becomes("nothing was heard for long", protocol.StatusIdle)
	a.hook(protocol.HookPrompt, "s1")
	a.hook(protocol.HookNotification, "s1", func(r *protocol.HookRequest) { r.Idle = true })
	becomes("the client waits for a prompt", protocol.StatusIdle)

	// It is not set by hand, and dnd stays.
	err = a.bob.Presence(t.Context(), protocol.PresenceRequest{Session: "s1", Status: protocol.StatusWaiting})
	daemontest.WantRefusal(t, err, protocol.CodeInvalid)
	if err := a.bob.Presence(t.Context(), protocol.PresenceRequest{Session: "s1", Status: protocol.StatusDND}); err != nil {
		t.Fatal(err)
	}
	a.hook(protocol.HookPermission, "s1", waits)
	if got := a.status("s1"); got != protocol.StatusDND {
		t.Errorf("a request changed dnd to %s", got)
	}
}
