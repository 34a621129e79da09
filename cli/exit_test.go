package cli

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// codes reads the codes from the source, so that a new one cannot be forgotten here.
func codes(t *testing.T) []protocol.Code {
	file, err := parser.ParseFile(token.NewFileSet(), "../protocol/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []protocol.Code
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				s, _ := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				out = append(out, protocol.Code(s))
			}
		}
		return true
	})
	if len(out) < 30 {
		t.Fatalf("found only %d codes", len(out))
	}
	return out
}

func TestEveryCodeHasAnExitCode(t *testing.T) {
	for _, code := range codes(t) {
		if exits[code] == exitOK {
			t.Errorf("%s has no exit code", code)
		}
	}
}

func TestExitCodes(t *testing.T) {
	_, noFile := os.Open("/nonexistent/claudemesh")
	_, noPort := net.Dial("tcp", "127.0.0.1:0")
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{protocol.Refuse(protocol.CodeNotFound, "x"), 5},
		{fmt.Errorf("join: %w", protocol.Refuse(protocol.CodeExists, "x")), 6},
		{saidError{protocol.Refuse(protocol.CodeTimeout, "x")}, 4},
		{noFile, 10},
		{fmt.Errorf("listen: %w", noPort), 4},
		{t.Context().Err(), 0},
		{errors.New("boom"), 8},
	} {
		if got := exitCode(tt.err); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}
