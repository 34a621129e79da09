package protocol

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxShownName = 64 // runes; names by the rule have at most 32

// Neutralize makes a peer's text safe to show to a model or on a terminal: it stays readable and can do nothing.
// Angle brackets become ‹ and ›, control characters their pictures (␛ for escape), and what is invisible or turns the
// direction of writing becomes U+FFFD. Newline and tab stay. The result is UTF-8, and Neutralize leaves it as it is.
func Neutralize(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	if !strings.ContainsFunc(s, func(r rune) bool { return neutral(r) != r }) && utf8.ValidString(s) {
		return s
	}
	return strings.Map(neutral, s) // which writes U+FFFD for what is not UTF-8
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

func neutral(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case r < ' ':
		return '␀' + r
	case r == 0x7f:
		return '␡'
	case r == '<' || r == '＜' || r == '﹤':
		return '‹'
	case r == '>' || r == '＞' || r == '﹥':
		return '›'
	case r < utf8.RuneSelf:
		return r
	case r == '\u2028' || r == '\u2029': // line and paragraph separators
		return '\n'
	case unicode.IsControl(r) || invisible(r):
		return utf8.RuneError
	}
	return r
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
