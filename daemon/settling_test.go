package daemon

import (
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// process is a program of bob's that a session can live in; end kills it.
func (a *agents) process() (pid int, end func()) {
	a.t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ended := false
	end = func() {
		if !ended {
			ended = true
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
	a.t.Cleanup(end)
	return cmd.Process.Pid, end
}

// session starts a session of bob's in a process.
func (a *agents) session(id, label string, pid int) {
	a.t.Helper()
	a.hook(protocol.HookSessionStart, id, func(r *protocol.HookRequest) { r.Session.PID, r.Session.Name = pid, label })
}

// gone waits until bob's daemon knows that a session has ended.
func (a *agents) gone(session string) {
	a.t.Helper()
	until(a.t, session+" has ended", func() bool { return a.status(session) == "" })
}

func (a *agents) settle(session, rung, state string, ids ...string) {
	a.t.Helper()
	if err := a.bob.Settle(a.t.Context(), protocol.SettleRequest{Session: session, Rung: rung, State: state, IDs: ids}); err != nil {
		a.t.Fatalf("settle %s %s: %v", rung, state, err)
	}
}

// unseen are bob's messages that no person saw, by their text.
func (a *agents) inbox(q protocol.InboxQuery) map[string]protocol.InboxMessage {
	a.t.Helper()
	list, err := a.bob.Inbox(a.t.Context(), q)
	if err != nil {
		a.t.Fatal(err)
	}
	found := make(map[string]protocol.InboxMessage)
	for _, m := range list {
		found[m.Body] = m
	}
	return found
}

func wantFlags(t *testing.T, m protocol.InboxMessage, want ...string) {
	t.Helper()
	if !slices.Equal(m.Flags, want) {
		t.Errorf("%q has the flags %q, want %q", m.Body, m.Flags, want)
	}
}

// What fails while a message is recorded as shown leaves it waiting, whatever of the record was written before.
func TestShownIsOneChange(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	id := a.send("bob/api", "hello", protocol.PriorityLow)
	a.take(a.bob.Client, "s1", protocol.RungPull)
	whole := make(map[string][]byte) // the numbers of the messages that came, which shown is counted in
	change := func(edit func(tx *store.Tx) error) {
		t.Helper()
		if err := a.bob.DB.Update(edit); err != nil {
			t.Fatal(err)
		}
	}
	change(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Numbers, nil, nil) {
			whole[string(k)] = slices.Clone(v)
		}
		for k := range whole {
			if err := tx.Put(table.Numbers, []byte(k), []byte("{")); err != nil {
				return err
			}
		}
		return nil
	})
	if err := a.bob.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: protocol.RungPull, State: protocol.SettleShown, IDs: []string{id}}); err == nil {
		t.Fatal("recorded as shown although the record failed")
	}
	change(func(tx *store.Tx) error {
		for k, v := range whole {
			if err := tx.Put(table.Numbers, []byte(k), v); err != nil {
				return err
			}
		}
		return nil
	})
	a.ahead.Store(int64(delivery.TakenFor))
	mail := a.take(a.bob.Client, "s1", protocol.RungPull).Messages
	if len(mail) != 1 {
		t.Fatal("the message that was not recorded as shown comes no more")
	}
	wantFlags(t, mail[0], protocol.FlagAgain)
	a.settle("s1", protocol.RungPull, protocol.SettleShown, id)
	if m := a.inbox(protocol.InboxQuery{})["hello"]; m.ShownBy != "api" || m.ShownAt == nil || !m.Unseen {
		t.Errorf("in the inbox: %+v", m)
	}
}

// A process that dies with mail in its hands has not shown it: the next rung gets it at once, marked, on whichever way it
// was. What it said before it died stands.
func TestMailOfAProcessThatDies(t *testing.T) {
	for _, rung := range []string{protocol.RungSocket, protocol.RungChannel, protocol.RungRewake, protocol.RungHook, protocol.RungPull} {
		t.Run(rung, func(t *testing.T) {
			a := newAgents(t)
			a.hook(protocol.HookSessionStart, "s1")
			first := a.send("bob/api", "said", protocol.PriorityNow)
			dying := client.Dial(a.bob.home)
			take := func() []protocol.InboxMessage {
				if rung == protocol.RungHook {
					out, err := dying.Hook(t.Context(), protocol.HookRequest{Event: protocol.HookPrompt, Session: protocol.SessionRequest{ID: "s1", PID: a.pid, Cwd: "/src/api"}})
					if err != nil {
						t.Fatal(err)
					}
					return out.Messages
				}
				return a.take(dying, "s1", rung, func(r *protocol.TakeRequest) { r.Waiter = 1 }).Messages
			}
			a.ahead.Add(int64(delivery.SettleFor)) // the background hook lets the tool server come first
			if got := bodies(take()); len(got) != 1 {
				t.Fatalf("it takes %q", got)
			}
			if err := dying.Settle(t.Context(), protocol.SettleRequest{Session: "s1", Rung: rung, State: protocol.SettleShown, IDs: []string{first}}); err != nil {
				t.Fatal(err)
			}
			a.send("bob/api", "unsaid", protocol.PriorityNow)
			if got := bodies(take()); len(got) != 1 {
				t.Fatalf("it takes %q", got)
			}
			if got := bodies(a.take(a.bob.Client, "s1", protocol.RungPull).Messages); len(got) != 0 {
				t.Fatalf("given twice while the process lives: %q", got)
			}
			dying.Close() // as the end of the process closes its connections
			var again []protocol.InboxMessage
			until(t, "the next rung has it", func() bool {
				again = a.take(a.bob.Client, "s1", protocol.RungPull).Messages
				return len(again) > 0
			})
			if got := bodies(again); !slices.Equal(got, []string{"unsaid"}) {
				t.Errorf("given again: %q", got)
			}
			wantFlags(t, again[0], protocol.FlagAgain)
		})
	}
}

// A tool server that is killed while it waits for mail leaves the field to the next rung at once, not after 40 s.
func TestRungThatHangsUp(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	ctx, kill := context.WithCancel(t.Context())
	dying := client.Dial(a.bob.home)
	hungUp := make(chan error, 1)
	go func() {
		_, err := dying.Take(ctx, protocol.TakeRequest{Session: "s1", Rung: protocol.RungSocket, WaitMS: 60_000})
		hungUp <- err
	}()
	until(t, "the socket asks", func() bool { return a.bob.give.Rungs.Of("s1", a.bob.cfg.Now()).Pushable() })
	kill()
	<-hungUp
	until(t, "the daemon knows", func() bool { return !a.bob.give.Rungs.Of("s1", a.bob.cfg.Now()).Pushable() })
	a.send("bob/api", "hello", protocol.PriorityNext)
	if got := bodies(a.hook(protocol.HookPrompt, "s1").Messages); len(got) != 1 {
		t.Errorf("the next rung got %q", got)
	}
}

// A hook that could not write gives the message back; each hook is a process of its own, so the next one tries again. What
// was written in part, or to nobody, is marked.
func TestHookThatCouldNotWrite(t *testing.T) {
	a := newAgents(t)
	a.hook(protocol.HookSessionStart, "s1")
	id := a.send("bob/api", "hello", protocol.PriorityNext)
	a.hook(protocol.HookPrompt, "s1")
	a.settle("s1", protocol.RungHook, protocol.SettleReturned, id)
	mail := a.hook(protocol.HookStop, "s1").Messages
	if len(mail) != 1 {
		t.Fatal("what a hook gave back, the next one does not bring")
	}
	wantFlags(t, mail[0])
	if got := a.status("s1"); got != protocol.StatusWorking {
		t.Errorf("the turn goes on, and the status is %s", got)
	}
	a.settle("s1", protocol.RungHook, protocol.SettleUnproved, id)
	if got := a.status("s1"); got != protocol.StatusIdle {
		t.Errorf("the turn could not go on, and the status is %s", got)
	}
	mail = a.hook(protocol.HookPrompt, "s1").Messages
	if len(mail) != 1 {
		t.Fatal("what may have been written comes no more")
	}
	wantFlags(t, mail[0], protocol.FlagAgain)
	if m := a.inbox(protocol.InboxQuery{Unread: true})["hello"]; m.ID != id {
		t.Error("it counts as seen before it was")
	}
}

// The terminal closes between the display of a message and its proof. When the session is resumed the message comes first,
// at once, by the way that is best now, and marked; so it does where only the process died and nobody said goodbye.
func TestResumedSessionGetsWhatWasNotProved(t *testing.T) {
	for _, goodbye := range []bool{true, false} {
		a := newAgents(t)
		pid, end := a.process()
		a.session("s1", "api", pid)
		a.take(a.bob.Client, "s1", protocol.RungSocket)
		id := a.send("bob/api", "displayed", protocol.PriorityNext)
		a.take(a.bob.Client, "s1", protocol.RungSocket)
		a.settle("s1", protocol.RungSocket, protocol.SettlePushed, id)
		if goodbye {
			a.hook(protocol.HookSessionEnd, "s1")
		}
		end()
		a.gone("s1")
		a.send("bob/api", "newer", protocol.PriorityNext)
		pid, _ = a.process()
		a.session("s1", "api", pid)
		mail := a.take(a.bob.Client, "s1", protocol.RungSocket).Messages
		if got := bodies(mail); !slices.Equal(got, []string{"displayed", "newer"}) {
			t.Fatalf("said goodbye %v: the resumed session gets %q", goodbye, got)
		}
		wantFlags(t, mail[0], protocol.FlagAgain)
		wantFlags(t, mail[1])
	}
}

// Bob's laptop is so fast that a session is resumed before its end was noticed.
func TestResumedBeforeItsEndWasNoticed(t *testing.T) {
	a := newAgents(t)
	pid, _ := a.process()
	a.session("s1", "api", pid)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	id := a.send("bob/api", "displayed", protocol.PriorityNext)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	a.settle("s1", protocol.RungSocket, protocol.SettlePushed, id)
	other, _ := a.process()
	a.session("s1", "api", other)
	if got := bodies(a.take(a.bob.Client, "s1", protocol.RungSocket).Messages); len(got) != 1 {
		t.Errorf("the resumed session gets %q", got)
	}
}

// Bob closes a terminal and resumes the session a moment later. What came meanwhile is not taken by another session of his that
// happens to ask, by whichever rung; what is urgent does not wait, and after a while nothing does, also when the daemon was
// started anew. Bob himself sees all of it at once.
func TestMailWaitsForASessionToResume(t *testing.T) {
	a := newAgents(t)
	pid, end := a.process()
	a.session("s1", "api", pid)
	web, _ := a.process()
	a.session("web", "web", web)
	first := a.send("bob/api", "for api", protocol.PriorityNext)
	var key string
	for _, r := range a.sent(first).Recipients {
		key = r.Pubkey
	}
	end()
	a.gone("s1")
	a.send(key, "meanwhile", protocol.PriorityNext)
	a.send(key, "burning", protocol.PriorityNow)
	if got := bodies(a.take(a.bob.Client, "web", protocol.RungPull).Messages); !slices.Equal(got, []string{"burning"}) {
		t.Errorf("web pulls %q", got)
	}
	hooked := a.hook(protocol.HookPrompt, "web", func(r *protocol.HookRequest) { r.Session.PID = web })
	if len(hooked.Messages) != 0 {
		t.Errorf("web's turn gets %q", bodies(hooked.Messages))
	}
	if mine := a.inbox(protocol.InboxQuery{}); len(mine) != 3 {
		t.Errorf("bob sees %d messages", len(mine))
	}
	again, endAgain := a.process()
	a.session("s1", "api", again)
	if got := bodies(a.take(a.bob.Client, "s1", protocol.RungPull).Messages); !slices.Equal(got, []string{"for api", "meanwhile"}) {
		t.Errorf("the resumed session gets %q", got)
	}

	endAgain()
	a.gone("s1")
	a.send(key, "nobody comes back", protocol.PriorityNext)
	if got := bodies(a.take(a.bob.Client, "web", protocol.RungPull).Messages); len(got) != 0 {
		t.Errorf("web pulls %q at once", got)
	}
	a.bob.end()
	a.bob = startDaemon(t, a.bob.home, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(time.Duration(a.ahead.Load())) } })
	a.session("web", "web", web)
	if got := bodies(a.take(a.bob.Client, "web", protocol.RungPull).Messages); len(got) != 0 {
		t.Errorf("web pulls %q from the next daemon", got)
	}
	a.ahead.Add(int64(roster.ResumeWithin + time.Second))
	mail := a.take(a.bob.Client, "web", protocol.RungPull).Messages
	i := slices.IndexFunc(mail, func(m protocol.InboxMessage) bool { return m.Body == "nobody comes back" })
	if i < 0 {
		t.Fatalf("in the end web pulls %q", bodies(mail))
	}
	wantFlags(t, mail[i], protocol.FlagSessionEnded)
}

// What was for a session that ended is the member's: the session that has its label now gets it, else any, marked, once.
// The session itself, resumed, comes before all others.
func TestMailOfAnEndedSession(t *testing.T) {
	a := newAgents(t)
	pid, end := a.process()
	a.session("old", "api", pid)
	id := a.send("bob/api", "one", protocol.PriorityNow) // which waits for no session to resume
	var key string
	for _, r := range a.sent(id).Recipients {
		key = r.Pubkey
	}
	end()
	a.gone("old")
	web, _ := a.process()
	a.session("web", "web", web)
	mail := a.hook(protocol.HookPrompt, "web", func(r *protocol.HookRequest) { r.Session.PID = web }).Messages
	if len(mail) != 1 || mail[0].ToSession != "api" {
		t.Fatalf("the only session gets %q", bodies(mail))
	}
	wantFlags(t, mail[0], protocol.FlagSessionEnded)
	a.settle("web", protocol.RungHook, protocol.SettleShown, id)
	if a.inbox(protocol.InboxQuery{Session: "web", All: true})["one"].ID != id {
		t.Error("the session cannot see what it was given")
	}

	api, _ := a.process()
	a.session("new", "api", api)
	second := a.send(key, "two", protocol.PriorityNext) // to the ended session itself
	if got := bodies(a.take(a.bob.Client, "web", protocol.RungPull).Messages); len(got) != 0 {
		t.Errorf("another one than the next of that label gets %q", got)
	}
	mail = a.take(a.bob.Client, "new", protocol.RungPull).Messages
	if len(mail) != 1 {
		t.Fatalf("the next session of that label gets %q", bodies(mail))
	}
	wantFlags(t, mail[0], protocol.FlagSessionEnded)
	a.settle("new", protocol.RungPull, protocol.SettleShown, second)

	a.send(key, "three", protocol.PriorityNext)
	resumed, _ := a.process()
	a.session("old", "api", resumed)
	if got := bodies(a.take(a.bob.Client, "new", protocol.RungPull).Messages); len(got) != 0 {
		t.Errorf("what is for the resumed session goes to %q", got)
	}
	mail = a.take(a.bob.Client, "old", protocol.RungPull).Messages
	if len(mail) != 1 {
		t.Fatalf("the resumed session gets %q", bodies(mail))
	}
	wantFlags(t, mail[0])
}

// sent is what alice knows of a message of hers.
func (a *agents) sent(id string) protocol.SendResult {
	a.t.Helper()
	res, err := a.alice.Message(a.t.Context(), "", id)
	if err != nil {
		a.t.Fatal(err)
	}
	return res
}

// A message that was displayed in one session, which then ended, is marked in the next: a person may have seen it.
func TestMembersMailMovesOnMarked(t *testing.T) {
	a := newAgents(t)
	pid, end := a.process()
	a.session("s1", "api", pid)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	id := a.send("bob", "for whoever is there", protocol.PriorityNext)
	a.take(a.bob.Client, "s1", protocol.RungSocket)
	a.settle("s1", protocol.RungSocket, protocol.SettlePushed, id)
	end()
	a.gone("s1")
	other, _ := a.process()
	a.session("s2", "web", other)
	mail := a.take(a.bob.Client, "s2", protocol.RungSocket).Messages
	if len(mail) != 1 {
		t.Fatalf("the next session gets %q", bodies(mail))
	}
	wantFlags(t, mail[0], protocol.FlagAgain)
}

// Everybody in a group sees a message once; that one session read it does not hide it from the others, and each is named.
func TestGroupMailIsSeenBySession(t *testing.T) {
	a := newAgents(t)
	one, _ := a.process()
	two, _ := a.process()
	a.session("s1", "api", one)
	a.session("s2", "web", two)
	id := a.send("*", "to all", protocol.PriorityNext)
	for _, s := range []string{"s1", "s2"} {
		if _, err := a.bob.MarkRead(t.Context(), protocol.InboxChange{IDs: []string{id}, Session: s}); err != nil {
			t.Fatal(err)
		}
		if got := a.take(a.bob.Client, s, protocol.RungPull).Messages; len(got) != 0 {
			t.Errorf("%s gets what it read: %q", s, bodies(got))
		}
		if s == "s1" {
			if n := a.inbox(protocol.InboxQuery{Session: "s2"}); len(n) != 1 {
				t.Error("the other session's list lost the message")
			}
		}
	}
	m := a.inbox(protocol.InboxQuery{})["to all"]
	if len(m.SeenBy) != 2 || m.SeenBy[0].Session != "api" || m.SeenBy[1].Session != "web" || !m.Unseen || m.ReadAt == nil {
		t.Errorf("seen by: %+v", m)
	}
}
