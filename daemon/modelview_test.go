package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/api"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// sayOfThemselves starts a session of c's owner that says much of itself, with a mark in each. A
// summary would come with a second card, for which a broker takes its time.
func sayOfThemselves(t *testing.T, c *client.Client, mark string) {
	t.Helper()
	pid := os.Getpid()
	if _, err := c.Register(t.Context(), protocol.SessionRequest{ID: mark + "-id", Name: mark + "-label", PID: pid, Cwd: "/" + mark + "-cwd", Model: mark + "-model"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Presence(t.Context(), protocol.PresenceRequest{Session: mark + "-id", Join: []string{mark + "-group"}}); err != nil {
		t.Fatal(err)
	}
}

// modelReads is all that the tools and hooks of bob's session give its model of others, whose
// messages aside.
func (a *agents) modelReads(bypass bool) string {
	a.t.Helper()
	out := []any{a.hook(protocol.HookSessionStart, "s1", func(r *protocol.HookRequest) { r.Session.Bypass = &bypass })}
	add := func(v any, err error) {
		a.t.Helper()
		if e, refused := errors.AsType[*protocol.Error](err); refused {
			v = e
		} else if err != nil {
			a.t.Fatal(err)
		}
		out = append(out, v)
	}
	ctx := a.t.Context()
	add(a.bob.PeersFor(ctx, "s1", ""))
	add(a.bob.MembersFor(ctx, "s1", ""))
	add(a.bob.StatusLine(ctx, "s1"))
	for _, to := range []string{"alicf", "alice/nobody", "evik", "evik/web", "@grup"} { // each is answered with what could have been meant
		_, err := a.bob.Send(ctx, protocol.SendRequest{To: to, Body: "hi", Session: "s1"})
		if err == nil {
			a.t.Errorf("%s is somebody", to)
		}
		add(nil, err)
	}
	for _, key := range a.keysOf("alice", "evil-name") {
		add(a.bob.Send(ctx, protocol.SendRequest{To: key, Body: "hi", Session: "s1"}))
	}
	for _, event := range []string{protocol.HookPrompt, protocol.HookToolUse, protocol.HookStop} {
		add(a.hook(event, "s1", func(r *protocol.HookRequest) { r.Session.Bypass = &bypass }), nil)
	}
	add(a.bob.Take(ctx, protocol.TakeRequest{Session: "s1", Rung: protocol.RungPull}))
	b, err := json.Marshal(out)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// adminsLink is a link that admits nobody by itself.
func (a *agents) adminsLink() string {
	a.t.Helper()
	owner, err := config.ReadOwnerKey(a.made.OwnerKeyFile)
	if err != nil {
		a.t.Fatal(err)
	}
	seed := [crypto.SeedSize]byte(crypto.RandomBytes(crypto.SeedSize))
	s, err := protocol.Sign(&protocol.Invite{
		Mesh: owner.MeshID, Issuer: owner.Public, Link: crypto.KeyFromSeed(seed).Public(), Role: protocol.RoleAdmin, Uses: 1,
		Expires: time.Now().Add(time.Hour).Unix(), URL: a.made.Membership.BrokerURL, Owner: owner.Public,
	}, owner.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.alice.CreateInvite(a.t.Context(), protocol.InviteRequest{Mesh: "acme", Signed: s.Text()}); err != nil {
		a.t.Fatal(err)
	}
	return protocol.MakeLink(s, seed)
}

// keysOf are the keys of the sessions of these people, as bob sees them.
func (a *agents) keysOf(names ...string) (keys []string) {
	a.t.Helper()
	peers, err := a.bob.Peers(a.t.Context(), "")
	if err != nil {
		a.t.Fatal(err)
	}
	for _, p := range peers {
		if slices.Contains(names, p.Name) {
			keys = append(keys, p.Pubkey)
		}
	}
	return keys
}

// A stranger holds a link and is not admitted; what he says of himself reaches no model. What alice
// says, who is verified, reaches that of a session that asks its user, and not that of one which
// runs without permission prompts, until bob has accepted her. People see all of it.
func TestModelsReadOfPeopleWhatTheyMay(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	home := newHome(t)
	_, err := enrol.Join(t.Context(), enrol.JoinOptions{Home: home, Link: a.adminsLink(), Name: "evil-name", WaitVerified: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	evil := startDaemon(t, home)
	evil.wantState("acme", protocol.ConnOpen)
	sayOfThemselves(t, a.alice.Client, "alices")
	sayOfThemselves(t, evil.Client, "evil")
	until(t, "bob sees both", func() bool {
		peers, err := a.bob.Peers(t.Context(), "")
		b, _ := json.Marshal(peers)
		return err == nil && strings.Contains(string(b), "alices-cwd") && strings.Contains(string(b), "evil-label")
	})
	if _, err := evil.Send(t.Context(), protocol.SendRequest{To: "bob", Body: "evil-text"}); err != nil {
		t.Fatal(err)
	}
	until(t, "bob holds the stranger's message", func() bool {
		all, err := a.bob.Inbox(t.Context(), protocol.InboxQuery{All: true})
		return err == nil && len(all) == 1 && all[0].Held != "" && all[0].Body == "evil-text"
	})
	if line, err := a.bob.StatusLine(t.Context(), "s1"); err != nil || line.Members != 2 || line.Online != 2 || line.Held != 1 {
		t.Errorf("the status line counts a stranger: %+v, %v", line, err)
	}
	check := func(what string, bypass, alices bool) {
		t.Helper()
		got := a.modelReads(bypass)
		if strings.Contains(got, "evil-") {
			t.Errorf("%s: a stranger's words: %s", what, got)
		}
		for _, mark := range []string{"alices-label", "alices-group", "alices-cwd", "alices-model"} {
			if strings.Contains(got, mark) != alices {
				t.Errorf("%s: %s is there: %t in %s", what, mark, !alices, got)
			}
		}
		if !strings.Contains(got, `"name":"alice"`) {
			t.Errorf("%s: nobody is named: %s", what, got)
		}
		if strings.Contains(got, "alices-text") != (bypass && alices) {
			t.Errorf("%s: her message is there: %t in %s", what, bypass && !alices, got)
		}
	}
	check("a session that asks", false, true)
	a.send("bob/api", "alices-text", protocol.PriorityNow)
	check("a session that does not ask", true, false)
	if err := a.bob.Accept(t.Context(), "", "alice"); err != nil {
		t.Fatal(err)
	}
	check("after bob's word", true, true)
}

// A refusal's reason and what a memory answers are the peer's own words as well.
func TestModelsReadReasonsAndAnswersOfThoseAccepted(t *testing.T) {
	a := newAgents(t)
	bobs, alice := a.bob.Daemon.Meshes()[0], a.alice.Daemon.Meshes()[0].Self()
	until(t, "bob knows alice", func() bool { return bobs.Trust().View().Verified(alice) })
	stranger := crypto.GenerateKey().Public()
	res := protocol.SendResult{ID: "id", Recipients: []protocol.RecipientResult{
		{Name: "alice", Session: "web", Pubkey: alice.String(), State: protocol.StateDead, Proof: protocol.ProofPeer, Reason: "refused: run this"},
		{Name: "frank", Pubkey: stranger.String(), State: protocol.StateDead, Proof: protocol.ProofPeer, Reason: "refused: run that"},
	}}
	reply := protocol.AskReply{
		Answers: []protocol.AskAnswer{{From: "alice", Pubkey: alice.String(), Text: "run this"}, {From: "frank", Pubkey: stranger.String(), Text: "run that"}},
		Offers:  []protocol.AskOffer{{From: "alice", Pubkey: alice.String(), Title: "run this"}},
	}
	accepted := map[api.AcceptedKey]bool{{Mesh: bobs.ID(), Member: alice}: true}
	for _, c := range []struct {
		what   string
		view   *api.ModelView
		alices bool
	}{
		{"a session that asks", &api.ModelView{}, true},
		{"a session that does not ask", &api.ModelView{Bypass: true}, false},
		{"after bob's word", &api.ModelView{Bypass: true, Accepted: accepted}, true},
	} {
		asked := reply
		asked.Answers, asked.Offers = slices.Clone(reply.Answers), slices.Clone(reply.Offers)
		asked = c.view.Asked([]*mesh.Mesh{bobs}, asked)
		b, err := json.Marshal([]any{c.view.Sent(bobs, res), asked})
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b); strings.Contains(got, "run this") != c.alices || strings.Contains(got, "web") != c.alices ||
			strings.Contains(got, "run that") || strings.Contains(got, "frank") || len(asked.Answers)+len(asked.Offers)+asked.Held != 3 {
			t.Errorf("%s: %s", c.what, got)
		}
	}
	var person *api.ModelView
	if got := person.Sent(bobs, res); got.Recipients[1].Reason != "refused: run that" || person.Asked(nil, reply).Answers[1].Text != "run that" {
		t.Errorf("a person reads %+v", got)
	}
}
