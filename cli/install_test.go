package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/protocol"
)

// When the service cannot be installed, Claude Code's files are as they were, and the user reads what does without one.
func TestInstallIsRevertedWhenTheServiceFails(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "settings.json")
	if err := os.WriteFile(settings, []byte(`{"theme":"dark"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	plan, err := claude.PlanInstall(claude.Options{Paths: claude.FindPaths(dir, dir), Command: "claudemesh", Hooks: true, Skill: "a skill\n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := &call{app: newApp(strings.NewReader(""), io.Discard, io.Discard)}
	e := classify(c.installReverted(plan, protocol.Refuse(protocol.CodeServiceNotReady, "the service did not start").WithHint("look")))
	if e.Code != protocol.CodeServiceNotReady || e.Message != "the service did not start; nothing was changed" || e.Hint != "look; claudemesh install --no-service does without" {
		t.Errorf("%+v", e)
	}
	left, err := os.ReadDir(dir)
	if b, _ := os.ReadFile(settings); err != nil || len(left) != 1 || string(b) != `{"theme":"dark"}` {
		t.Errorf("left behind: %v, %v, settings %s", left, err, b)
	}
}
