package cli

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every page of help stands in one file: a diff there is a change that users see.
func TestHelp(t *testing.T) {
	var out bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &out)
	a.root.walk(nil, func(path []string, _ *verb) {
		out.WriteString("$ claudemesh " + strings.Join(append(path, "--help"), " ") + "\n")
		if code := a.run(t.Context(), append(path, "--help")); code != exitOK {
			t.Errorf("%s: exit %d", path, code)
		}
		out.WriteString("\n")
	})
	const golden = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(out.String(), "\n")
	for i, line := range strings.Split(string(want), "\n") {
		if i >= len(got) || got[i] != line {
			t.Fatalf("help changed at line %d, which was %q: go test ./cli -run TestHelp -update, and look at the diff", i+1, line)
		}
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Error("help grew: go test ./cli -run TestHelp -update, and look at the diff")
	}
}
