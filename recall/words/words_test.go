package words

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTokens(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"Signatures failing", "signatur fail"},
		{"payments-api payments_api paymentsApi", "payments_api payment api payments_api payment api payments_api payment api"},
		{"HTTPServer.listenAndServe()", "http_server_listen_and_serve http server listen and serv"},
		{"src/hook_wait.go:42", "src_hook_wait_go_42 src hook wait go 42"},
		{"ECONNREFUSED 127.0.0.1:5432", "econnrefus 127_0_0_1_5432 127 0 0 1 5432"},
		{"E0308 err 0x1f", "e0308 err 0x1f"},
		{"don't", "don_t don"},
		{"سلام دنیا", "سلام دنیا"},
		{"接続拒否", "接続 続拒 拒否"},
		{"a … b", ""},
		{"...", ""},
		{strings.Repeat("x", 300), ""},
	} {
		if got := Join(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// Who looks for few tokens finds them as often as who reads all.
func TestEachOfFindsWhatEachFinds(t *testing.T) {
	text := "Flying flies, retrying retries and applied applies; using icing aging skiing; denied denying deny; systems systemd; payments-api paymentsApi HTTPServer " +
		"ECONNREFUSED 127.0.0.1:5432 سلام 接続拒否 classes classification organise organisation queueing queued ties tied easily ease boys boyish sky skies"
	all := map[string]int{}
	Each(text, func(token string) { all[token]++ })
	for token, n := range all {
		starts := NewStarts()
		starts.Add(token)
		found := 0
		EachOf(starts, text, func(t string) {
			if t == token {
				found++
			}
		})
		if found != n {
			t.Errorf("%q: %d times of %d", token, found, n)
		}
	}
}

func TestStop(t *testing.T) {
	if !Stop("the") || !Stop(Stem("trying")) || Stop("stripe") {
		t.Error("stop words")
	}
}

func FuzzEach(f *testing.F) {
	for _, s := range []string{"a.b", "paymentsApi", "\xff\xfeabc", "x_-_y", "拒否abc", "A", "ABc"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		toks := List(s)
		for _, tok := range toks {
			if tok == "" || len(tok) > maxToken || strings.ContainsAny(tok, " \"*^:(){}") {
				t.Fatalf("%q gives the token %q", s, tok)
			}
			if utf8.ValidString(s) && !utf8.ValidString(tok) {
				t.Fatalf("%q gives the invalid token %q", s, tok)
			}
		}
		if !slices.Equal(toks, List(s)) {
			t.Fatal("not a function of its text")
		}
	})
}
