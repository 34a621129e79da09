package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

func (a *agents) held(session string) []protocol.HeldSender {
	a.t.Helper()
	out, err := a.bob.Held(a.t.Context(), protocol.HeldRequest{Session: session})
	if err != nil {
		a.t.Fatal(err)
	}
	return out.Senders
}

// A session learns whose messages wait for its user: what would come in front of it now, and nothing else.
func TestHeldSenders(t *testing.T) {
	a := newAgents(t)
	yes := true
	a.hook(protocol.HookSessionStart, "s1", func(r *protocol.HookRequest) { r.Session.Bypass = &yes })
	a.send("bob/api", "some day", protocol.PriorityLow)
	if got := a.held("s1"); len(got) != 0 {
		t.Errorf("the user is bothered with what nobody would see yet: %+v", got)
	}
	a.hook(protocol.HookPrompt, "s1")
	a.send("bob/api", "after the turn", protocol.PriorityNext)
	if got := a.held("s1"); len(got) != 0 {
		t.Errorf("the user is bothered in the middle of a turn: %+v", got)
	}
	a.hook(protocol.HookStop, "s1")
	got := a.held("s1")
	if len(got) != 1 || got[0].Name != "alice" || got[0].Mesh != "acme" || got[0].Trust != protocol.TrustVerified || got[0].Messages != 1 || got[0].Why == "" {
		t.Fatalf("held: %+v", got)
	}
	alice, err := a.alice.WhoAmI(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if me := alice[0]; got[0].Pubkey != me.Pubkey || got[0].Fingerprint != me.Fingerprint {
		t.Errorf("held %+v, alice is %+v", got[0], me)
	}
	a.send("bob", "for anybody of bob's", protocol.PriorityNow)
	if got := a.held("s1"); got[0].Messages != 2 {
		t.Errorf("a message for the member: %+v", got)
	}
	known := got[0].Pubkey
	answered := make(chan protocol.HeldReply, 1)
	go func() { // waits for news
		out, _ := a.bob.Held(t.Context(), protocol.HeldRequest{Session: "s1", Known: []string{known}, WaitMS: 20_000})
		answered <- out
	}()
	if err := a.bob.Accept(t.Context(), "acme", known); err != nil {
		t.Fatal(err)
	}
	if out := <-answered; len(out.Senders) != 0 {
		t.Errorf("held after the user's word: %+v", out)
	}
}
