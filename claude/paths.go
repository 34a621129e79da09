package claude

import (
	"cmp"
	"os"
	"path/filepath"
)

// Paths are Claude Code's files of one user.
type Paths struct {
	State    string // ~/.claude.json: MCP servers of the user scope, among much else
	Settings string // ~/.claude/settings.json: hooks, status line
	Skill    string // ~/.claude/skills/claudemesh/SKILL.md
}

// FindPaths returns the files for a home directory. CLAUDE_CONFIG_DIR moves all of them, as it does for Claude Code.
func FindPaths(home, configDir string) Paths {
	state := filepath.Join(cmp.Or(configDir, home), ".claude.json")
	dir := cmp.Or(configDir, filepath.Join(home, ".claude"))
	return Paths{
		State:    state,
		Settings: filepath.Join(dir, "settings.json"),
		Skill:    filepath.Join(dir, "skills", "claudemesh", "SKILL.md"),
	}
}

// readFile returns nil for a file that does not exist.
func readFile(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if b == nil && err == nil {
		b = []byte{}
	}
	return b, err
}
