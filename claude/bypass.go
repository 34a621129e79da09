package claude

import (
	"os"
	"slices"
	"strings"
)

// ModeBypass is the permission mode in which nothing is asked.
const ModeBypass = "bypassPermissions"

// StartsInBypass says whether a session with these arguments and settings files (later ones win) starts in ModeBypass. The mode can change
// later, which the hooks tell; this is for the time before the first prompt.
func StartsInBypass(args, settings []string) bool {
	if slices.Contains(args, "--dangerously-skip-permissions") {
		return true
	}
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--permission-mode="); ok {
			return value == ModeBypass
		}
		if a == "--permission-mode" && i+1 < len(args) {
			return args[i+1] == ModeBypass
		}
	}
	mode := ""
	for _, path := range settings {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if d, err := parseDocument(b); err == nil {
			d.get([]string{"permissions", "defaultMode"}, &mode)
		}
	}
	return mode == ModeBypass
}
