package claude

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStartsInBypass(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bypass := write("bypass.json", `{"permissions":{"defaultMode":"bypassPermissions"}}`)
	plan := write("plan.json", `{"permissions":{"defaultMode":"plan"}}`)
	broken := write("broken.json", `{`)
	for _, test := range []struct {
		args     string
		settings []string
		want     bool
	}{
		{"claude", nil, false},
		{"claude --dangerously-skip-permissions", nil, true},
		{"claude --permission-mode bypassPermissions", nil, true},
		{"claude --permission-mode=bypassPermissions -p hi", nil, true},
		{"claude --permission-mode plan", []string{bypass}, false},
		{"claude --permission-mode", nil, false},
		{"claude", []string{bypass}, true},
		{"claude", []string{bypass, plan}, false},
		{"claude", []string{plan, filepath.Join(dir, "none"), broken, bypass}, true},
	} {
		if got := StartsInBypass(strings.Fields(test.args), test.settings); got != test.want {
			t.Errorf("%q with %v: %v, want %v", test.args, test.settings, got, test.want)
		}
	}
}
