package recall

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// Bob asks alice's machine, which shares one project. What its answer is like tells nothing about the others.
func TestWhatIsNotSharedDoesNotWeigh(t *testing.T) {
	found := func(secret bool) []Hit {
		a := newMachine(t)
		for i := range 30 {
			s := a.session(fmt.Sprintf("open-%d", i), "/home/alice/open")
			s.asks(fmt.Sprintf("step %d of the migration", i))
			s.says("moved the tenants to the new cluster")
		}
		a.stripe()
		for i := range 40 {
			if secret {
				s := a.session(fmt.Sprintf("secret-%d", i), "/home/alice/merger")
				s.asks(fmt.Sprintf("stripe signature webhook of the merger, part %d", i))
				s.says("the webhook of the merger answers 400")
			}
		}
		a.sweep()
		hits, err := a.Search(context.Background(), Query{Text: "stripe webhook signature", Terms: []string{"400"}, Own: true,
			Allow: func(dir string) bool { return !strings.HasSuffix(dir, "merger") }})
		if err != nil || len(hits) == 0 {
			t.Fatal(hits, err)
		}
		return hits
	}
	alone, beside := found(false), found(true)
	if len(alone) != len(beside) {
		t.Fatalf("%d hits, and %d beside a secret project", len(alone), len(beside))
	}
	for i := range alone {
		if a, b := alone[i], beside[i]; a.Session != b.Session || a.Score != b.Score || a.Evidence != b.Evidence || a.Coverage != b.Coverage {
			t.Errorf("%s %v %v %v; beside a secret project %s %v %v %v", a.Session, a.Score, a.Evidence, a.Coverage, b.Session, b.Score, b.Evidence, b.Coverage)
		}
	}
}
