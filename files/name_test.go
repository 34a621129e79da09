package files

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSafeName(t *testing.T) {
	for name, want := range map[string]string{
		"report.pdf":                      "report.pdf",
		"/etc/passwd":                     "passwd",
		"../../.ssh/authorized_keys":      "authorized_keys",
		`C:\Windows\System32\cmd.exe`:     "cmd.exe",
		"..":                              "file",
		"":                                "file",
		"/":                               "file",
		".bashrc":                         "bashrc",
		"...":                             "file",
		"-rf":                             "rf",
		"~root":                           "root",
		"a\x00b.txt":                      "ab.txt",
		"a\nb\x1b[2J.txt":                 "a b[2J.txt",
		"invoice\u202efdp.exe":            "invoicefdp.exe",
		"z\u200bero\u2066.txt":            "zero.txt",
		"CON":                             "_CON",
		"nul.txt":                         "_nul.txt",
		"com1.tar.gz":                     "_com1.tar.gz",
		"LPT³":                            "_LPT³",
		"stream.txt:ads":                  "stream.txt_ads",
		"trailing. . ":                    "trailing",
		"\xff\xfe.bin":                    "_.bin",
		"名前.txt":                          "名前.txt",
		"e\u0301.txt":                     "é.txt",
		"a|b*c?.txt":                      "a_b_c_.txt",
		"$(reboot).pdf":                   "_(reboot).pdf",
		"a;`id`&b.txt":                    "a__id__b.txt",
		strings.Repeat("x", 4096) + ".gz": strings.Repeat("x", 197) + ".gz",
	} {
		if got := SafeName(name); got != want {
			t.Errorf("SafeName(%q) is %q, want %q", name, got, want)
		}
	}
}

// TestSafeNameOfAnything: whatever a peer writes, the result is one ordinary file in the directory that was named.
func TestSafeNameOfAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./\\\x00 ~:a-c\-]{0,300}`)).Draw(t, "name")
		safe := SafeName(name)
		switch {
		case safe == "" || len(safe) > maxName+8 || !utf8.ValidString(safe):
			t.Fatalf("%q becomes %q", name, safe)
		case !filepath.IsLocal(safe) || filepath.Base(safe) != safe || strings.ContainsAny(safe, `/\`):
			t.Fatalf("%q becomes %q, which is no base name", name, safe)
		case safe[0] == '.' || safe[0] == '-':
			t.Fatalf("%q becomes %q, which hides or is a flag", name, safe)
		case strings.ContainsFunc(safe, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }):
			t.Fatalf("%q becomes %q, which a terminal obeys", name, safe)
		case SafeName(safe) != safe:
			t.Fatalf("%q becomes %q, and that %q", name, safe, SafeName(safe))
		}
	})
}
