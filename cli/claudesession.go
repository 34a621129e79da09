package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// What `launch` tells our own processes inside the session.
const (
	envName    = "CLAUDEMESH_DISPLAY_NAME"
	envGroups  = "CLAUDEMESH_GROUPS"  // separated by commas
	envChannel = "CLAUDEMESH_CHANNEL" // not empty: the session takes channel notifications
)

// ownSession is the session that this process was started by, as Claude Code tells its children. Another agent does not: its process is the session.
func ownSession() protocol.SessionRequest {
	cwd, _ := os.Getwd()
	s := protocol.SessionRequest{
		ID: os.Getenv("CLAUDE_CODE_SESSION_ID"), PID: claudePID(), Cwd: cmp.Or(os.Getenv("CLAUDE_PROJECT_DIR"), cwd), Channel: "claude-code",
		Name: os.Getenv(envName), Groups: groupsFrom(os.Getenv(envGroups)),
	}
	if s.ID == "" {
		p, _ := registry.Identify(s.PID) // without a start time the number alone has to do
		s.ID, s.Channel = fmt.Sprintf("mcp-%d-%d", p.PID, p.Start), "mcp"
		return s
	}
	s.Bypass = startsInBypass(s.PID, s.Cwd)
	return s
}

func groupsFrom(list string) (groups []string) {
	for _, g := range strings.Split(list, ",") {
		if g = strings.TrimPrefix(strings.TrimSpace(g), "@"); g != "" {
			groups = append(groups, g)
		}
	}
	return groups
}

// claudePID is the process of the Claude session that started this one.
func claudePID() int {
	if pid, err := strconv.Atoi(os.Getenv("CLAUDE_PID")); err == nil && pid > 1 {
		return pid
	}
	return registry.Owner(os.Getppid())
}

// clientSessionFile is where Claude Code keeps the status of the session of a process.
func clientSessionFile(pid int) string {
	home, err := config.UserDir()
	if err != nil {
		return ""
	}
	return claude.FindPaths(home, os.Getenv("CLAUDE_CONFIG_DIR")).Session(pid)
}

// startsInBypass says that the session was started without permission prompts; nil where nothing tells so: a hook will, with the first prompt.
func startsInBypass(pid int, cwd string) *bool {
	args := registry.Args(pid)
	home, err := config.UserDir()
	if err != nil {
		return nil
	}
	paths := claude.FindPaths(home, os.Getenv("CLAUDE_CONFIG_DIR"))
	settings := []string{paths.Settings, filepath.Join(cwd, ".claude", "settings.json"), filepath.Join(cwd, ".claude", "settings.local.json")}
	if !claude.StartsInBypass(args, settings) {
		return nil
	}
	yes := true
	return &yes
}

// exitStatus ends a verb with that code and without another word.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
