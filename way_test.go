package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// wayStep is a step of the README's table: `package/file.go: function`, or type.method.
var wayStep = regexp.MustCompile("`([a-z/_]+\\.go): ([A-Za-z.]+)`")

// The README leads a reader through the code that carries a message. Every function that it names stands in the file that it names.
func TestWayOfAMessage(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "| hop | ")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")[2:] // without the head and the line under it
	if len(rows) < 6 {
		t.Fatalf("the way has %d hops", len(rows))
	}
	for _, row := range rows {
		steps := wayStep.FindAllStringSubmatch(row, -1)
		if len(steps) == 0 {
			t.Errorf("a hop names no function: %s", row)
		}
		for _, s := range steps {
			if !declares(t, s[1], s[2]) {
				t.Errorf("%s does not declare %s", s[1], s[2])
			}
		}
	}
}

// declares reports whether a file has a function, or a method as type.method.
func declares(t *testing.T, file, name string) bool {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return false
	}
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && strings.NewReplacer("(", "", ")", "").Replace(receiver(fn))+fn.Name.Name == name {
			return true
		}
	}
	return false
}

// pathInDoc is a Go file that a document names, with the folder it is in.
var pathInDoc = regexp.MustCompile("`((?:[a-z_]+/)+[a-z_0-9]+\\.go)")

// A file that a document names is there: from the root, or beside the document.
func TestFilesThatDocumentsName(t *testing.T) {
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, doc := range append(docs, "README.md", "CONTRIBUTING.md", "SECURITY.md", "broker/DESIGN.md", "daemon/DESIGN.md") {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pathInDoc.FindAllStringSubmatch(string(text), -1) {
			named++
			if !isFile(m[1]) && !isFile(filepath.Join(filepath.Dir(doc), m[1])) {
				t.Errorf("%s names %s, which does not exist", doc, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("documents name %d files: the pattern misses them", named)
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
