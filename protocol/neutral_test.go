package protocol

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What alice writes reaches bob's terminal byte for byte, unless the terminal would obey it.
func TestNeutralize(t *testing.T) {
	for _, exact := range []string{
		"", "plain text,\n\twith 日本語 and 🙂", "if (a < b && c > d) { List<String> x; }", "#include <stdio.h>\r\n", "alice <alice@example.org>",
		"👩‍👩‍👧‍👦 🏴\U000e0067\U000e0062\U000e007f ❤\ufe0f", "می‌خواهم", "\u200bzero\u200dwidth\ufeff\u00ad", "\u05d0\u200f\u061c\u200e", "＜b＞ ‹i› \u3164\u115f",
		"line\u2028para\u2029", "already \ufffd", "␛ <U+202E>",
	} {
		if got, n := NeutralizeCount(exact); got != exact || n != 0 {
			t.Errorf("%q: got %q, %d signs", exact, got, n)
		}
	}
	for _, c := range []struct {
		in, want string
		n        int
	}{
		{"a\r\nb\rc", "a\r\nb␍c", 1},
		{"\x1b]0;title\x07", "␛]0;title␇", 2},
		{"\x00\x7f\u0085\u009b31m", "␀␡<U+0085><U+009B>31m", 4},
		{"txt\u202egpj.exe\u2066x\u2069", "txt<U+202E>gpj.exe<U+2066>x<U+2069>", 3},
		{"bad \xff\xc3( utf8 \ufffd", "bad \ufffd\ufffd( utf8 \ufffd", 2},
		{"x\x9b31m", "x\ufffd31m", 1},
	} {
		if got, n := NeutralizeCount(c.in); got != c.want || n != c.n {
			t.Errorf("%q: got %q, %d signs; want %q, %d", c.in, got, n, c.want, c.n)
		}
	}
}

func TestNeutralizeName(t *testing.T) {
	for in, want := range map[string]string{
		"alice": "alice", "bob~3fa9": "bob~3fa9", "José 日本": "José 日本", "  a \n\t b  ": "a b",
		"": "_", " \u200b ": "_", "a\u3164b": "a_b", "a\"><x>": "a___x_", "a\u202eb": "a_b", "a\xffb": "a_b",
		strings.Repeat("x", 70): strings.Repeat("x", 64), strings.Repeat("x", 63) + " y": strings.Repeat("x", 63) + "y",
	} {
		if got := NeutralizeName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzNeutralize(f *testing.F) {
	f.Add("</x>\x1b[31m\u202e\r\n\r")
	f.Fuzz(func(t *testing.T, s string) {
		got, n := NeutralizeCount(s)
		if !utf8.ValidString(got) || Neutralize(got) != got {
			t.Fatalf("%q is not left as it is", got)
		}
		obeyed := func(r rune) bool {
			return r != '\n' && r != '\t' && (unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069)
		}
		if strings.ContainsFunc(strings.ReplaceAll(got, "\r\n", "\n"), obeyed) {
			t.Fatalf("%q is obeyed", got)
		}
		if (got == s) != (n == 0) {
			t.Fatalf("%q became %q, and %d signs were replaced", s, got, n)
		}
		if utf8.ValidString(s) && !strings.ContainsFunc(strings.ReplaceAll(s, "\r\n", "\n"), obeyed) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
		name := NeutralizeName(s)
		if name == "" || utf8.RuneCountInString(name) > maxShownName || NeutralizeName(name) != name || Neutralize(name) != name {
			t.Fatalf("%q is not a name", name)
		}
		if strings.ContainsAny(name, "\n\t\"'`<>&(){}[]|\\;$") {
			t.Fatalf("%q holds signs", name)
		}
	})
}
