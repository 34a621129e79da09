//go:build e2e && systemd

package e2e

import (
	"strconv"
	"strings"
	"testing"
)

// install and uninstall as a person types them on a machine with systemd: Claude Code's files and the service together, and every byte back.
func TestInstallUnderSystemd(t *testing.T) {
	l := bootLab(t)
	l.login()
	l.must(l.root("rm", "/run/systemd/container")) // the machine of somebody who has no container
	for path, content := range map[string]string{
		".claude.json":          "{\"numStartups\": 7,\r\n   \"mcpServers\" : { \"other\":{\"command\":\"x\"} } , \"unknown\": [1,2 ,3]}",
		".claude/settings.json": "{\n\t\"permissions\": {\"allow\": [\"Bash(ls:*)\"]},\n\n\t\"hooks\": {\"Stop\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"true\"}]}]}\n}",
	} {
		cmd := l.alice("sh", "-c", `mkdir -p "$HOME/.claude" && cat > "$HOME/$0"`, path)
		cmd.Stdin = strings.NewReader(content)
		l.must(cmd)
	}
	bytes := func() string {
		return l.must(l.alice("sh", "-c", "cd $HOME; sha256sum .claude.json $(find .claude -type f | sort); stat -c '%a %n' .claude.json .claude/settings.json"))
	}
	before, list := bytes(), l.files()

	l.want(0, []string{"service installed: systemd starts the daemon at every login", "installed. Sessions that start from now on"}, "install", "--yes")
	daemon := l.daemon()
	if daemon == 0 || strconv.Itoa(daemon) != l.property("MainPID") || l.property("ActiveState") != "active" {
		t.Fatalf("daemon %d, the unit's %s, %s", daemon, l.property("MainPID"), l.property("ActiveState"))
	}
	written := l.must(l.alice("sh", "-c", "cat $HOME/.claude.json $HOME/.claude/settings.json $HOME/.claude/skills/claudemesh/SKILL.md"))
	for _, part := range []string{`"claudemesh"`, `"unknown": [1,2 ,3]`, "claudemesh hook stop", "claudemesh statusline", "# On the mesh", `"command": "true"`} {
		if !strings.Contains(written, part) {
			t.Errorf("the files lack %s", part)
		}
	}
	installed := bytes()
	l.want(0, []string{"installed already: nothing to change"}, "install", "--yes")
	if now := bytes(); now != installed || l.daemon() != daemon {
		t.Errorf("again changes something:\n%s\n%s, daemon %d, was %d", installed, now, l.daemon(), daemon)
	}

	l.want(0, []string{"service stopped and removed", "uninstalled."}, "uninstall", "--yes")
	if now := bytes(); now != before {
		t.Errorf("the files are not as they were:\n%s\n%s", before, now)
	}
	if now := l.files(); now != list {
		t.Errorf("uninstall left something behind, or took something:\n%s\n%s", list, now)
	}
	if got := l.property("LoadState"); got != "not-found" || l.daemon() != 0 {
		t.Errorf("the unit is %s, and daemon %d runs", got, l.daemon())
	}
	l.want(0, []string{"not installed: nothing to change"}, "uninstall", "--yes")

	// Without the service, and a service without the rest.
	l.want(0, nil, "install", "--yes", "--no-service", "--no-hooks", "--no-skill")
	if got := l.property("LoadState"); got != "not-found" {
		t.Errorf("--no-service: the unit is %s", got)
	}
	if out := l.must(l.alice("sh", "-c", "cat $HOME/.claude/settings.json; ls $HOME/.claude")); strings.Contains(out, "claudemesh") || strings.Contains(out, "skills") {
		t.Errorf("--no-hooks --no-skill: %s", out)
	}
	l.want(0, nil, "uninstall", "--yes", "--no-service")
	if now := bytes(); now != before {
		t.Errorf("the files are not as they were:\n%s\n%s", before, now)
	}
}
