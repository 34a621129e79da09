package recall

import (
	"context"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/recall/redact"
)

func TestExcerptHasProblemAndFix(t *testing.T) {
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("The Stripe webhook answers 400\n" + strings.Repeat("unrelated chatter\n", 200))
	s.runs("Bash", map[string]any{"command": "go test"}, strings.Repeat("line\n", 100)+"stripe: signature mismatch\n"+strings.Repeat("line\n", 100))
	s.says("First I looked around.\n" + strings.Repeat("Nothing here.\n", 100) + "The signature needs the raw body.\nFixed and tested.")
	a.sweep()
	h := a.want("stripe signature mismatch 400", "raw body")
	x := h.Excerpt(600)
	for _, part := range []string{"answers 400", "signature mismatch", "raw body", "Fixed and tested."} {
		if !strings.Contains(x, part) {
			t.Errorf("no %q in the excerpt:\n%s", part, x)
		}
	}
	if len(x) > 600 || strings.Count(x, "Nothing here") > 1 {
		t.Errorf("%d bytes:\n%s", len(x), x)
	}
	for _, max := range []int{0, 1, 10, 64} {
		if got := h.Excerpt(max); len(got) > max {
			t.Errorf("%d bytes for %d", len(got), max)
		}
	}
}

func TestRemember(t *testing.T) {
	ctx := context.Background()
	a := newMachine(t)
	id, removed, err := a.Remember(ctx, NewNote{Text: "Staging lives at heron.example, password: Xy12zz99Qq", By: ByPerson, Dir: "/p"})
	if err != nil || removed != 1 {
		t.Fatal(id, removed, err)
	}
	h := a.want("staging heron", redact.Mark)
	if h.ID != id || h.Agent != ByPerson {
		t.Errorf("%+v", h)
	}
	for _, text := range []string{"", " \n", strings.Repeat("x", MaxNote+1)} {
		if _, _, err := a.Remember(ctx, NewNote{Text: text, By: ByModel}); err == nil {
			t.Errorf("a note of %d bytes is stored", len(text))
		}
	}
}
