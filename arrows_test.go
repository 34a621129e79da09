package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/claudemesh/claudemesh/"

// Which packages of ours a package may import: every arrow points one way. "*" is the one place that wires the others.
var arrows = map[string][]string{
	"":                  {"cli"},
	"cli":               {"*"},
	"cli/demo":          {"daemon/config", "protocol", "crypto"},
	"broker":            {"broker/blobs", "broker/queue", "protocol", "crypto", "store", "localsocket", "wallclock"},
	"broker/blobs":      {"protocol", "crypto", "store"},
	"broker/queue":      {"store"},
	"daemon":            {"daemon/spool", "daemon/api", "daemon/asking", "daemon/delivery", "daemon/roster", "daemon/mesh", "daemon/table", "daemon/brokerhttp", "daemon/memory", "daemon/config", "ask", "recall", "recall/source", "protocol", "store", "localsocket", "wallclock"},
	"daemon/api":        {"daemon/spool", "files", "daemon/asking", "daemon/delivery", "daemon/roster", "daemon/mesh", "daemon/inbox", "daemon/trust", "daemon/keyring", "daemon/table", "daemon/backup", "daemon/memory", "daemon/config", "daemon/probe", "ask", "recall", "recall/redact", "recall/source", "protocol", "crypto", "store", "registry"},
	"daemon/asking":     {"daemon/roster", "daemon/inbox", "daemon/memory", "ask", "crypto", "protocol", "recall"},
	"daemon/table":      {"ask", "daemon/config", "protocol", "crypto", "store"},
	"daemon/backup":     {"daemon/table", "daemon/config", "protocol", "store", "localsocket"},
	"daemon/delivery":   {"daemon/roster", "daemon/inbox", "daemon/keyring", "daemon/table", "protocol", "crypto", "store", "registry", "wallclock"},
	"daemon/enrol":      {"daemon/brokerhttp", "daemon/config", "protocol", "crypto"},
	"daemon/roster":     {"daemon/mesh", "daemon/inbox", "daemon/keyring", "daemon/table", "daemon/brokerhttp", "daemon/config", "protocol", "crypto", "store", "registry", "wallclock"},
	"daemon/trust":      {"daemon/table", "protocol", "crypto", "store"},
	"daemon/inbox":      {"daemon/table", "files", "protocol", "crypto", "store"},
	"daemon/keyring":    {"daemon/table", "protocol", "crypto", "store"},
	"daemon/memory":     {"protocol", "recall"},
	"daemon/config":     {"protocol", "crypto"},
	"daemon/client":     {"daemon/config", "daemon/probe", "protocol", "localsocket"},
	"daemon/spool":      {"daemon/brokerhttp", "daemon/table", "files", "protocol", "crypto", "store"},
	"daemon/mesh":       {"daemon/spool", "files", "daemon/inbox", "daemon/trust", "daemon/keyring", "daemon/table", "daemon/brokerhttp", "daemon/config", "ask", "protocol", "crypto", "store", "wallclock"},
	"daemon/probe":      {"daemon/brokerhttp", "protocol"},
	"daemon/brokerhttp": {"protocol"},
	"files":             {"protocol"},
	"mcp":               {"protocol"},
	"claude":            {"protocol"},
	"registry":          {},
	"service":           {},
	"ask":               {"recall", "store"},
	"recall":            {"recall/redact", "recall/source", "recall/words"},
	"recall/redact":     {},
	"recall/source":     {},
	"recall/words":      {},
	"bench":             {"protocol", "crypto", "store"},
	"protocol":          {"crypto"},
	"crypto":            {},
	"store":             {},
	"localsocket":       {},
	"wallclock":         {},
	"e2e":               {"*"},
}

// helpers of tests may be imported by tests of any package.
func testHelper(pkg string) bool { return strings.HasSuffix(pkg, "test") }

func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != "." || d.Name() == "testdata" || d.Name() == "examples") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		from := path.Dir(filepath.ToSlash(file))
		if from == "." {
			from = ""
		}
		if testHelper(from) {
			return nil
		}
		seen[from] = true
		allowed, known := arrows[from]
		if !known {
			t.Errorf("package %q has no row in the map of arrows", from)
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			to, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
			if ours && !slices.Contains(allowed, to) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s: not in the map of arrows", file, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range arrows {
		if !seen[pkg] && pkg != "e2e" {
			t.Errorf("the map of arrows names %q, which does not exist", pkg)
		}
	}
}

func TestMainIsTiny(t *testing.T) {
	src, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), "\n"); n > 20 {
		t.Errorf("main.go has %d lines, at most 20", n)
	}
}
