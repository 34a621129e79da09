package protocol

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestAPISecretReadsBack(t *testing.T) {
	s := NewAPISecret()
	text := s.Text()
	if len(text) != len("cm_")+43+1+43 {
		t.Fatalf("a secret has %d characters", len(text))
	}
	got, err := ParseAPISecret(text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if got.Bearer != s.Bearer || got.Key.Public() != s.Key.Public() {
		t.Error("the secret reads back as another")
	}
	if p := s.Bearer.Prefix(); len(p) != BearerPrefix || !strings.HasPrefix(text, p) {
		t.Errorf("prefix %q", p)
	}
	seed := s.Key.Seed()
	if strings.Contains(text, s.Key.Public().String()) || s.Bearer.Hash() == "" || strings.Contains(s.Bearer.Text(), string(seed[:])) {
		t.Error("the halves are not apart")
	}
}

func TestAPISecretRefusesWhatIsNone(t *testing.T) {
	whole := NewAPISecret().Text()
	bearer, seed, _ := strings.Cut(whole, ".")
	for _, text := range []string{"", ".", bearer, seed, bearer + ".", "." + seed, bearer + "." + seed + "A", bearer + "A." + seed,
		strings.TrimPrefix(whole, "cm_"), "xx_" + strings.TrimPrefix(whole, "cm_"), bearer + "." + seed + "." + seed, bearer + ".=" + seed[1:]} {
		if _, err := ParseAPISecret(text); CodeOf(err) != CodeInvalid {
			t.Errorf("%q: %v", text, err)
		} else if len(text) > 20 && strings.Contains(err.Error(), seed) {
			t.Errorf("the refusal repeats the secret: %v", err)
		}
	}
}

func TestAPISecretRedacts(t *testing.T) {
	s := NewAPISecret()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{s, s.Bearer, &s.Bearer, struct{ S *APISecret }{s}, struct{ B Bearer }{s.Bearer}} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, s.Bearer.Text()[4:]) {
				t.Errorf("%s of %T tells it: %s", verb, v, out)
			}
		}
	}
	if b, err := json.Marshal(struct {
		S *APISecret
		B Bearer
	}{s, s.Bearer}); err != nil || strings.Contains(string(b), s.Bearer.Text()[4:]) {
		t.Errorf("JSON tells it: %s %v", b, err)
	}
}
