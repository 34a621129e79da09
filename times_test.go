package main

import (
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// A number that somebody else sent becomes a time through protocol.TimeOf or TimeOfSeconds alone: any other way may give a time
// that has no JSON. These make one of a number of our own, or of one that was bounded before.
var timeMakers = []string{
	"ask.timeOf",                // bounded by moment
	"broker/queue.(Disk).Stats", // its own clock
	"daemon/brokerhttp.bound",   // a deadline in the past
	"protocol.(opening).span",   // the header is bounded, and the time compared
	"protocol.TimeOf",
	"protocol.TimeOfSeconds",
	"protocol.appendTime",   // which writes years of five digits, too
	"recall.(Memory).Stats", // of its own table
	"recall.since",          // likewise
}

func TestTimesOfOthersAreBounded(t *testing.T) {
	var got []string
	for dir, files := range parsePackages(t, token.NewFileSet()) {
		for _, file := range files {
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				ast.Inspect(f, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					sel, ok := call.Fun.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Unix", "UnixMilli", "UnixMicro"}, sel.Sel.Name) {
						got = append(got, dir+"."+receiver(f)+f.Name.Name)
					}
					return true
				})
			}
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, timeMakers) {
		t.Errorf("these make a time of a number: %q, want %q", got, timeMakers)
	}
}
