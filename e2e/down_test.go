//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// Who stops his daemon is offline at once, and what is sent to him says so; a daemon that was killed is expected back.
func TestStoppedIsOfflineKilledIsNot(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	online := func() bool {
		var members []struct {
			Name   string
			Online bool
		}
		alice.json(&members, "members")
		for _, m := range members {
			if m.Name == "bob" {
				return m.Online
			}
		}
		t.Fatal("bob is no member")
		return false
	}
	eventually(t, "bob is online", online)
	bob.kill()
	if !online() {
		t.Error("bob left in the moment in which his daemon was killed")
	}
	bob.startDaemon()
	bob.must("daemon", "down")
	eventually(t, "bob is offline", func() bool { return !online() })
	if out := alice.must("send", "bob", "see this when you are back"); !strings.HasPrefix(out, "queued for bob: offline, last seen") || !strings.Contains(out, "kept 7 days") {
		t.Errorf("send: %s", out)
	}
}
