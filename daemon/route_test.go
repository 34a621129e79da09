package daemon

import (
	"context"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// Alice is in acme with bob and in other with cathy; later dan joins both. A message finds the mesh on which its recipient
// lives, and is never guessed onto one of two.
func TestRoute(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	create(t, home, b, "acme", "alice")
	create(t, home, b, "other", "alice")
	alice := startDaemon(t, home)
	alice.wantState("acme", protocol.ConnOpen)
	alice.wantState("other", protocol.ConnOpen)
	for name, slugs := range map[string][]string{"bob": {"acme"}, "cathy": {"other"}, "dan": {"acme", "other"}} {
		theirs := newHome(t)
		for _, slug := range slugs {
			if joined, err := join(theirs, alice.link(slug, 1).Link, name); err != nil || joined.Trust != protocol.TrustVerified {
				t.Fatal(name, joined, err)
			}
		}
	}
	until(t, "alice knows all", func() bool {
		list, err := alice.Members(context.Background(), "")
		return err == nil && len(list) == 6
	})
	sent := func(req protocol.SendRequest) (string, error) {
		req.Body = "hi"
		res, err := alice.Send(context.Background(), req)
		return res.Mesh, err
	}
	for name, want := range map[string]string{"bob": "acme", "cathy": "other"} {
		if mesh, err := sent(protocol.SendRequest{To: name}); err != nil || mesh != want {
			t.Errorf("to %s: on %q, %v", name, mesh, err)
		}
	}
	_, err := sent(protocol.SendRequest{To: "dan"})
	if e := wantCode(t, "to dan", err, protocol.CodeAmbiguous); !slices.Equal(e.Names, []string{"acme", "other"}) {
		t.Errorf("choices %q", e.Names)
	}
	if mesh, err := sent(protocol.SendRequest{To: "dan", Mesh: "other"}); err != nil || mesh != "other" {
		t.Errorf("to dan on other: on %q, %v", mesh, err)
	}
	_, err = sent(protocol.SendRequest{To: "bob", Mesh: "other"})
	wantCode(t, "to bob on other", err, protocol.CodeNotFound)
	_, err = sent(protocol.SendRequest{To: "bobb"})
	if e := wantCode(t, "to bobb", err, protocol.CodeNotFound); !slices.Contains(e.Names, "bob on acme") {
		t.Errorf("near names %q", e.Names)
	}
	_, err = sent(protocol.SendRequest{To: "*"})
	wantCode(t, "to all, of which mesh", err, protocol.CodeAmbiguous)
	update(t, home, func(c *config.Config) { c.DefaultMesh = "other" })
	until(t, "other is the default", func() bool { m, err := alice.One(""); return err == nil && m.Slug() == "other" })
	if mesh, err := sent(protocol.SendRequest{To: "*"}); err != nil || mesh != "other" {
		t.Errorf("to all: on %q, %v", mesh, err)
	}
}

// Waiting is bounded by what the request says, and the answer is the state that was reached.
func TestSendWaits(t *testing.T) {
	b, alicesHome, bobsHome := newBroker(t), newHome(t), newHome(t)
	create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	if _, err := join(bobsHome, alice.link("acme", 1).Link, "bob"); err != nil {
		t.Fatal(err)
	}
	until(t, "alice knows bob", func() bool {
		list, err := alice.Members(context.Background(), "acme")
		return err == nil && len(list) == 2
	})
	send := func(wait int, want protocol.State) protocol.SendResult {
		t.Helper()
		res, err := alice.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hi", WaitMS: wait, WaitFor: want})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := send(100, protocol.StateDelivered); res.State.Rank() >= protocol.StateDelivered.Rank() {
		t.Errorf("delivered to a machine that is off: %+v", res)
	}
	bob := startDaemon(t, bobsHome)
	if res := send(10000, protocol.StateDelivered); res.State != protocol.StateDelivered {
		t.Errorf("not delivered: %+v", res)
	}
	if list, err := bob.Inbox(context.Background(), protocol.InboxQuery{}); err != nil || len(list) != 2 || list[0].Body != "hi" || list[0].From.Name != "alice" {
		t.Errorf("inbox %+v, %v", list, err)
	}
}
