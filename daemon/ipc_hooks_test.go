package daemon

import (
	"context"
	"os/exec"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

// agents are alice's daemon, and bob's with one session whose process the test owns.
type agents struct {
	t          *testing.T
	alice, bob *testDaemon
	pid        int
	ahead      *atomic.Int64 // ns that bob's clock is ahead
	made       *enrol.Created
}

func newAgents(t *testing.T) *agents {
	b, alicesHome, bobsHome := newBroker(t), newHome(t), newHome(t)
	made := create(t, alicesHome, b, "acme", "alice")
	alice := startDaemon(t, alicesHome)
	alice.wantState("acme", protocol.ConnOpen)
	if _, err := join(bobsHome, alice.link("acme", 1).Link, "bob"); err != nil {
		t.Fatal(err)
	}
	ahead := new(atomic.Int64)
	bob := startDaemon(t, bobsHome, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) } })
	bob.wantState("acme", protocol.ConnOpen)
	owner := exec.Command("sleep", "600")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { owner.Process.Kill(); owner.Wait() })
	return &agents{t, alice, bob, owner.Process.Pid, ahead, made}
}

func (a *agents) hook(event, session string, more ...func(*protocol.HookRequest)) protocol.HookReply {
	a.t.Helper()
	req := protocol.HookRequest{Event: event, Session: protocol.SessionRequest{ID: session, PID: a.pid, Cwd: "/src/api"}}
	for _, f := range more {
		f(&req)
	}
	out, err := a.bob.Hook(a.t.Context(), req)
	if err != nil {
		a.t.Fatalf("hook %s: %v", event, err)
	}
	return out
}

// send brings a message of alice's to bob's daemon and returns its id.
func (a *agents) send(to, body, priority string) string {
	a.t.Helper()
	var sent protocol.SendResult
	until(a.t, "alice reaches "+to, func() bool {
		var err error
		sent, err = a.alice.Send(a.t.Context(), protocol.SendRequest{To: to, Body: body, Priority: priority, WaitMS: 10_000, WaitFor: protocol.StateDelivered})
		return err == nil
	})
	if sent.State != protocol.StateDelivered {
		a.t.Fatalf("sent: %+v", sent)
	}
	return sent.ID
}

func (a *agents) take(c *client.Client, session, rung string, more ...func(*protocol.TakeRequest)) protocol.TakeReply {
	a.t.Helper()
	req := protocol.TakeRequest{Session: session, Rung: rung}
	for _, f := range more {
		f(&req)
	}
	out, err := c.Take(a.t.Context(), req)
	if err != nil {
		a.t.Fatalf("take by %s: %v", rung, err)
	}
	return out
}

func (a *agents) status(session string) string {
	a.t.Helper()
	all, err := a.bob.Sessions(a.t.Context())
	if err != nil {
		a.t.Fatal(err)
	}
	for _, s := range all {
		if s.ID == session {
			return s.Status
		}
	}
	return ""
}

func bodies(messages []protocol.InboxMessage) (all []string) {
	for _, m := range messages {
		all = append(all, m.Body)
	}
	return all
}

func TestHooksFollowTheTurn(t *testing.T) {
	a := newAgents(t)
	if out := a.hook(protocol.HookSessionStart, "s1"); out.Session.Label != "api" || len(out.Meshes) != 1 || out.Meshes[0].Name != "bob" {
		t.Errorf("start: %+v", out)
	}
	for _, step := range []struct{ event, want string }{
		{protocol.HookSessionStart, protocol.StatusIdle}, {protocol.HookPrompt, protocol.StatusWorking},
		{protocol.HookToolUse, protocol.StatusWorking}, {protocol.HookStop, protocol.StatusIdle},
	} {
		a.hook(step.event, "s1")
		if got := a.status("s1"); got != step.want {
			t.Errorf("after %s: %s, want %s", step.event, got, step.want)
		}
	}
	until(t, "alice sees bob's session idle", func() bool {
		peers, _ := a.alice.Peers(context.Background(), "")
		for _, p := range peers {
			if p.Session == "api" {
				return p.Status == protocol.StatusIdle
			}
		}
		return false
	})
	if err := a.bob.Presence(t.Context(), protocol.PresenceRequest{Session: "s1", Status: protocol.StatusDND}); err != nil {
		t.Fatal(err)
	}
	a.hook(protocol.HookPrompt, "s1")
	a.hook(protocol.HookStop, "s1")
	if got := a.status("s1"); got != protocol.StatusDND {
		t.Errorf("a hook changed dnd to %s", got)
	}
	a.hook(protocol.HookSessionEnd, "s1")
	if got := a.status("s1"); got != "" {
		t.Errorf("the session goes on after its end: %s", got)
	}
}

// Without anything that pushes, mail comes with the events of the turn: next with a prompt and at the end, now with a tool, low never.
func TestHooksBringMailWhereNothingElseDoes(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.send("bob/api", "one", protocol.PriorityNext)
	a.send("bob/api", "some day", protocol.PriorityLow)
	if out := a.hook(protocol.HookSessionStart, "s1"); len(out.Messages) != 0 {
		t.Errorf("at the start: %q", bodies(out.Messages))
	}
	out := a.hook(protocol.HookPrompt, "s1")
	if got := bodies(out.Messages); len(got) != 1 || got[0] != "one" {
		t.Fatalf("with the prompt: %q", got)
	}
	if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungHook, State: protocol.SettleShown, IDs: []string{out.Messages[0].ID}}); err != nil {
		t.Fatal(err)
	}
	a.send("bob/api", "two", protocol.PriorityNext)
	a.send("bob/api", "fire", protocol.PriorityNow)
	if got := bodies(a.hook(protocol.HookToolUse, "s1", func(r *protocol.HookRequest) { r.Quiet = true }).Messages); len(got) != 0 {
		t.Errorf("to a subagent: %q", got)
	}
	if got := bodies(a.hook(protocol.HookToolUse, "s1").Messages); len(got) != 1 || got[0] != "fire" {
		t.Errorf("with a tool: %q", got)
	}
	if got := bodies(a.hook(protocol.HookStop, "s1", func(r *protocol.HookRequest) { r.Active = true }).Messages); len(got) != 0 {
		t.Errorf("at the end of a turn that a stop hook made: %q", got)
	}
	if got := bodies(a.hook(protocol.HookStop, "s1").Messages); len(got) != 1 || got[0] != "two" {
		t.Errorf("at the end: %q", got)
	}
	if got := a.status("s1"); got != protocol.StatusWorking {
		t.Errorf("the turn goes on, but the status is %s", got)
	}
}

// A message that was pushed is shown when the prompt hook has seen it, and the sender learns by which way.
func TestPromptProvesShown(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	id := a.send("bob/api", "hello", protocol.PriorityNext)
	if got := bodies(a.take(a.bob.Client, "s1", protocol.RungSocket).Messages); len(got) != 1 {
		t.Fatalf("the socket got %q", got)
	}
	if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungSocket, State: protocol.SettlePushed, IDs: []string{id}}); err != nil {
		t.Fatal(err)
	}
	if got := bodies(a.hook(protocol.HookPrompt, "s1").Messages); len(got) != 0 {
		t.Errorf("the hook gives what the socket pushed: %q", got)
	}
	a.hook(protocol.HookPrompt, "s1", func(r *protocol.HookRequest) { r.Shown = []string{id} })
	until(t, "alice reads shown, by the socket", func() bool {
		sent, err := a.alice.Message(context.Background(), "", id)
		return err == nil && sent.State == protocol.StateShown && sent.Recipients[0].Rung == protocol.RungSocket && sent.Recipients[0].Proof == protocol.ProofPeer
	})
	if got := a.take(a.bob.Client, "s1", protocol.RungPull); len(got.Messages) != 0 || got.Unread != 0 {
		t.Errorf("a pull gets it again: %+v", got)
	}
	// A prompt that names what nobody gave to this session proves nothing.
	other := a.send("bob/api", "for later", protocol.PriorityLow)
	a.hook(protocol.HookPrompt, "s1", func(r *protocol.HookRequest) { r.Shown = []string{other} })
	if got := bodies(a.take(a.bob.Client, "s1", protocol.RungPull).Messages); len(got) != 1 {
		t.Errorf("a forged proof hides a message: %q", got)
	}
}

func TestAnswerProvesShown(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	id := a.send("bob/api", "hello?", protocol.PriorityNext)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungSocket, State: protocol.SettlePushed, IDs: []string{id}})
	if _, err := a.bob.Send(t.Context(), protocol.SendRequest{ReplyTo: id, Body: "yes", Session: "s1"}); err != nil {
		t.Fatal(err)
	}
	if got := a.take(a.bob.Client, "s1", protocol.RungPull); len(got.Messages) != 0 {
		t.Errorf("a pull gets what was answered: %q", bodies(got.Messages))
	}
}

// A background hook waits only where nothing better works, and only the newest.
func TestBackgroundHookWaits(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	waiter := func(n int64, ms int) func(*protocol.TakeRequest) {
		return func(r *protocol.TakeRequest) { r.Waiter, r.WaitMS = n, ms }
	}
	first := make(chan protocol.TakeReply, 1)
	go func() {
		out, _ := a.bob.Take(context.Background(), protocol.TakeRequest{Session: "s1", Rung: protocol.RungRewake, Waiter: 1, WaitMS: 20_000})
		first <- out
	}()
	until(t, "the first one waits", func() bool { return a.bob.give.Rungs.Of("s1", a.bob.cfg.Now()).Pushable() })
	if out := a.take(a.bob.Client, "s1", protocol.RungRewake, waiter(2, 0)); out.Replaced {
		t.Error("the newer one is sent away")
	}
	if out := <-first; !out.Replaced {
		t.Errorf("the older one: %+v", out)
	}
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	a.send("bob/api", "hello", protocol.PriorityNext)
	if out := a.take(a.bob.Client, "s1", protocol.RungRewake, waiter(2, 0)); len(out.Messages) != 0 {
		t.Errorf("given to the hook while the socket works: %q", bodies(out.Messages))
	}
	got := a.take(a.bob.Client, "s1", protocol.RungSocket)
	if len(got.Messages) != 1 {
		t.Fatalf("the socket got %q", bodies(got.Messages))
	}
	if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungSocket, State: protocol.SettleReturned, IDs: []string{got.Messages[0].ID}}); err != nil {
		t.Fatal(err)
	}
	if out := a.take(a.bob.Client, "s1", protocol.RungRewake, waiter(2, 0)); len(out.Messages) != 1 {
		t.Error("what the socket gave back does not fall to the hook")
	}
}

// After /clear the process goes on under another id. Its tool server does not know, and must not bring the old one back.
func TestToolServerFollowsClear(t *testing.T) {
	a := newAgents(t)
	old := protocol.SessionRequest{ID: "s1", PID: a.pid, Cwd: "/src/api", Follow: true}
	first, err := a.bob.Register(t.Context(), old)
	if err != nil || first.ID != "s1" {
		t.Fatalf("%+v %v", first, err)
	}
	until(t, "alice sees the session", func() bool {
		peers, _ := a.alice.Peers(t.Context(), "")
		return slices.ContainsFunc(peers, func(p protocol.PeerInfo) bool { return p.Pubkey == first.Pubkey })
	})
	a.hook(protocol.HookSessionStart, "s2")
	if info, err := a.bob.Register(t.Context(), old); err != nil || info.ID != "s2" {
		t.Errorf("after clear: %+v %v", info, err)
	}
	if _, err := a.bob.Send(t.Context(), protocol.SendRequest{To: "alice", Body: "hi", Session: "s1"}); err != nil {
		t.Errorf("send under the old id: %v", err)
	}
	a.send(first.Pubkey, "on its way when the session was cleared", protocol.PriorityNow)
	if mail := a.take(a.bob.Client, "s2", protocol.RungSocket).Messages; len(mail) != 1 {
		t.Errorf("the session that goes on got %q", bodies(mail))
	}
	a.hook(protocol.HookSessionStart, "s1") // resumed
	if again, err := a.bob.Register(t.Context(), old); err != nil || again.ID != "s1" || again.Pubkey != first.Pubkey || again.Label != first.Label {
		t.Errorf("a resumed session is another: %+v, was %+v, %v", again, first, err)
	}
}

func TestBypassHoldsNewSenders(t *testing.T) {
	a := newAgents(t)
	yes := true
	a.hook(protocol.HookPrompt, "s1", func(r *protocol.HookRequest) { r.Session.Bypass = &yes })
	a.bob.Register(t.Context(), protocol.SessionRequest{ID: "s1", PID: a.pid, Follow: true}) // who does not know changes nothing
	a.send("bob/api", "run this", protocol.PriorityNow)
	if out := a.take(a.bob.Client, "s1", protocol.RungPull); len(out.Messages) != 0 || out.Held != 1 {
		t.Errorf("a new sender reaches a session in bypass mode: %+v", out)
	}
	if err := a.bob.Accept(t.Context(), "", "alice"); err != nil {
		t.Fatal(err)
	}
	if out := a.take(a.bob.Client, "s1", protocol.RungPull); len(out.Messages) != 1 || out.Held != 0 {
		t.Errorf("after accepting: %+v", out)
	}
}

func TestAnswersNameTheirQuestion(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	asked, err := a.bob.Send(t.Context(), protocol.SendRequest{To: "*", Body: "who owns the queue?", Kind: protocol.KindQuestion, Session: "s1", WaitMS: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "alice has the question", func() bool {
		_, err := a.alice.Send(context.Background(), protocol.SendRequest{ReplyTo: asked.ID, Body: "I do", WaitMS: 10_000})
		return err == nil
	})
	out := a.take(a.bob.Client, "s1", protocol.RungPull)
	if len(out.Messages) != 1 || out.Messages[0].Question != asked.ID {
		t.Errorf("%+v", out.Messages)
	}
}

func TestStatusLine(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.send("bob/api", "hello", protocol.PriorityNext)
	want := protocol.StatusLine{Mesh: "acme", State: protocol.ConnOpen, Online: 2, Members: 2, Unread: 1}
	if got, err := a.bob.StatusLine(t.Context(), "s1"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
	empty := startDaemon(t, newHome(t))
	if got, err := empty.StatusLine(t.Context(), ""); err != nil || got.Mesh != "" {
		t.Errorf("no mesh: %+v %v", got, err)
	}
}

// What was pushed to an idle session that shows nothing of it falls to the next way, marked, and the silent way is not used until it proves itself.
func TestSilentWayGivesWay(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	id := a.send("bob/api", "hello?", protocol.PriorityNext)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	pushed := protocol.SettleRequest{Session: "s1", Rung: protocol.RungSocket, State: protocol.SettlePushed, IDs: []string{id}}
	if err := a.bob.Settle(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}
	rewake := func() []protocol.InboxMessage {
		return a.take(a.bob.Client, "s1", protocol.RungRewake, func(r *protocol.TakeRequest) { r.Waiter = 1 }).Messages
	}
	if got := rewake(); len(got) != 0 {
		t.Fatalf("given twice at once: %q", bodies(got))
	}
	a.ahead.Store(int64(delivery.ProvedWithin))
	got := rewake()
	if len(got) != 1 || !slices.Contains(got[0].Flags, "again") {
		t.Fatalf("after %v: %+v", delivery.ProvedWithin, got)
	}
	a.send("bob/api", "and this?", protocol.PriorityNext)
	if got := a.take(a.bob.Client, "s1", protocol.RungSocket); len(got.Messages) != 0 {
		t.Error("the silent way is used again")
	}
	if got := rewake(); len(got) != 1 || slices.Contains(got[0].Flags, "again") {
		t.Errorf("the next way: %+v", got)
	}
}

// Bob's daemon dies after it marked a message as taken, before the answer reached the session's tool server. When the server asks again, the
// message comes first, marked; another way of delivery still waits until the first one is surely dead.
func TestTakenAndNeverReceived(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	a.send("bob/api", "first", protocol.PriorityNow)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	a.send("bob/api", "second", protocol.PriorityNow)
	mail := a.take(a.bob.Client, "s1", protocol.RungSocket).Messages
	if got := bodies(mail); !slices.Equal(got, []string{"first", "second"}) {
		t.Fatalf("the tool server asks again and gets %q", got)
	}
	if !slices.Contains(mail[0].Flags, "again") || slices.Contains(mail[1].Flags, "again") {
		t.Errorf("marked as given before: %v, %v", mail[0].Flags, mail[1].Flags)
	}
	if got := bodies(a.take(a.bob.Client, "s1", protocol.RungPull).Messages); len(got) != 0 {
		t.Errorf("the pull gets what is under way: %q", got)
	}
}
