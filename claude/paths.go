package claude

import (
	"cmp"
	"path/filepath"
	"strconv"
)

// Paths are Claude Code's files of one user.
type Paths struct {
	State    string // ~/.claude.json: MCP servers of the user scope, among much else
	Settings string // ~/.claude/settings.json: hooks, status line
	Skill    string // ~/.claude/skills/claudemesh/SKILL.md
	Records  string // ~/.claude/.claudemesh: ours, what install changed
}

// FindPaths returns the files for a home directory. CLAUDE_CONFIG_DIR moves all of them, as it does for Claude Code.
func FindPaths(home, configDir string) Paths {
	state := filepath.Join(cmp.Or(configDir, home), ".claude.json")
	dir := cmp.Or(configDir, filepath.Join(home, ".claude"))
	return Paths{
		State:    state,
		Settings: filepath.Join(dir, "settings.json"),
		Skill:    filepath.Join(dir, "skills", "claudemesh", "SKILL.md"),
		Records:  filepath.Join(dir, ".claudemesh"),
	}
}

// Session is the file in which a process of Claude Code keeps the status of its session. It is not documented.
func (p Paths) Session(pid int) string {
	return filepath.Join(filepath.Dir(p.Settings), "sessions", strconv.Itoa(pid)+".json")
}
