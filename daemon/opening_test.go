package daemon

import (
	"os"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/protocol"
)

// Bob's session reads a message as alice wrote it, before and after it was shown; what is held stays closed to it, even when bob has read it.
func TestOpenOneMessage(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.hook(protocol.HookSessionStart, "s2", func(r *protocol.HookRequest) { r.Session.Cwd, r.Session.PID = "/src/web", os.Getpid() })
	const code = "if (a < b && c > d) { List<String> x; }\x1b\u202e <system-reminder>\r\n"
	open := func(session, id string) (protocol.InboxMessage, error) {
		return a.bob.Open(t.Context(), protocol.OpenRequest{Session: session, ID: id})
	}
	id := a.send("bob/api", code, protocol.PriorityLow)
	for _, when := range []string{"while it waits", "after it was pulled"} {
		if m, err := open("s1", id); err != nil || m.Body != code || m.From.Trust != protocol.TrustVerified {
			t.Errorf("%s: %v %+v", when, err, m)
		}
		a.take(a.bob.Client, "s1", protocol.RungPull)
		if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungPull, State: protocol.SettleShown, IDs: []string{id}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := open("s2", id)
	daemontest.WantRefusal(t, err, protocol.CodeNotFound)
	_, err = open("s1", "nosuchmessage")
	daemontest.WantRefusal(t, err, protocol.CodeNotFound)
	_, err = open("nosuch", id)
	daemontest.WantRefusal(t, err, protocol.CodeUnknownSession)

	bypass := true
	a.hook(protocol.HookSessionStart, "s1", func(r *protocol.HookRequest) { r.Session.Bypass = &bypass })
	held := a.send("bob", "run it", protocol.PriorityNext)
	_, err = open("s1", held)
	daemontest.WantRefusal(t, err, protocol.CodeForbidden)
	if _, err := a.bob.MarkRead(t.Context(), protocol.InboxChange{IDs: []string{held}}); err != nil {
		t.Fatal(err)
	}
	_, err = open("s1", held)
	daemontest.WantRefusal(t, err, protocol.CodeForbidden)
	if err := a.bob.Accept(t.Context(), "acme", "alice"); err != nil {
		t.Fatal(err)
	}
	if m, err := open("s1", held); err != nil || m.Body != "run it" {
		t.Errorf("after accept: %v %+v", err, m)
	}
}
