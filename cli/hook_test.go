package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// command runs the executable in an environment of its own.
func command(t *testing.T, env []string, stdin string, args ...string) (string, int) {
	t.Helper()
	exe, err := exec.LookPath("claudemesh") // this test's own binary, by testscript.Main
	if err != nil {
		t.Skip("no executable: ", err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(env, "TESTSCRIPT_COMMAND=claudemesh", "GORACE="+os.Getenv("GORACE"))
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok {
		return out.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), 0
}

// Whatever goes wrong on our side, a hook says nothing, exits with 0 and is quick; and it starts no daemon.
func TestHookFailsSilently(t *testing.T) {
	dir := t.TempDir()
	env := []string{"CLAUDEMESH_CONFIG_DIR=" + dir, "PATH=" + os.Getenv("PATH")}
	for _, event := range []string{"session-start", "user-prompt-submit", "post-tool-use", "stop", "session-end", "nosuch"} {
		for _, stdin := range []string{"", "{", `{"session_id":"s1"}`, `{"session_id":"s1","hook_event_name":"Stop","cwd":"/","tool_response":"` + strings.Repeat("x", 1<<20) + `"}`} {
			began := time.Now()
			if out, code := command(t, env, stdin, "hook", event); code != 0 || out != "" {
				t.Errorf("hook %s with %.40q: exit %d %q", event, stdin, code, out)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("hook %s took %v", event, took)
			}
		}
	}
	if out, code := command(t, append(env, "CLAUDE_CODE_SESSION_ATTENDED=0"), `{"session_id":"s1"}`, "hook", "wait"); code != 0 || out != "" {
		t.Errorf("waiting in claude -p: exit %d %q", code, out)
	}
	if out, code := command(t, env, `{"session_id":"s1"}`, "statusline"); code != 0 || out != "" {
		t.Errorf("status line: exit %d %q", code, out)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "daemon") {
			t.Errorf("a hook left %s", e.Name())
		}
	}
	if out, code := command(t, append(env, "CLAUDEMESH_DEBUG=1"), "{", "hook", "stop"); code != 0 || out == "" {
		t.Errorf("under CLAUDEMESH_DEBUG: exit %d %q", code, out)
	}
}

func TestHookRequest(t *testing.T) {
	in := func(s string) *hookEvent {
		e := new(hookEvent)
		if err := json.Unmarshal([]byte(s), e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	req, ok := hookRequest("user-prompt-submit", in(`{"session_id":"s1","cwd":"/src","permission_mode":"bypassPermissions","prompt":"hi"}`))
	if !ok || req.Session.ID != "s1" || req.Session.Bypass == nil || !*req.Session.Bypass || !req.Human || req.Quiet {
		t.Errorf("%+v", req)
	}
	if req, _ := hookRequest("stop", in(`{"session_id":"s1","permission_mode":"default","stop_hook_active":true}`)); req.Session.Bypass == nil || *req.Session.Bypass || !req.Active {
		t.Errorf("%+v", req)
	}
	if req, _ := hookRequest("post-tool-use", in(`{"session_id":"s1","agent_id":"a"}`)); !req.Quiet || req.Session.Bypass != nil {
		t.Errorf("%+v", req)
	}
	for prompt, want := range map[string]bool{
		"hello": true, " <b>hello</b>": true, "": false, "\n<cross-session-message from-name=\"bob\">\nx": false,
		"<task-notification>\nx": false, "<channel source=\"x\">": false,
	} {
		if got := typed(prompt); got != want {
			t.Errorf("typed %q: %v", prompt, got)
		}
	}
}

func TestHookMailFits(t *testing.T) {
	var messages []protocol.InboxMessage
	for range 4 {
		messages = append(messages, protocol.InboxMessage{ID: strings.Repeat("x", 22), Mesh: "acme", Body: strings.Repeat("<", 64<<10), From: protocol.From{Name: "bob"}})
	}
	for n := 1; n <= 4; n++ {
		if text := hookMail(messages[:n]); len([]rune(text)) > 10_000 || strings.Count(text, "reply_to") < n {
			t.Errorf("%d messages: %d characters", n, len([]rune(text)))
		}
	}
}

func TestStatusWords(t *testing.T) {
	for want, line := range map[string]protocol.StatusLine{
		"":                               {},
		"◇ acme · 3/5 online · 2 unread": {Mesh: "acme", State: protocol.ConnOpen, Online: 3, Members: 5, Unread: 2},
		"◇ acme +1 · reconnecting · 0 unread":                {Mesh: "acme", More: 1, State: protocol.ConnReconnecting},
		"◇ acme · 1/1 online · 0 unread · 4 held · guard on": {Mesh: "acme", State: protocol.ConnOpen, Online: 1, Members: 1, Held: 4, Guarded: true},
	} {
		if got := statusWords(line); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
