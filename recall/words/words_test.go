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
