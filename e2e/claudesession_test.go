//go:build e2e && claude

package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const pluginTool = "mcp__plugin_claudemesh_claudemesh__send_message"

// As a plugin we bring the same: tools under the names that we tell, hooks, mail, and the skill.
func testPlugin(t *testing.T) {
	b := newBroker(t)
	alice := newPerson(t, "alice", quiet)
	bob := newPerson(t, "bob", func(a asked) reply {
		if strings.Contains(a.fresh(), "please tell alice") && !strings.Contains(a.fresh(), `"recipients"`) {
			return reply{Tool: pluginTool, Input: map[string]any{"to": "alice", "message": "from a plugin"}}
		}
		return says("fine")
	})
	mesh(t, b, "ws://"+b.addr+"/ws", alice.home, bob.home)
	dir := bob.path("plugin")
	hint := bob.must("plugin", "export", dir)
	if readme := read(t, bob.path("plugin", "README.md")); !strings.Contains(hint+readme, `"statusLine":{`) {
		t.Errorf("nothing says how to have a status line: %s", hint)
	}
	validate := exec.Command(bob.path("bin", "claude"), "plugin", "validate", "--strict", dir)
	validate.Env = bob.env
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("claude plugin validate --strict: %v %s", err, out)
	}
	_, line, _ := strings.Cut(read(t, bob.path("plugin", "README.md")), "\n    \"statusLine\":")
	line, _, _ = strings.Cut(line, "\n")
	bob.write(".claude/settings.json", map[string]any{
		"permissions": map[string]any{"allow": []string{"mcp__plugin_claudemesh_claudemesh"}}, "statusLine": json.RawMessage(line),
	})
	s := bob.open("--plugin-dir", dir)
	s.say("please tell alice")
	a := bob.model.want(t, "the prompt", time.Minute, func(a asked) bool { return strings.Contains(a.fresh(), "please tell alice") })
	if all := a.all() + a.System; !strings.Contains(all, "Its tools are mcp__plugin_claudemesh_claudemesh__*") || strings.Contains(all, "mcp__claudemesh__") {
		t.Errorf("the session is told other names of its tools")
	}
	if skill := read(t, bob.path("plugin", "skills", "claudemesh", "SKILL.md")); !strings.Contains(skill, "mcp__plugin_claudemesh_claudemesh__list_peers") || strings.Contains(skill, "mcp__claudemesh__") {
		t.Errorf("the skill tells other names: %s", skill)
	}
	if !strings.Contains(a.all()+a.System, "claudemesh:claudemesh") {
		t.Error("the skill is not offered as claudemesh:claudemesh")
	}
	// Only a tool of that name sends it. The first request may come before the client knows the server's tools.
	eventually(t, "alice has it", func() bool { return strings.Contains(alice.must("inbox"), "from a plugin") })
	bob.until("the person reads what was sent", s, func() bool { return strings.Contains(s.screen(), "): from a plugin") })
	bob.until("the status line", s, func() bool { return strings.Contains(s.screen(), "◇ acme · 2/2 online") })
	_, id := alice.send("bob/proj", "to a plugin")
	bob.model.want(t, "the mail", time.Minute, func(a asked) bool { return strings.Contains(a.fresh(), "to a plugin") })
	t.Logf("shown by %s", alice.shown(id))
}

// A session that the client started without our tools and hooks is not on the mesh, and nothing on its screen says that it is.
func testApart(t *testing.T) {
	_, bob := world(t, quiet, quiet)
	for _, flag := range []string{"--bare", "--safe-mode", "--restricted"} {
		s := bob.start("claude", flag)
		bob.until("the prompt of bob under "+flag, s, func() bool { return strings.Contains(s.screen(), "❯") })
		says := func() bool { return strings.Contains(s.screen(), "this session is not on the mesh") }
		for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline) && !says(); time.Sleep(200 * time.Millisecond) {
			if strings.Contains(s.screen(), "online · ") {
				t.Errorf("%s: the screen pretends:\n%s", flag, s.screen())
				break
			}
		}
		var st struct{ Sessions []any }
		bob.json(&st, "status")
		t.Logf("%s: said: %v; sessions on the mesh: %d", flag, says(), len(st.Sessions))
		if flag == "--bare" && !says() {
			t.Errorf("%s: the status line is silent:\n%s", flag, s.screen())
		}
		s.close()
	}
}

// A session that asks its human waits for him: he reads it elsewhere, and peers do.
func testWaiting(t *testing.T) {
	alice, bob := world(t, quiet, func(a asked) reply {
		switch fresh := a.fresh(); {
		case strings.Contains(fresh, "please create") && !strings.Contains(fresh, "made of it"):
			return reply{Tool: "Write", Input: map[string]any{"file_path": "/etc/claudemesh-test.txt", "content": "made of it"}}
		case strings.Contains(fresh, "please wait") && !strings.Contains(fresh, "slept"):
			return reply{Tool: "Bash", Input: map[string]any{"command": "sleep 8 > y; echo slept", "description": "wait"}}
		}
		return says("fine")
	})
	bob.write(".claude/settings.json", withoutAllow(t, bob))
	s := bob.open("--permission-mode", "default")
	waits := func(what string) {
		t.Helper()
		bob.until(what+": bob's session waits", s, func() bool { return bob.status() == "waiting" })
	}
	peers := func(want string) func() bool {
		return func() bool {
			var all []struct{ Session, Status string }
			alice.json(&all, "peers")
			for _, p := range all {
				if p.Session == "proj" {
					return p.Status == want
				}
			}
			return false
		}
	}
	began := time.Now()
	s.say("please wait a bit")
	waits("a command")
	t.Logf("waiting %v after the prompt was typed", time.Since(began).Round(time.Millisecond))
	eventually(t, "alice sees it", peers("waiting"))
	if out := bob.must("status"); !strings.Contains(out, "proj waits for you") {
		t.Errorf("status: %s", out)
	}
	answer := s.dialogKey("Do you want to")
	bob.until("allowed: it works, while the tool runs", s, func() bool { answer("Enter"); return bob.status() == "working" })
	if bob.model.heard("slept") {
		t.Error("only the end of the tool told")
	}
	bob.until("the turn is over", s, func() bool { return bob.status() == "idle" })
	eventually(t, "alice sees it idle", peers("idle"))

	s.say("please create it")
	waits("a file")
	bob.until("refused: it is idle", s, func() bool { answer("Escape"); return bob.status() == "idle" })
	_, id := alice.send("bob/proj", "are you there?")
	bob.model.want(t, "mail comes", time.Minute, func(a asked) bool { return strings.Contains(a.fresh(), "are you there?") })
	t.Logf("shown by %s", alice.shown(id))
}

// dialogKey returns what presses a key while a dialog with these words is on the screen: the client's hooks tell of a dialog
// before it is drawn, and a key that comes earlier is lost. It presses again after two seconds at the earliest.
func (s *terminal) dialogKey(words string) func(key string) {
	var last time.Time
	return func(key string) {
		if time.Since(last) > 2*time.Second && strings.Contains(s.screen(), words) {
			last = time.Now()
			s.tmux("send-keys", key).Run()
		}
	}
}

// withoutAllow are the settings of a person without the permissions that tests give.
func withoutAllow(t *testing.T, p *person) any {
	t.Helper()
	var settings map[string]any
	if err := json.Unmarshal([]byte(read(t, p.path(".claude", "settings.json"))), &settings); err != nil {
		t.Fatal(err)
	}
	delete(settings, "permissions")
	return settings
}
