package claude

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// a user's home with Claude Code's files in it.
func home(t *testing.T, state, settings string) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{Paths: FindPaths(dir, ""), Command: "/usr/local/bin/claudemesh", Hooks: true, Skill: "---\nname: claudemesh\n---\n"}
	write(t, o.Paths.State, state)
	write(t, o.Paths.Settings, settings)
	return o
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if text == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := readFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func install(t *testing.T, o Options) *Plan {
	t.Helper()
	p, err := PlanInstall(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

func uninstall(t *testing.T, o Options) *Plan {
	t.Helper()
	p, err := PlanUninstall(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	someState    = "{\n  \"numStartups\": 7,\n  \"mcpServers\": {\n    \"other\": {\"command\": \"x\"}\n  },\n  \"projects\": {}\n}\n"
	someSettings = "{\n    \"model\": \"opus\",\n    \"hooks\": {\n        \"Stop\": [ {\"hooks\": [{\"type\":\"command\",\"command\":\"say done\"}]} ]\n    }\n}"
)

func TestUninstallIsTheExactInverse(t *testing.T) {
	for _, tt := range []struct{ state, settings string }{{someState, someSettings}, {"", ""}, {someState, ""}, {"{}", `{"statusLine":{"type":"command","command":"my line"}}`}} {
		o := home(t, tt.state, tt.settings)
		install(t, o)
		var got struct {
			MCPServers map[string]struct{ Command string }
		}
		if err := json.Unmarshal([]byte(text(t, o.Paths.State)), &got); err != nil || got.MCPServers["claudemesh"].Command != o.Command {
			t.Errorf("state after install: %v\n%s", err, text(t, o.Paths.State))
		}
		if s := Inspect(o); s.Server != o.Command || len(s.Missing) != 0 || !s.Skill || len(s.Problems) != 0 {
			t.Errorf("inspect: %+v", s)
		}
		again, err := PlanInstall(o)
		if err != nil || !again.Empty() {
			t.Errorf("a second install would change %+v, %v", again.Changes, err)
		}
		install(t, o)
		for path, was := range map[string]string{o.Paths.State: tt.state, o.Paths.Settings: tt.settings} {
			if s := text(t, o.copyFile(path)); s != was {
				t.Errorf("the backup of %s: %q, want %q", path, s, was)
			}
		}
		uninstall(t, o)
		if s := text(t, o.Paths.State); s != tt.state {
			t.Errorf("state: %q, was %q", s, tt.state)
		}
		if s := text(t, o.Paths.Settings); s != tt.settings {
			t.Errorf("settings: %q, were %q", s, tt.settings)
		}
		if _, err := os.Stat(filepath.Dir(o.Paths.Skill)); !os.IsNotExist(err) {
			t.Error("the skill's folder stays")
		}
		if _, err := os.Stat(o.Paths.Records); !os.IsNotExist(err) {
			t.Error("the records stay")
		}
		if p, err := PlanUninstall(o); err != nil || !p.Empty() {
			t.Errorf("a second uninstall would change %+v, %v", p.Changes, err)
		}
	}
}

func TestUninstallLeavesWhatTheUserChangedSince(t *testing.T) {
	o := home(t, someState, someSettings)
	install(t, o)
	write(t, o.Paths.State, strings.Replace(text(t, o.Paths.State), `"numStartups": 7`, `"numStartups": 8`, 1))
	write(t, o.Paths.Settings, strings.Replace(text(t, o.Paths.Settings), "opus", "haiku", 1))
	uninstall(t, o)
	if want := strings.Replace(someState, "7", "8", 1); text(t, o.Paths.State) != want {
		t.Errorf("state:\n%s\nwant\n%s", text(t, o.Paths.State), want)
	}
	if got := text(t, o.Paths.Settings); strings.Contains(got, "claudemesh") || !strings.Contains(got, "haiku") || !strings.Contains(got, "say done") {
		t.Errorf("settings:\n%s", got)
	}
}

func TestOwnStatusLineStays(t *testing.T) {
	o := home(t, "{}", `{"statusLine":{"type":"command","command":"my line"}}`)
	p := install(t, o)
	if got := text(t, o.Paths.Settings); !strings.Contains(got, "my line") || strings.Contains(got, "claudemesh statusline") || len(p.Notes) != 1 {
		t.Errorf("notes %v, settings %s", p.Notes, got)
	}
}

func TestWhatDoesNotParseStays(t *testing.T) {
	o := home(t, "{ not json", someSettings)
	_, err := PlanInstall(o)
	if err == nil || !strings.Contains(err.Error(), o.Paths.State) || !strings.Contains(err.Error(), "left alone") || !errors.Is(err, errNotJSON) {
		t.Errorf("error: %v", err)
	}
	if text(t, o.Paths.State) != "{ not json" || text(t, o.Paths.Settings) != someSettings {
		t.Error("a file was changed all the same")
	}
}

func TestUpgradeMovesTheBinary(t *testing.T) {
	o := home(t, someState, someSettings)
	install(t, o)
	o.Command = "/opt/new place/claudemesh"
	install(t, o)
	if got := text(t, o.Paths.Settings); strings.Contains(got, "/usr/local/bin") || strings.Count(got, "hook session-start") != 1 || !strings.Contains(got, "'/opt/new place/claudemesh' hook stop") {
		t.Errorf("settings after an upgrade:\n%s", got)
	}
	uninstall(t, o)
	if text(t, o.Paths.State) != someState {
		t.Errorf("state:\n%s", text(t, o.Paths.State))
	}
}

func TestClaudeItselfRegisters(t *testing.T) {
	o := home(t, someState, someSettings)
	called := ""
	o.Add = func(_ context.Context, command string) error {
		called = command
		d, _ := parseDocument([]byte(text(t, o.Paths.State)))
		d.set([]string{"mcpServers", ServerName}, o.server())
		write(t, o.Paths.State, string(d.text)+"\n")
		return nil
	}
	install(t, o)
	if called != o.Command {
		t.Errorf("claude mcp add was called with %q", called)
	}
	uninstall(t, o)
	if text(t, o.Paths.State) != someState {
		t.Errorf("state:\n%s", text(t, o.Paths.State))
	}

	o.Add = func(context.Context, string) error { return errors.New("no such command") }
	install(t, o) // falls to the edit
	if Inspect(o).Server != o.Command {
		t.Error("not registered when claude failed")
	}
}

func TestChangedUnderOurHands(t *testing.T) {
	o := home(t, someState, "")
	write(t, o.Paths.Skill, "mine\n")
	p, err := PlanInstall(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, o.Paths.Skill, "mine, later\n")
	if err := p.Apply(context.Background()); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("apply: %v", err)
	}
	if got := text(t, o.Paths.Skill); got != "mine, later\n" {
		t.Errorf("%q", got)
	}
}

func TestUninstallLeavesNoDirectory(t *testing.T) {
	o := home(t, someState, "")
	install(t, o)
	uninstall(t, o)
	if _, err := os.Stat(filepath.Dir(o.Paths.Settings)); err == nil {
		t.Error("the directory that was made for the settings is still there")
	}
	mine := filepath.Join(filepath.Dir(filepath.Dir(o.Paths.Skill)), "mine", "SKILL.md")
	install(t, o)
	write(t, mine, "mine\n")
	uninstall(t, o)
	if got := text(t, mine); got != "mine\n" {
		t.Error("somebody else's skill is gone")
	}
}

func TestDiffShowsOnlyTheChange(t *testing.T) {
	o := home(t, someState, someSettings)
	p, _ := PlanInstall(o)
	got := p.Changes[0].Diff()
	if !strings.Contains(got, `+     "claudemesh": {`) || !strings.HasPrefix(got, o.Paths.State+"\n") {
		t.Errorf("diff:\n%s", got)
	}
}

func TestModeAndLinkStay(t *testing.T) {
	o := home(t, "", someSettings)
	real := filepath.Join(t.TempDir(), "dotfiles.json")
	write(t, real, someState)
	os.Chmod(real, 0o640)
	if err := os.Symlink(real, o.Paths.State); err != nil {
		t.Skip(err)
	}
	install(t, o)
	info, _ := os.Lstat(o.Paths.State)
	if info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link became a file")
	}
	if info, _ := os.Stat(real); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, was 0640", info.Mode())
	}
}

// Claude Code writes its own files at any time, also while we are at it. What it wrote stays, and uninstall leaves that.
func TestFileChangesUnderTheInstall(t *testing.T) {
	o := home(t, `{"numStartups": 1}`, `{"theme": "dark"}`)
	plan, err := PlanInstall(o)
	if err != nil {
		t.Fatal(err)
	}
	write(t, o.Paths.Settings, `{"theme": "light"}`)
	if err := plan.Apply(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := text(t, o.Paths.Settings); !strings.Contains(got, `"theme": "light"`) || !strings.Contains(got, "hook stop") {
		t.Errorf("settings: %s", got)
	}
	uninstall(t, o)
	if got := text(t, o.Paths.Settings); got != `{"theme": "light"}` {
		t.Errorf("after uninstall: %s", got)
	}
}
