package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLaunchPassesOn(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"launch", "launch --"},
		{"launch --name api --resume", "launch --name api -- --resume"},
		{"launch --resume --name=api -c hello", "launch --name=api -- --resume -c hello"},
		{"launch --groups a,b --model opus --channel", "launch --groups a,b --channel -- --model opus"},
		{"launch --name api -- --name title --channel", "launch --name api -- --name title --channel"},
		{"launch -- --help", "launch -- --help"},
		{"launch --help", "launch --help"},
		{"launch -p say --json", "launch -- -p say --json"},
		{"send bob --resume", "send bob --resume"},
	} {
		if got := strings.Join(passThrough(verbs(), strings.Fields(test.typed)), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.typed, got, test.want)
		}
	}
}

// The program that takes our place gets the terminal, the rest of the line as it was typed, and what its children read.
func TestLaunchBecomesClaude(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no shell script stands in for claude here")
	}
	dir := t.TempDir()
	script := "#!/bin/sh\necho \"$CLAUDEMESH_DISPLAY_NAME|$CLAUDEMESH_GROUPS|$CLAUDEMESH_CHANNEL\"; printf '<%s>' \"$@\"; exit 42\n"
	if err := os.WriteFile(filepath.Join(dir, "claude"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(path string, args ...string) (string, int) {
		return command(t, []string{"PATH=" + path, "CLAUDEMESH_CONFIG_DIR=" + dir, "CLAUDEMESH_GROUPS=stale"}, "", args...)
	}
	out, code := run(dir, "launch", "--name", "api", "--channel", "--groups", "x,y", "--model", "a b", "--", "--name")
	if code != 42 || out != "api|x,y|1\n<--dangerously-load-development-channels><server:claudemesh><--model><a b><--name>" {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := run(dir, "launch", "-p", "hi"); code != 42 || !strings.HasSuffix(out, "\n<-p><hi>") {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, code := run(t.TempDir(), "launch"); code != exitNoClaude {
		t.Errorf("without claude: exit %d", code)
	}
}

func TestSkillNamesVerbsThatAre(t *testing.T) {
	a := newApp(nil, nil, nil)
	text := a.skillText("mcp__claudemesh__")
	if !strings.HasPrefix(text, "---\nname: claudemesh\ndescription: ") {
		t.Error("no front matter")
	}
	description, _, _ := strings.Cut(strings.SplitN(text, "description: ", 2)[1], "\n")
	if len(description) > 1536 {
		t.Errorf("description of %d characters", len(description))
	}
	n := 0
	for line := range strings.Lines(text) {
		words, ok := strings.CutPrefix(line, "- `claudemesh ")
		if !ok {
			continue
		}
		n++
		v := a.root
		for _, w := range strings.Fields(words) {
			if s := v.sub(strings.Trim(w, "`:")); s != nil {
				v = s
			}
		}
		if v == a.root || v.run == nil {
			t.Errorf("no such verb: %s", line)
		}
		for _, forbidden := range skillLeaves {
			if strings.HasPrefix(words, forbidden+" ") {
				t.Errorf("the model is told of %s", forbidden)
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d verbs", n)
	}
	if !slices.Contains(skillHeadings, headTalk) {
		t.Error("nothing about messages")
	}
}
