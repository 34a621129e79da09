//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent is a stand-in for one Claude session: it starts `claudemesh mcp` as Claude Code does and has an inbox socket of its own.
type agent struct {
	t     *testing.T
	id    string
	mcp   *sdk.ClientSession
	inbox chan string // content of each message that was posted
}

func newAgent(t *testing.T, h *home, id string, inbox bool) *agent {
	t.Helper()
	return newAgentWith(t, h, id, inbox, nil)
}

func newAgentWith(t *testing.T, h *home, id string, inbox bool, options *sdk.ClientOptions) *agent {
	t.Helper()
	a := &agent{t: t, id: id, inbox: make(chan string, 1000)}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append([]string{}, h.env...), "E2E_OWNER="+bin, "CLAUDE_CODE_SESSION_ID="+id, "CLAUDE_PROJECT_DIR=/src/"+id)
	if inbox {
		path := filepath.Join(tempDir(t), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go a.serve(ln)
		cmd.Env = append(cmd.Env, "CLAUDE_CODE_MESSAGING_SOCKET="+path, "CLAUDE_CODE_MESSAGING_TOKEN=token")
	}
	var err error
	a.mcp, err = sdk.NewClient(&sdk.Implementation{Name: "stand-in", Version: "1"}, options).Connect(t.Context(), &sdk.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.mcp.Close() })
	return a
}

func (a *agent) serve(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		sc := bufio.NewScanner(c)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var f struct {
				Type    string
				Message struct{ Content string }
			}
			if json.Unmarshal(sc.Bytes(), &f) == nil && f.Type == "user" {
				a.inbox <- f.Message.Content
			}
		}
		c.Close()
	}
}

// call returns the structured result, or the text of a tool's error.
func (a *agent) call(tool string, args map[string]any) (map[string]any, string) {
	a.t.Helper()
	res, err := a.mcp.CallTool(a.t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		a.t.Fatalf("%s: %v", tool, err)
	}
	if res.IsError {
		return nil, res.Content[0].(*sdk.TextContent).Text
	}
	out, _ := res.StructuredContent.(map[string]any)
	return out, ""
}

func (a *agent) must(tool string, args map[string]any) map[string]any {
	a.t.Helper()
	out, problem := a.call(tool, args)
	if problem != "" {
		a.t.Fatalf("%s: %s", tool, problem)
	}
	return out
}

func (a *agent) want(part string) string {
	a.t.Helper()
	select {
	case got := <-a.inbox:
		if !strings.Contains(got, part) {
			a.t.Fatalf("%s got %q, want %q in it", a.id, got, part)
		}
		return got
	case <-time.After(20 * time.Second):
		a.t.Fatalf("%s got nothing, want %q", a.id, part)
		return ""
	}
}

// replyTo finds the id that the label of a pushed message asks to answer.
func replyTo(content string) string {
	_, rest, _ := strings.Cut(content, `reply_to "`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}

func peersOf(out map[string]any) map[string]map[string]any {
	all := map[string]map[string]any{}
	list, _ := out["peers"].([]any)
	for _, p := range list {
		m := p.(map[string]any)
		all[fmt.Sprintf("%v/%v", m["name"], m["session"])] = m
	}
	return all
}

func TestTwoSessionsTalk(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	web := newAgent(t, alice, "web", true)
	api := newAgent(t, bob, "api", true)

	web.must("set_summary", map[string]any{"summary": "the uploader"})
	eventually(t, "bob's session sees alice's, with its summary", func() bool {
		p := peersOf(api.must("list_peers", nil))["alice/web"]
		return p != nil && p["summary"] == "the uploader" && p["trust"] == "verified" && strings.HasSuffix(p["cwd"].(string), "/src/web")
	})

	out := api.must("send_message", map[string]any{"to": "alice/web", "message": "does the retry work for you?"})
	if out["state"] != "delivered" {
		t.Errorf("state: %v", out)
	}
	question := web.want("does the retry work for you?")
	if !strings.Contains(question, "bob/api on acme, verified") {
		t.Errorf("label: %s", question)
	}
	web.must("send_message", map[string]any{"reply_to": replyTo(question), "message": "yes, since Tuesday"})
	answer := api.want("yes, since Tuesday")
	if !strings.Contains(answer, "answers "+out["id"].(string)) {
		t.Errorf("the answer does not say what it answers: %s", answer)
	}
	// What was pushed and not proved to be shown is still unread, and a pull gets it once more, marked.
	eventually(t, "a pull gets it again", func() bool {
		got := api.must("check_messages", nil)["messages"].([]any)
		if len(got) == 0 {
			return false // the push is not settled yet
		}
		if len(got) != 1 || got[0].(map[string]any)["again"] != true {
			t.Fatalf("pull after a push: %v", got)
		}
		return true
	})
	if again := api.must("check_messages", nil)["messages"].([]any); len(again) != 0 {
		t.Errorf("a second pull: %v", again)
	}
	if _, problem := api.call("send_message", map[string]any{"to": "alcie", "message": "x"}); !strings.Contains(problem, "alice") {
		t.Errorf("an unknown name: %s", problem)
	}
}

// Held messages come in front of the session when its user types the word into the dialog of his client, and not before.
func TestUserAcceptsInADialog(t *testing.T) {
	b := newBroker(t)
	alice, bob, cathy := newHome(t, "alice"), newHome(t, "bob"), newHome(t, "cathy")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob, cathy)
	bob.must("mesh", "inbound", "acme", "hold")
	dialogs, answers := make(chan string, 10), make(chan *sdk.ElicitResult)
	api := newAgentWith(t, bob, "api", true, &sdk.ClientOptions{ElicitationHandler: func(ctx context.Context, r *sdk.ElicitRequest) (*sdk.ElicitResult, error) {
		dialogs <- r.Params.Message
		select {
		case a := <-answers:
			return a, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}})
	api.must("set_status", map[string]any{"status": "idle"})
	ask := func(from *home, text string) string {
		t.Helper()
		from.sees("bob/api")
		from.must("send", "bob/api", text, "--wait", "10s", "--require", "delivered")
		select {
		case d := <-dialogs:
			if strings.Contains(d, text) {
				t.Errorf("the dialog tells what was written: %s", d)
			}
			return d
		case <-time.After(20 * time.Second):
			t.Fatal("no dialog")
			return ""
		}
	}
	if d := ask(alice, "hello from alice"); !strings.Contains(d, "alice on acme (verified)") || !strings.Contains(d, "messages of this mesh are held") {
		t.Errorf("the dialog: %s", d)
	}
	var me []struct{ Fingerprint string }
	alice.json(&me, "whoami")
	answers <- &sdk.ElicitResult{Action: "decline"}
	if d := ask(cathy, "hello from cathy"); !strings.Contains(d, "cathy on acme") || strings.Contains(d, me[0].Fingerprint) {
		t.Errorf("the second dialog: %s", d)
	}
	answers <- &sdk.ElicitResult{Action: "accept", Content: map[string]any{"answer": "accept"}}
	api.want("hello from cathy")
	alice.must("send", "bob/api", "please", "--wait", "10s", "--require", "delivered")
	cathy.must("send", "bob/api", "thanks for letting me in", "--wait", "10s", "--require", "delivered")
	api.want("thanks for letting me in") // and nothing of alice before
	select {
	case d := <-dialogs:
		t.Errorf("asked again: %s", d)
	default:
	}
	if held := api.must("check_messages", nil)["held"]; held != float64(2) {
		t.Errorf("%v messages held, want alice's two", held)
	}
}

func TestGroupsAndBroadcastReachEachSessionOnce(t *testing.T) {
	b := newBroker(t)
	alice, bob, cathy := newHome(t, "alice"), newHome(t, "bob"), newHome(t, "cathy")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob, cathy)
	web := newAgent(t, alice, "web", true)
	api := newAgent(t, bob, "api", true)
	db := newAgent(t, bob, "db", true) // two sessions of one member on one machine
	ops := newAgent(t, cathy, "ops", true)
	for _, a := range []*agent{web, api, db, ops} {
		a.must("set_status", map[string]any{"status": "idle"})
	}
	eventually(t, "all four are there", func() bool { return len(peersOf(web.must("list_peers", nil))) >= 4 })

	web.must("send_message", map[string]any{"to": "*", "message": "deploy at noon"})
	for _, a := range []*agent{api, db, ops} {
		a.want("deploy at noon")
	}
	bob.must("group", "join", "backend", "--session", "db")
	eventually(t, "the group is known", func() bool {
		groups, _ := peersOf(web.must("list_peers", nil))["bob/db"]["groups"].([]any)
		return len(groups) == 1 && groups[0] == "backend"
	})
	web.must("send_message", map[string]any{"to": "@backend", "message": "who owns the queue?"})
	db.want("who owns the queue?")
	api.must("send_message", map[string]any{"to": "*", "message": "last one"})
	for _, a := range []*agent{web, db, ops} { // and nobody got anything in between
		a.want("last one")
	}
	for _, a := range []*agent{web, api, db, ops} {
		select {
		case extra := <-a.inbox:
			t.Errorf("%s got too much: %s", a.id, extra)
		default:
		}
	}
}

func TestStatusGatesAndReleases(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	api := newAgent(t, bob, "api", true)
	alice.sees("bob/api")
	api.must("set_status", map[string]any{"status": "working"})
	alice.must("send", "bob/api", "when you have a moment", "--wait", "10s", "--require", "delivered")
	alice.must("send", "bob/api", "some day", "--priority", "low", "--wait", "10s", "--require", "delivered")
	alice.must("send", "bob/api", "the site is down", "--priority", "now", "--wait", "10s", "--require", "delivered")
	api.want("the site is down")
	api.must("set_status", map[string]any{"status": "dnd"})
	alice.must("send", "bob/api", "still down", "--priority", "now", "--wait", "10s", "--require", "delivered")
	api.want("still down")
	api.must("set_status", map[string]any{"status": "idle"})
	api.want("when you have a moment") // released by the change itself
	found := false
	for _, m := range api.must("check_messages", nil)["messages"].([]any) {
		found = found || m.(map[string]any)["text"] == "some day"
	}
	if !found {
		t.Error("a pull does not get the low one")
	}
}

// The daemons are killed in the middle of a conversation of two sessions: nothing is lost and nothing comes twice unmarked.
func TestSessionsSurviveTheDaemon(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	web := newAgent(t, alice, "web", true)
	api := newAgent(t, bob, "api", true)
	eventually(t, "they see each other", func() bool { return peersOf(web.must("list_peers", nil))["bob/api"] != nil })
	var sent []string
	var back sync.WaitGroup
	defer back.Wait()
	for i := range 30 {
		text := fmt.Sprintf("line %02d", i)
		switch i {
		case 8:
			bob.kill()
			back.Go(bob.startDaemon)
		case 16:
			alice.kill()
			alice.startDaemon()
		}
		if _, problem := web.call("send_message", map[string]any{"to": "bob/api", "message": text}); problem == "" {
			sent = append(sent, text)
		} else {
			t.Logf("%s: %s", text, problem)
		}
	}
	if len(sent) < 25 {
		t.Errorf("only %d of 30 were accepted", len(sent))
	}
	for _, text := range sent {
		got := api.want("line")
		for strings.Contains(got, "(again)") && !strings.Contains(got, text) {
			got = api.want("line")
		}
		if !strings.Contains(got, text) {
			t.Fatalf("got %q, want %q", got, text)
		}
	}
}

func TestDeadSessionDisappears(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	owner := exec.Command("sleep", "600")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	bob.must("whoami") // the daemon runs
	body := fmt.Sprintf(`{"id":"s1","pid":%d,"cwd":"/src/api"}`, owner.Process.Pid)
	curl := exec.Command("curl", "-s", "--unix-socket", filepath.Join(bob.dir, ".claudemesh", "daemon.sock"), "-d", body, "http://localhost/v1/sessions")
	if out, err := curl.CombinedOutput(); err != nil || !strings.Contains(string(out), `"label":"api"`) {
		t.Fatalf("register: %v %s", err, out)
	}
	sees := func() bool {
		var peers []struct{ Name, Session string }
		alice.json(&peers, "peers")
		for _, p := range peers {
			if p.Name == "bob" && p.Session == "api" {
				return true
			}
		}
		return false
	}
	eventually(t, "alice sees bob/api", sees)
	owner.Process.Kill()
	owner.Wait()
	began := time.Now()
	eventually(t, "bob/api is gone", func() bool { return !sees() })
	t.Logf("gone %v after kill -9, as alice's `peers` shows it", time.Since(began).Round(time.Millisecond))
}
