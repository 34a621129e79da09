//go:build e2e && claude

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const dummyKey = "sk-ant-api03-dummydummydummydummydummydummy"

// person is somebody with a machine, a daemon, Claude Code with claudemesh installed, and a model that says what the test wants.
type person struct {
	*home
	model *model
	dir   string // the project
}

// newPerson prepares a home as Claude Code leaves it after its first start. It is not installed yet.
func newPerson(t *testing.T, name string, script func(asked) reply) *person {
	t.Helper()
	p := &person{home: newHome(t, name), model: newModel(t, script)}
	p.home.dir, _ = filepath.EvalSymlinks(p.home.dir)
	p.dir = filepath.Join(p.home.dir, "proj")
	path := filepath.Join(p.home.dir, "bin")
	for _, dir := range []string{p.dir, path, filepath.Join(p.home.dir, ".claude")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"claude": os.Getenv("CLAUDE_BIN"), "claudemesh": bin} {
		if err := os.Symlink(to, filepath.Join(path, link)); err != nil {
			t.Fatal(err)
		}
	}
	p.env = append(p.env, "PATH="+path+":"+os.Getenv("PATH"), "ANTHROPIC_API_KEY="+dummyKey, "ANTHROPIC_BASE_URL="+p.model.url, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		"DISABLE_AUTOUPDATER=1", "TERM=xterm-256color", "IS_SANDBOX=1", "LANG=C.UTF-8", "TMUX_TMPDIR="+p.home.dir)
	p.write(".claude.json", map[string]any{
		"hasCompletedOnboarding": true, "theme": "dark", "bypassPermissionsModeAccepted": true,
		"customApiKeyResponses": map[string]any{"approved": []string{dummyKey[len(dummyKey)-20:]}, "rejected": []string{}},
		"projects":              map[string]any{p.dir: map[string]any{"hasTrustDialogAccepted": true}},
	})
	p.write(".claude/settings.json", map[string]any{"permissions": map[string]any{"allow": []string{"mcp__claudemesh", "Bash"}}})
	return p
}

func (p *person) write(path string, v any) {
	p.t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(p.home.dir, path), append(b, '\n'), 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) path(elem ...string) string {
	return filepath.Join(append([]string{p.home.dir}, elem...)...)
}

func (p *person) install(flags ...string) {
	p.t.Helper()
	p.must(append([]string{"install", "--yes", "--no-service"}, flags...)...)
}

// withoutSocket takes the inbox socket from the tool server, as an older client or a vendor's cloud does.
func (p *person) withoutSocket() {
	p.t.Helper()
	var state map[string]any
	if err := json.Unmarshal([]byte(read(p.t, p.path(".claude.json"))), &state); err != nil {
		p.t.Fatal(err)
	}
	server := state["mcpServers"].(map[string]any)["claudemesh"].(map[string]any)
	server["env"] = map[string]any{"CLAUDE_CODE_MESSAGING_SOCKET": "", "CLAUDE_CODE_MESSAGING_TOKEN": ""}
	p.write(".claude.json", state)
}

// terminal is one interactive session of Claude Code.
type terminal struct {
	p    *person
	name string
}

// open starts a session and returns when it is on the mesh.
func (p *person) open(args ...string) *terminal {
	p.t.Helper()
	return p.openWith(append([]string{"claude"}, args...)...)
}

func (p *person) openWith(command ...string) *terminal {
	p.t.Helper()
	s := p.start(command...)
	p.until("the session of "+p.name+" is on the mesh", s, func() bool {
		var sessions struct {
			Sessions []struct{ Label, Status string }
		}
		r := p.try("status", "--json")
		return json.Unmarshal([]byte(r.out), &sessions) == nil && len(sessions.Sessions) > 0
	})
	p.until("the prompt of "+p.name, s, func() bool { return strings.Contains(s.screen(), "❯") })
	return s
}

// start starts a session.
func (p *person) start(command ...string) *terminal {
	p.t.Helper()
	s := &terminal{p: p, name: fmt.Sprintf("cm%d", rand.Uint32())}
	line := append([]string{"new-session", "-d", "-x", "160", "-y", "50", "-c", p.dir}, command...)
	if out, err := s.tmux(line...).CombinedOutput(); err != nil {
		p.t.Fatalf("tmux: %v %s", err, out)
	}
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("%s's screen:\n%s", p.name, s.screen())
		}
		s.close()
	})
	return s
}

// close ends the session as a closed window does, and waits: one that goes on for a moment would start the daemon again.
func (s *terminal) close() {
	pane, _ := s.tmux("display-message", "-p", "#{pane_pid}").Output()
	s.tmux("kill-server").Run()
	pid := strings.TrimSpace(string(pane))
	if pid == "" {
		return // it has ended before
	}
	eventually(s.p.t, "the session of "+s.p.name+" has ended", func() bool {
		cmdline, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		return err != nil || len(cmdline) == 0 // empty: ended, and nobody has waited for it yet
	})
}

func (s *terminal) tmux(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-L", s.name, "-f", "/dev/null"}, args...)...)
	cmd.Env = s.p.env
	return cmd
}

func (s *terminal) screen() string {
	out, _ := s.tmux("capture-pane", "-p", "-S", "-200").Output()
	return strings.TrimSpace(string(out))
}

// say types a prompt. The screen must show it before it is sent.
func (s *terminal) say(text string) {
	s.p.t.Helper()
	if out, err := s.tmux("send-keys", "-l", text).CombinedOutput(); err != nil {
		s.p.t.Fatalf("tmux: %v %s", err, out)
	}
	s.p.until("the text is typed", s, func() bool { return strings.Contains(s.screen(), text) })
	s.tmux("send-keys", "Enter").Run()
}

// until waits for what needs a large program to start on a busy machine.
func (p *person) until(what string, s *terminal, ok func() bool) {
	p.t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			screen := ""
			if s != nil {
				screen = s.screen()
			}
			p.t.Fatalf("not within 60 s: %s\n%s", what, screen)
		case <-tick.C:
		}
	}
}

// print runs claude -p.
func (p *person) print(prompt string, args ...string) string {
	p.t.Helper()
	return p.printing(prompt, args...)()
}

// printing is print beside the test, which calls wait for what was printed.
func (p *person) printing(prompt string, args ...string) (wait func() string) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, p.path("bin", "claude"), append([]string{"-p", prompt}, args...)...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = p.env, p.dir, time.Second
	var out []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		out, err = cmd.CombinedOutput()
	}()
	return func() string {
		p.t.Helper()
		<-done
		if err != nil {
			p.t.Fatalf("claude -p: %v\n%s", err, out)
		}
		return string(out)
	}
}

// shown waits until the sender knows that a message was shown, and returns by which way.
func (p *person) shown(id string) string {
	p.t.Helper()
	rung := ""
	p.until("message "+id+" is shown", nil, func() bool {
		var sent struct {
			State      string
			Recipients []struct{ State, Rung, Proof string }
		}
		p.json(&sent, "message", "status", id)
		if sent.State != "shown" {
			return false
		}
		rung = sent.Recipients[0].Rung
		return sent.Recipients[0].Proof == "peer"
	})
	return rung
}

// send sends with the verb, and returns when it began and the id.
func (p *person) send(args ...string) (time.Time, string) {
	p.t.Helper()
	var sent struct{ ID string }
	began := time.Now()
	p.json(&sent, append([]string{"send"}, args...)...)
	return began, sent.ID
}
