package cli

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// complete asks bash what it offers for a line, whose last word is being typed.
func complete(t *testing.T, words ...string) string {
	t.Helper()
	quoted := `"` + strings.Join(words, `" "`) + `"`
	script := bashScript(verbs()) + `
COMP_WORDS=(claudemesh ` + quoted + `)
COMP_CWORD=$((${#COMP_WORDS[@]}-1))
_claudemesh
echo "${COMPREPLY[@]}"
`
	cmd := exec.Command("bash", "--norc", "-c", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBashCompletion(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("no bash here")
	}
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{[]string{"cre"}, "create"},
		{[]string{"inbox", ""}, "read delete flush"},
		{[]string{"inbox", "--fo"}, "--follow"},
		{[]string{"daemon", "outbox", "re"}, "requeue"},
		{[]string{"--mesh", "acme", "send", "bob", "--pri"}, "--priority"},
		{[]string{"mesh", "info", "--j"}, "--json"},
	} {
		if got := complete(t, tt.words...); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.words, got, tt.want)
		}
	}
}

func TestEveryVerbIsCompleted(t *testing.T) {
	for shell, script := range map[string]string{"bash": bashScript(verbs()), "zsh": zshScript(verbs()), "fish": fishScript(verbs())} {
		verbs().walk(nil, func(path []string, v *verb) {
			if len(path) > 0 && !strings.Contains(script, v.name) {
				t.Errorf("%s: no %s", shell, strings.Join(path, " "))
			}
			for _, f := range v.flags {
				if !strings.Contains(script, f.Names()[0]) {
					t.Errorf("%s: no --%s", shell, f.Names()[0])
				}
			}
		})
	}
}

func TestCompletionVerbPrints(t *testing.T) {
	var out bytes.Buffer
	if code := newApp(nil, &out, &out).run(t.Context(), []string{"completion", "fish"}); code != exitOK || !strings.Contains(out.String(), "complete -c claudemesh") {
		t.Errorf("exit %d: %s", code, out.String())
	}
}
