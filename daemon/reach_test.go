package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Alice is told whether anybody is there to answer her: bob's daemon alone keeps messages and answers pings, and nobody reads.
func TestDaemonAloneIsNoSession(t *testing.T) {
	a := newAgents(t)
	// want sends a message and waits until alice's daemon has heard who is there.
	want := func(to, presence string, canAnswer, ended bool) {
		t.Helper()
		id := a.send(to, "anybody?", protocol.PriorityNext)
		var got protocol.RecipientResult
		until(t, to+" is "+presence, func() bool {
			got = a.sent(id).Recipients[0]
			return got.Presence == presence && got.CanAnswer == canAnswer && got.SessionEnded == ended
		})
		if !got.Online {
			t.Errorf("%s, and not online: %+v", presence, got)
		}
	}
	peer := func() protocol.PeerInfo {
		t.Helper()
		peers, err := a.alice.Peers(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			if p.Name == "bob" {
				return p
			}
		}
		return protocol.PeerInfo{}
	}
	member := func() protocol.MemberInfo {
		t.Helper()
		members, err := a.alice.Members(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			if m.Name == "bob" {
				return m
			}
		}
		return protocol.MemberInfo{}
	}
	want("bob", protocol.PresenceNoSession, false, false)
	if p := peer(); p.Status != protocol.PresenceNoSession || p.Presence != protocol.PresenceNoSession || p.Session != "" {
		t.Errorf("in peers: %+v", p)
	}
	if m := member(); !m.Online || m.Presence != protocol.PresenceNoSession || m.CanAnswer {
		t.Errorf("in members: %+v", m)
	}
	if p, err := a.alice.Ping(t.Context(), protocol.PingRequest{To: "bob"}); err != nil || !p.OK || p.Presence != protocol.PresenceNoSession || p.CanAnswer {
		t.Errorf("ping: %+v %v", p, err)
	}

	pid, end := a.process()
	a.session("s1", "api", pid)
	want("bob/api", protocol.PresenceSession, true, false)
	want("bob", protocol.PresenceSession, true, false)
	if p := peer(); p.Session != "api" || p.Presence != protocol.PresenceSession || p.Status == protocol.PresenceNoSession {
		t.Errorf("in peers: %+v", p)
	}
	if m := member(); m.Presence != protocol.PresenceSession || !m.CanAnswer {
		t.Errorf("in members: %+v", m)
	}
	if err := a.bob.Presence(t.Context(), protocol.PresenceRequest{Session: "s1", Status: protocol.StatusDND}); err != nil {
		t.Fatal(err)
	}
	want("bob/api", protocol.PresenceSession, false, false)

	key := peer().Pubkey
	other, _ := a.process()
	a.session("s2", "web", other)
	end()
	a.gone("s1")
	want(key, protocol.PresenceSession, true, true) // the session ended, and bob's other one gets it
	a.hook(protocol.HookSessionEnd, "s2")
	want(key, protocol.PresenceNoSession, false, true)
	if err := a.bob.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := a.sendLater("bob", "later")
	until(t, "bob is offline", func() bool { return a.sent(id).Recipients[0].Presence == protocol.PresenceOffline })
}

// sendLater sends without waiting for anybody.
func (a *agents) sendLater(to, body string) string {
	a.t.Helper()
	sent, err := a.alice.Send(a.t.Context(), protocol.SendRequest{To: to, Body: body})
	if err != nil {
		a.t.Fatal(err)
	}
	return sent.ID
}
