package protocol

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxShownName = 64 // runes; names by the rule have at most 32

// Neutralize makes a text of somebody else safe to print: it can neither move the cursor nor turn the direction of what stands
// beside it. Control characters become their pictures (␛ for escape) or their number (<U+009B>), and so do the marks that
// override or isolate the direction of writing. Newline, tab and CRLF stay, and so does every other byte: angle brackets, joiners,
// variation selectors, tags. What is not UTF-8 becomes U+FFFD. Neutralize leaves its own result as it is.
func Neutralize(s string) string {
	out, _ := NeutralizeCount(s)
	return out
}

// NeutralizeCount is Neutralize, and says how many signs it replaced.
func NeutralizeCount(s string) (out string, n int) {
	if safeToPrint(s) {
		return s, 0
	}
	var b strings.Builder
	for i, r := range s {
		sign, size := "", utf8.RuneLen(r)
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			sign, size = "\uFFFD", 1
		case r == '\r' && strings.HasPrefix(s[i:], "\r\n"):
		default:
			sign = signFor(r)
		}
		if sign == "" {
			b.WriteString(s[i : i+size])
			continue
		}
		b.WriteString(sign)
		n++
	}
	return b.String(), n
}

func safeToPrint(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return signFor(r) != "" })
}

// signFor is what stands for a character that a terminal would obey; "" for all that it merely prints.
func signFor(r rune) string {
	switch {
	case r == '\n' || r == '\t':
		return ""
	case r < ' ':
		return string('␀' + r)
	case r == 0x7f:
		return "␡"
	case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // C1; overrides, embeddings, isolates
		return fmt.Sprintf("<U+%04X>", r)
	}
	return ""
}

// NeutralizeName is Neutralize for what is shown as a name or label: letters, digits, a few signs and single spaces,
// cut to 64 characters, with "_" for all else. It is never empty.
func NeutralizeName(s string) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		if n == maxShownName {
			break
		}
		if unicode.IsSpace(r) {
			space = n > 0
			continue
		}
		if space && n < maxShownName-1 {
			b.WriteByte(' ')
			n++
		}
		if space = false; !nameRune(r) {
			r = '_'
		}
		b.WriteRune(r)
		n++
	}
	if n == 0 {
		return "_"
	}
	return b.String()
}

func nameRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("._-~@/#+:", r)
	}
	return (unicode.IsLetter(r) || unicode.IsDigit(r)) && !invisible(r)
}

// invisible reports whether r shows nothing, or changes how its neighbours are shown: format characters (bidi controls,
// zero-width ones, tags), fillers, and the variation selectors that can hide text (emoji need the two that stay).
func invisible(r rune) bool {
	switch {
	case unicode.Is(unicode.Cf, r):
		return true
	case r >= 0xe0000 && r <= 0xe0fff: // tags and more variation selectors, assigned or not
		return true
	case r >= 0xfe00 && r <= 0xfe0d:
		return true
	case r >= 0x180b && r <= 0x180f:
		return true
	case r == 0x034f || r == 0x115f || r == 0x1160 || r == 0x17b4 || r == 0x17b5 || r == 0x2065 || r == 0x3164 || r == 0xffa0:
		return true
	case r >= 0xfff0 && r <= 0xfff8:
		return true
	}
	return false
}
