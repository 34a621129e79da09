package cli

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"
)

// recorded is what a verb saw when a line was run.
type recorded struct {
	path string
	args []string
	set  map[string]string
}

// record runs a line against the real table, with every verb replaced by one that only notes what it was given.
func record(t *testing.T, argv ...string) (got *recorded, code int, output string) {
	t.Helper()
	var out bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &out)
	a.root.walk(nil, func(path []string, v *verb) {
		if v.run == nil {
			return
		}
		v.run = func(_ context.Context, c *call) error {
			got = &recorded{path: strings.Join(path, " "), args: slices.Clone(c.args), set: map[string]string{}}
			for _, f := range v.flags {
				if name := f.Names()[0]; c.flags.IsSet(name) {
					got.set[name] = strings.TrimSpace(toString(c.flags.Value(name)))
				}
			}
			return nil
		}
	})
	code = a.run(t.Context(), argv)
	return got, code, out.String()
}

func toString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return map[bool]string{true: "true", false: "false"}[v]
	case int:
		return strings.Repeat("i", v) // sample values are small
	case urfave.StringSlice:
		return strings.Join(v.Value(), " ")
	}
	return "?"
}

// sample returns a flag as it is typed, and the value that the verb must see.
func sample(f urfave.Flag) (typed []string, value string) {
	name := "--" + f.Names()[0]
	switch f.(type) {
	case *urfave.BoolFlag:
		return []string{name}, "true"
	case *urfave.IntFlag:
		return []string{name, "3"}, "iii"
	}
	return []string{name, "v-" + f.Names()[0]}, "v-" + f.Names()[0]
}

func sampleArgs(v *verb) []string {
	n := v.min
	if v.max < 0 {
		n = v.min + 1
	}
	return []string{"bob", "-5", "-"}[:n]
}

func TestEveryFlagWorksInEveryPlace(t *testing.T) {
	verbs().walk(nil, func(path []string, v *verb) {
		if v.run == nil || len(path) == 0 {
			return
		}
		args := sampleArgs(v)
		var typed []string
		want := map[string]string{}
		for _, f := range v.flags {
			words, value := sample(f)
			typed = append(typed, words...)
			want[f.Names()[0]] = value
		}
		for place, line := range map[string][]string{
			"last":     slices.Concat(path, args, typed),
			"first":    slices.Concat(typed, path, args),
			"middle":   slices.Concat(path, typed, args),
			"before -": slices.Concat(path, typed, []string{"--"}, args),
		} {
			got, code, out := record(t, line...)
			if code != exitOK || got == nil {
				t.Errorf("%s flags %s: exit %d: %s", strings.Join(path, " "), place, code, out)
				continue
			}
			if got.path != strings.Join(path, " ") || !slices.Equal(got.args, args) {
				t.Errorf("flags %s: got %s %q, want %s %q", place, got.path, got.args, path, args)
			}
			for name, value := range want {
				if got.set[name] != value {
					t.Errorf("%s: --%s %s: got %q, want %q", got.path, name, place, got.set[name], value)
				}
			}
		}
	})
}

func TestEveryVerbRefusesAnUnknownFlag(t *testing.T) {
	verbs().walk(nil, func(path []string, v *verb) {
		if v.passes {
			return
		}
		args := sampleArgs(v)
		for _, line := range [][]string{
			slices.Concat(path, args, []string{"--nosuch"}),
			slices.Concat(path, args, []string{"--nosuch=5"}),
			slices.Concat([]string{"--nosuch"}, path, args),
			slices.Concat(path, []string{"-x"}, args),
		} {
			got, code, out := record(t, line...)
			if got != nil || code != exitUsage || !strings.Contains(out, "unknown flag") && v.run != nil {
				t.Errorf("%q: exit %d: %s", line, code, out)
			}
		}
	})
}

func TestAFlagMeansTheSameInEveryVerb(t *testing.T) {
	takes, where := map[string]bool{}, map[string]string{}
	verbs().walk(nil, func(path []string, v *verb) {
		for _, f := range v.flags {
			for _, n := range f.Names() {
				if w, seen := where[n]; seen && takes[n] != takesValue(f) {
					t.Errorf("--%s takes a value in %s or in %s, not in both", n, w, strings.Join(path, " "))
				}
				takes[n], where[n] = takesValue(f), strings.Join(path, " ")
			}
		}
	})
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		line string
		want string // path, then the arguments in brackets
		code int
		says string
	}{
		{"send bob hi there", "send [bob][hi][there]", 0, ""},
		{"send bob -5", "send [bob][-5]", 0, ""},
		{"send bob -.5 -", "send [bob][-.5][-]", 0, ""},
		{"send bob -- --wait 5s", "send [bob][--wait][5s]", 0, ""},
		{"send -- bob inbox", "send [bob][inbox]", 0, ""},
		{"send bob help", "send [bob][help]", 0, ""},
		{"send bob read --json", "send [bob][read]", 0, ""},
		{"--json peers", "peers ", 0, ""},
		{"peer list", "peer list ", 0, ""},
		{"list", "list ", 0, ""},
		{"ic://join/abc --name bob", "join [ic://join/abc]", 0, ""},
		{"reply -ueRc4uo yes --json", "reply [-ueRc4uo][yes]", 0, ""},
		{"inbox read -ueRc4uo -AAAAAAAA", "inbox read [-ueRc4uo][-AAAAAAAA]", 0, ""},
		{"send bob -ueRc4uo", "", 3, "unknown flag --ueRc4uo"},
		{"reply 12345678 yes -prioritty now", "", 3, "did you mean --priority?"},
		{"inbox read 12345678", "inbox read [12345678]", 0, ""},
		{"send --priority now bob hi", "send [bob][hi]", 0, ""},
		{"send bob", "", 3, "usage: claudemesh send <to> <message…|->"},
		{"send", "", 3, "too few arguments"},
		{"peers bob", "", 3, "too many arguments"},
		{"send bob hi --wait", "", 3, "--wait needs a value"},
		{"send bob hi --wait --json", "", 3, "--wait needs a value"},
		{"send bob hi --josn", "", 3, "did you mean --json?"},
		{"send bob -hello", "", 3, "put -- before"},
		{"peers --wait 5s", "", 3, "unknown flag --wait"},
		{"sned bob hi", "", 3, "did you mean claudemesh send?"},
		{"inbox raed all", "", 3, "did you mean claudemesh inbox read?"},
		{"mesh", "", 3, "say what to do: list, use, info"},
		{"daemon outbox", "", 3, "list or requeue"},
		{"inbox --limit many", "", 3, "limit"},
		{"--nosuch", "", 3, "unknown flag --nosuch"},
		{"help send", "", 0, "usage: claudemesh send <to>"},
		{"send --help", "", 0, "usage: claudemesh send <to>"},
		{"-h daemon up", "", 0, "claudemesh daemon up:"},
		{"help sned", "", 3, "unknown command"},
		{"help", "", 0, "usage: claudemesh <verb>"},
	} {
		got, code, out := record(t, strings.Fields(tt.line)...)
		if code != tt.code || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit %d, want %d; output %q wants %q", tt.line, code, tt.code, out, tt.says)
			continue
		}
		seen := ""
		if got != nil {
			seen = got.path + " "
			if len(got.args) > 0 {
				seen += "[" + strings.Join(got.args, "][") + "]"
			}
		}
		if seen != tt.want {
			t.Errorf("%s: got %q, want %q", tt.line, seen, tt.want)
		}
	}
}

func TestUsageErrorsKeepJSON(t *testing.T) {
	_, code, out := record(t, "send", "bob", "--json", "hi", "--nosuch")
	if code != exitUsage || !strings.HasPrefix(out, "{") || !strings.Contains(out, `"code": "invalid"`) {
		t.Errorf("exit %d: %s", code, out)
	}
}

var shellWord = regexp.MustCompile(`"[^"]*"|\S+`)

// shellWords splits a documented line as far as ours need it: double quotes, and nothing behind a redirection.
func shellWords(line string) []string {
	line, _, _ = strings.Cut(line, " > ")
	line, _, _ = strings.Cut(line, "  ")
	var out []string
	for _, w := range shellWord.FindAllString(line, -1) {
		out = append(out, strings.Trim(w, `"`))
	}
	return out
}

// documented returns every line that help and the readme show, without "claudemesh".
func documented(t *testing.T) [][]string {
	var lines []string
	verbs().walk(nil, func(_ []string, v *verb) { lines = append(lines, v.examples...) })
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range strings.Split(string(readme), "```") {
		if i%2 == 1 {
			lines = append(lines, strings.Split(block, "\n")...)
		}
	}
	var out [][]string
	prompt := regexp.MustCompile(`^(?:\S+\$ +|.*\| )?claudemesh (.*)$`)
	for _, l := range lines {
		if m := prompt.FindStringSubmatch(l); m != nil {
			out = append(out, shellWords(m[1]))
		}
	}
	return out
}

func TestEveryDocumentedLineIsAccepted(t *testing.T) {
	lines := documented(t)
	if len(lines) < 30 {
		t.Fatalf("found only %d lines", len(lines))
	}
	for _, words := range lines {
		got, code, out := record(t, words...)
		if code != exitOK || got == nil {
			t.Errorf("claudemesh %s: exit %d: %s", strings.Join(words, " "), code, out)
		}
		if i := slices.Index(words, "--"); i < 0 && len(words) > 0 && words[0] != "launch" {
			if got, code, _ := record(t, append(words, "--nosuch")...); code != exitUsage || got != nil {
				t.Errorf("claudemesh %s --nosuch: exit %d", strings.Join(words, " "), code)
			}
		}
	}
}

func FuzzArrange(f *testing.F) {
	f.Add("send bob -- hi")
	f.Add("--mesh acme peers --json=false")
	root := verbs()
	f.Fuzz(func(t *testing.T, line string) {
		l, err := arrange(root, strings.Fields(line))
		if l == nil || l.verb == nil {
			t.Fatal("no line to report with")
		}
		if err != nil && exitCode(err) != exitUsage {
			t.Fatalf("exit %d for %q", exitCode(err), line)
		}
	})
}
