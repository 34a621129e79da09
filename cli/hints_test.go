//go:build !windows

package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// hintLiteral is a hint of the source that names a command.
type hintLiteral struct{ at, text string }

// hintLiterals reads every hint of the source: arguments of WithHint, fields and assignments of the name Hint, and the next steps
// that doctor and the probes give.
func hintLiterals(t *testing.T) []hintLiteral {
	t.Helper()
	var all []hintLiteral
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		take := func(e ast.Expr) {
			ast.Inspect(e, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil && namesCommand.MatchString(text) {
						all = append(all, hintLiteral{set.Position(lit.Pos()).String(), text})
					}
				}
				return true
			})
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 {
					switch s.Sel.Name {
					case "WithHint":
						take(n.Args[0])
					case "problem", "warn", "fails":
						if len(n.Args) > 1 {
							take(n.Args[1])
						}
					}
				}
			case *ast.KeyValueExpr:
				if id, ok := n.Key.(*ast.Ident); ok && (id.Name == "Hint" || id.Name == "Next" || id.Name == "next") {
					take(n.Value)
				}
			case *ast.AssignStmt:
				for i, l := range n.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok && (s.Sel.Name == "Hint" || s.Sel.Name == "Next") && i < len(n.Rhs) {
						take(n.Rhs[i])
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || len(all) < 30 {
		t.Fatalf("found %d hints, %v", len(all), err)
	}
	return all
}

var namesCommand = regexp.MustCompile(`\bclaudemesh ((?:[a-z-]+ ?)+)`)

// commandsOf returns the verbs that a hint names: as far as its words lead down the table.
func commandsOf(hint string) (paths [][]string) {
	root := newApp(nil, io.Discard, io.Discard).root
	for _, m := range namesCommand.FindAllStringSubmatch(hint, -1) {
		v, path := root, []string(nil)
		for _, word := range strings.Fields(m[1]) {
			next := v.sub(word)
			if next == nil {
				break
			}
			v, path = next, append(path, word)
		}
		paths = append(paths, path)
	}
	return paths
}

// A hint that names a command names one that there is.
func TestHintsNameCommandsThatExist(t *testing.T) {
	prose := []string{"again", "is", "makes", "does", "on", "of", "by", "leaves"} // words behind the name that are no command
	for _, h := range hintLiterals(t) {
		for i, path := range commandsOf(h.text) {
			word := strings.Fields(namesCommand.FindAllStringSubmatch(h.text, -1)[i][1])[0]
			if len(path) == 0 && !slices.Contains(prose, word) {
				t.Errorf("%s: there is no command %q in %q", h.at, word, h.text)
			}
		}
	}
}

// hintBook is what the stories of testdata/hints showed.
type hintBook struct {
	mu    sync.Mutex
	tried []string // hints whose command was run in their situation
}

func (b *hintBook) add(hint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried = append(b.tried, hint)
}

func (b *hintBook) has(literal string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	parts := verbInFormat.Split(literal, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	re := regexp.MustCompile(strings.Join(parts, ".*"))
	return slices.ContainsFunc(b.tried, re.MatchString)
}

var verbInFormat = regexp.MustCompile(`%[sdqv]`)

type hintKey struct{}

// shownHint is the last refusal of a story.
type shownHint struct{ message, hint string }

var refusalLine = regexp.MustCompile(`(?m)^claudemesh(?:: [a-z -]+)?: (.*)$`)
var hintLine = regexp.MustCompile(`(?m)^(?:hint|\s+next): (.*)$`)

func refusalOf(said string) (h shownHint) {
	if m := refusalLine.FindStringSubmatch(said); m != nil {
		h.message = m[1]
	}
	if m := hintLine.FindStringSubmatch(said); m != nil {
		h.hint = m[1]
	}
	return h
}

// refused runs a verb that is refused with a hint: `refused CODE PERSON VERB…`. What doctor finds counts, too.
func cmdRefused(ts *testscript.TestScript, neg bool, args []string) {
	cmdExits(ts, neg, args)
	h := ts.Value(hintKey{}).(*shownHint)
	*h = refusalOf(ts.ReadFile("stderr"))
	if h.hint == "" {
		*h = refusalOf(ts.ReadFile("stdout"))
	}
	if h.hint == "" {
		ts.Fatalf("no hint")
	}
	if paths := commandsOf(h.hint); len(paths) > 0 { // ARG is what the hint puts behind the verb
		_, rest, _ := strings.Cut(h.hint, strings.Join(append([]string{"claudemesh"}, paths[0]...), " "))
		arg, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		ts.Setenv("ARG", strings.Trim(arg, ",;:"))
	}
}

// helps runs what the last hint says: `helps PERSON VERB…`. It must not fail the same way.
func (b *hintBook) helps(ts *testscript.TestScript, neg bool, args []string) {
	h := ts.Value(hintKey{}).(*shownHint)
	named := slices.ContainsFunc(commandsOf(h.hint), func(path []string) bool {
		return len(path) <= len(args)-1 && slices.Equal(path, args[1:1+len(path)])
	})
	if neg || !named {
		ts.Fatalf("the hint does not name claudemesh %s: %s", strings.Join(args[1:], " "), h.hint)
	}
	if err := runAs(ts, args[0], args[1:]); err != nil {
		if again := refusalOf(ts.ReadFile("stderr")); again.message == h.message || commandsNamed(again.hint, h.hint) {
			ts.Fatalf("claudemesh %s fails the same way: %s", strings.Join(args[1:], " "), again.message)
		}
	}
	b.add(h.hint)
}

// commandsNamed tells whether a hint sends one back to where one came from.
func commandsNamed(again, before string) bool { return again != "" && again == before }

// untried are the hints that no story tries, and why.
var untried = map[string]string{
	"install the newer claudemesh again":  "no command: another executable",
	"install claudemesh again":            "no command",
	"run claudemesh":                      "no command: another way to start it",
	"claudemesh leaves it alone":          "no command",
	"sudo claudemesh broker":              "takes root and systemd: e2e has it",
	"ask for a link made by this":         "is for somebody else",
	"is of another version":               "takes an older daemon",
	"if the daemon is of another version": "takes an older daemon",
	"then up":                             "takes another build of the daemon",
	"accept-host":                         "takes a copy of the home: the stories of restore have it",
	"one service for each user":           "takes a service manager: testdata/script/service.txtar",
	"claudemesh daemon up starts it; ":    "takes a service manager: testdata/script/service.txtar",
	"claudemesh daemon up":                "doctor's, of a stopped service: testdata/script/service.txtar",
	"claudemesh daemon install-service":   "takes a service manager: testdata/script/service.txtar",
	"claudemesh install --no-service":     "takes a service manager: TestInstallIsRevertedWhenTheServiceFails",
	"ask log":                             "testdata/script has the stories of ask",
	"claudemesh ask":                      "testdata/script has the stories of ask",
	"claudemesh knowledge":                "testdata/script has the stories of ask",
	"claudemesh recall":                   "testdata/script has the stories of recall",
	"claudemesh daemon logs":              "takes a fault of the daemon itself; that logs prints the log is tried",
	"status %s tells why":                 "takes a message that died: testdata/script has the stories",
	"your user may":                       "is told to a model; mcp has the stories",
	"mount /proc":                         "takes a system without /proc: e2e has it",
	"see the mesh above":                  "takes a fault of the daemon itself",
	"wait for the next try":               "a race between the daemon and its broker",
	"claudemesh daemon down, then try":    "takes a verb that hangs while it starts the daemon",
	"outside of a session":                "takes a session of Claude Code",
	"claudemesh group leave":              "takes 32 groups, and is only refused by the broker",
	"revoke those that nobody uses":       "takes as many keys as the broker allows",
	"claudemesh daemon outbox list":       "takes a message that the broker refused for good",
	"Authorization: Bearer":               "is for programs",
	"claudemesh daemon rest token":        "is for programs: testdata/script/rest.txtar",
	"admits":                              "the owner's",
	"claudemesh members admit %s":         "testdata/script/roles.txtar",
	"join again with a new one":           "testdata/script/roles.txtar",
	"claudemesh broker starts one":        "a broker runs until it is ended: testdata/script/broker.txtar",
	"claudemesh install":                  "doctor's, where Claude Code is there: testdata/script/install.txtar",
	"claudemesh invite list shows them":   "of one mesh: that of all of them, which is shown, is tried",
	"then end that process":               "doctor's, of a process that holds the store",
	"claudemesh doctor":                   "of keepers and services: doctor itself is tried",
}

func TestHints(t *testing.T) {
	book := &hintBook{}
	params := scriptParams()
	params.Dir = filepath.Join("..", "testdata", "hints")
	setup := params.Setup
	params.Setup = func(e *testscript.Env) error {
		e.Values[hintKey{}] = &shownHint{}
		return setup(e)
	}
	params.Cmds["refused"], params.Cmds["helps"] = cmdRefused, book.helps
	t.Run("stories", func(t *testing.T) { testscript.Run(t, params) })
	if t.Failed() {
		return
	}
	for _, h := range hintLiterals(t) {
		excused := false
		for part := range untried {
			excused = excused || strings.Contains(h.text, part)
		}
		if !excused && !book.has(h.text) {
			t.Errorf("%s: no story of testdata/hints shows %q and tries what it says", h.at, h.text)
		}
	}
}
