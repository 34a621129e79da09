package protocol

import (
	"encoding/binary"
	"errors"
	"html"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/claudemesh/claudemesh/crypto"
)

// twoLinks returns alice's link and one to another mesh.
func twoLinks(t testing.TB) (string, string) {
	t.Helper()
	mine, _ := sampleLink(t)
	inv := *samplesStatement(t, KindInvite).Body.(*Invite)
	key := seeded(77)
	inv.Link, inv.URL = key.Public(), "wss://other.example/ws"
	signed := mustSign(t, &inv, signerOf(t, inv.Issuer))
	return mine, MakeLink(signed, key.Seed())
}

// signerOf finds the sample's private key of that public one.
func signerOf(t testing.TB, key crypto.PublicKey) *crypto.PrivateKey {
	t.Helper()
	for i := range byte(255) {
		if k := seeded(i); k.Public() == key {
			return k
		}
	}
	t.Fatal("no such sample key")
	return nil
}

// wrap breaks s into lines of n characters with sep between them.
func wrap(s string, n int, sep string) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + sep)
		s = s[n:]
	}
	return b.String() + s
}

func utf16File(s string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

// What programs and people do to a link on its way: each of them alone must leave it a link, and any two of them.
var pasted = map[string]func(string) string{
	"as it is":             func(s string) string { return s },
	"blanks around":        func(s string) string { return " \t" + s + "\r\n" },
	"a full stop":          func(s string) string { return s + "." },
	"much punctuation":     func(s string) string { return s + "?!;:," },
	"an ellipsis":          func(s string) string { return s + "…" },
	"parentheses":          func(s string) string { return "(" + s + ")" },
	"brackets":             func(s string) string { return "[" + s + "]" },
	"braces":               func(s string) string { return "{" + s + "}" },
	"angle brackets":       func(s string) string { return "<" + s + ">" },
	"double quotes":        func(s string) string { return `"` + s + `"` },
	"single quotes":        func(s string) string { return "'" + s + "'" },
	"curly quotes":         func(s string) string { return "“" + s + "”" },
	"low quotes":           func(s string) string { return "„" + s + "“" },
	"guillemets":           func(s string) string { return "« " + s + " »" },
	"corner brackets":      func(s string) string { return "「" + s + "」" },
	"backticks":            func(s string) string { return "`" + s + "`" },
	"a code block":         func(s string) string { return "```sh\n" + s + "\n```" },
	"bold":                 func(s string) string { return "**" + s + "**" },
	"italic":               func(s string) string { return "_" + s + "_" },
	"a Markdown link":      func(s string) string { return "[join us](" + s + ")" },
	"a link of itself":     func(s string) string { return "[" + s + "](" + s + ")" },
	"Slack":                func(s string) string { return "<" + s + "|" + s + ">" },
	"HTML":                 func(s string) string { return `<a href="` + s + `">` + s + `</a>` },
	"HTML entities":        func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "/", "&#x2F;") },
	"a BOM":                func(s string) string { return "\ufeff" + s },
	"UTF-16":               utf16File,
	"zero-width spaces":    func(s string) string { return wrap(s, 40, "\u200b") },
	"joiners, soft hyphen": func(s string) string { return wrap(s, 33, "\u200d\u00ad\u2060") },
	"bidi marks":           func(s string) string { return "\u2068" + s + "\u2069" },
	"a NUL":                func(s string) string { return s + "\x00" },
	"a capital":            func(s string) string { return replacePrefix(s, "Ic://join/") },
	"all capitals":         func(s string) string { return replacePrefix(s, "IC://JOIN/") },
	"percent-encoding":     url.QueryEscape,
	"a redirect":           func(s string) string { return "https://safe.example/?url=" + url.QueryEscape(s) + "&data=05%7C02" },
	"two redirects": func(s string) string {
		return "https://a.example/?u=" + url.QueryEscape("https://b.example/?u="+url.QueryEscape(s))
	},
	"words around":        func(s string) string { return "Hi Bob, the link is " + s + " and see you tomorrow. Alice" },
	"no blank behind":     func(s string) string { return "Link:" + s + "--Alice" },
	"the command line":    func(s string) string { return "$ claudemesh join " + s + " --name bob" },
	"quoted command":      func(s string) string { return "claudemesh join '" + s + "' --name bob" },
	"twice":               func(s string) string { return s + " " + s },
	"twice, no blank":     func(s string) string { return s + s },
	"twice, once cut off": func(s string) string { return s[:120] + "…\n" + s },
	"with a placeholder":  func(s string) string { return "claudemesh join ic://join/… --name bob, where the link is " + s },
	"wrapped lines":       func(s string) string { return wrap(s, 72, "\r\n  ") },
	"a quoted mail":       func(s string) string { return "> " + wrap(s, 70, "\n> ") },
	"a box of a terminal": func(s string) string { return "│ " + wrap(s, 60, " │\n│ ") + " │" },
	"a shell's lines":     func(s string) string { return wrap(s, 60, "\\\n") },
	"escaped underscores": func(s string) string { return strings.ReplaceAll(s, "_", `\_`) },
	"clever dashes":       func(s string) string { return strings.ReplaceAll(s, "--", "—") },
}

func replacePrefix(s, by string) string { return strings.Replace(s, LinkPrefix, by, 1) }

func TestPastedLinks(t *testing.T) {
	mine, other := twoLinks(t)
	for _, s := range []string{mine, other} {
		want, err := ParseLink(s)
		if err != nil {
			t.Fatal(err)
		}
		for name, dress := range pasted {
			if link, err := ParseLink(dress(s)); err != nil || link.Invite.ID != want.Invite.ID {
				t.Errorf("%s: %v", name, err)
			}
			if !FindsLink(dress(s)) {
				t.Errorf("%s: no link is seen", name)
			}
		}
	}
}

// A link goes through more than one program. Encodings are outermost: nothing that comes before them reads them.
func TestPastedLinksInTwoProgramsEach(t *testing.T) {
	s, _ := twoLinks(t)
	for first, inner := range pasted {
		for _, second := range []string{"UTF-16", "a redirect", "HTML", "a quoted mail", "words around", "twice", "curly quotes", "a code block"} {
			lines := first == "wrapped lines" || first == "a quoted mail" || first == "a box of a terminal"
			if first == "UTF-16" || second == "a redirect" && lines {
				continue // no program writes UTF-16 into another text, or makes an address of several lines
			}
			if _, err := ParseLink(pasted[second](inner(s))); err != nil {
				t.Errorf("%s, then %s: %v", first, second, err)
			}
		}
	}
}

// Which of two links is meant, nobody can know. Both are named, and no secret is.
func TestTwoDifferentLinksAreRefused(t *testing.T) {
	mine, other := twoLinks(t)
	a, b := mustParseLink(t, mine), mustParseLink(t, other)
	for name, text := range map[string]string{
		"beside each other": mine + " " + other,
		"no blank":          mine + other,
		"in a mail":         "Old: <" + other + ">\nNew: <" + mine + ">",
		"three":             mine + " " + mine + " " + other,
	} {
		_, err := ParseLink(text)
		wantCode(t, err, CodeAmbiguous)
		e, _ := errors.AsType[*Error](err)
		for _, want := range []string{a.Invite.ID.String()[:8], b.Invite.ID.String()[:8], "other.example"} {
			if !strings.Contains(e.Message, want) {
				t.Errorf("%s: %q does not name %s", name, e.Message, want)
			}
		}
		seedOf := func(s string) string { return s[len(s)-30:] }
		if strings.Contains(e.Message+e.Hint, seedOf(mine)) || strings.Contains(e.Message+e.Hint, seedOf(other)) {
			t.Errorf("%s: %q has a secret in it", name, e.Message)
		}
	}
	_, err := ParseLink(mine + " " + other[:400])
	wantCode(t, err, CodeAmbiguous)
}

// Whatever stands around it, a link is found as it is or not at all.
func TestLinkInNoise(t *testing.T) {
	s, _ := twoLinks(t)
	want := mustParseLink(t, s)
	rng := rand.New(rand.NewPCG(1, 2))
	letters := []rune("abcXYZ019 \n\t.,;:!?()[]{}<>\"'`«»“”…*_-=+&%#@/\\|│\u200b\ufeff\u202eäß漢")
	noise := func() string {
		r := make([]rune, rng.IntN(30))
		for i := range r {
			r[i] = letters[rng.IntN(len(letters))]
		}
		return string(r)
	}
	for range 2000 {
		text := noise() + s + noise()
		link, err := ParseLink(text)
		if err != nil || link.Invite.ID != want.Invite.ID {
			t.Fatalf("%q: %v", text, err)
		}
	}
}

func mustParseLink(t *testing.T, s string) *Link {
	t.Helper()
	link, err := ParseLink(s)
	if err != nil {
		t.Fatal(err)
	}
	return link
}
