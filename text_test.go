package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Only one function gives out the text of a message, and it gives the trust with it. These are its callers: each shows both,
// or neither.
var textCallers = []string{
	"bench.(world).openSome",      // compares what it generated itself
	"daemon/inbox.(Mailbox).Show", // fills Body and From.Trust of what users, models and scripts get
	"examples/apikey.run",         // prints it with who, and how much he is believed
}

// Inside protocol these read the body: Text, what reads the kinds that are no text, and what stores a message as a whole.
var bodyReaders = []string{
	"protocol.(Message).Card", "protocol.(Message).LogStatements", "protocol.(Message).MarshalBinary",
	"protocol.(Message).MemoryBody", // of kinds that no user and no model is shown
	"protocol.(Message).Receipts", "protocol.(Message).Text",
}

func TestWhoReadsTexts(t *testing.T) {
	fset := token.NewFileSet()
	packages := parsePackages(t, fset)
	known := &onlyOurs{fset: fset, files: packages, done: make(map[string]*types.Package)}
	var texts, bodies []string
	for dir := range packages {
		info := &types.Info{Selections: make(map[*ast.SelectorExpr]*types.Selection)}
		if _, err := known.check(dir, info); err != nil {
			t.Fatal(err)
		}
		for _, file := range packages[dir] {
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				name := ""
				if ok {
					name = dir + "." + receiver(f) + f.Name.Name
				}
				ast.Inspect(decl, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if !ok || info.Selections[sel] == nil {
						return true
					}
					switch of := info.Selections[sel]; {
					case !strings.HasSuffix(strings.TrimPrefix(of.Recv().String(), "*"), "/protocol.Message"):
					case of.Obj().Name() == "Text":
						texts = append(texts, name)
					case of.Obj().Name() == "body":
						bodies = append(bodies, name)
					}
					return true
				})
			}
		}
	}
	// The two that open a message write its body.
	bodies = slices.DeleteFunc(bodies, func(s string) bool {
		return strings.Contains(s, "opening).") || strings.HasSuffix(s, ".UnmarshalBinary")
	})
	for _, c := range []struct {
		what      string
		got, want []string
	}{{"callers of Message.Text", texts, textCallers}, {"readers of Message.body", bodies, bodyReaders}} {
		slices.Sort(c.got)
		if got := slices.Compact(c.got); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	x := f.Recv.List[0].Type
	if star, ok := x.(*ast.StarExpr); ok {
		x = star.X
	}
	if generic, ok := x.(*ast.IndexExpr); ok {
		x = generic.X
	}
	return "(" + x.(*ast.Ident).Name + ")."
}

// parsePackages reads our packages without their tests, by directory.
func parsePackages(t *testing.T, fset *token.FileSet) map[string][]*ast.File {
	t.Helper()
	all := make(map[string][]*ast.File)
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		dir := path.Dir(filepath.ToSlash(file))
		all[dir] = append(all[dir], f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// onlyOurs checks types with our packages alone: what comes from elsewhere has none, and need not.
type onlyOurs struct {
	fset  *token.FileSet
	files map[string][]*ast.File
	done  map[string]*types.Package
}

func (o *onlyOurs) Import(name string) (*types.Package, error) {
	dir, ours := strings.CutPrefix(name, module)
	if !ours {
		return nil, errors.New("not ours")
	}
	if p := o.done[dir]; p != nil {
		return p, nil
	}
	p, err := o.check(dir, nil)
	o.done[dir] = p
	return p, err
}

// check returns the package even where types are missing.
func (o *onlyOurs) check(dir string, info *types.Info) (*types.Package, error) {
	conf := types.Config{Importer: o, Error: func(error) {}, FakeImportC: true}
	p, _ := conf.Check(module+dir, o.fset, o.files[dir], info)
	if p == nil {
		return nil, errors.New("no package in " + dir)
	}
	return p, nil
}
