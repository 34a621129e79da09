// Package redact takes secrets out of text before the text is stored or leaves the machine.
//
// It looks for credentials in the formats of the services that issue them, for values that are
// assigned to a secret-sounding name, for private key blocks, credentials in URLs and headers, for
// values of the session's own environment, and for long random strings. What it takes out is
// replaced by [secret removed]. It errs on the side of removing: a lost random string costs a
// search result, a kept one costs a credential.
package redact

import (
	"math"
	"slices"
	"strings"
)

// Mark is what stands in the place of a secret.
const Mark = "[secret removed]"

// Redactor removes secrets from texts. It may be used by several goroutines at once.
type Redactor struct {
	rules []rule
	known *Known
}

// New returns a redactor. known may be nil.
func New(known *Known) *Redactor {
	return &Redactor{rules: append(issued(), shaped()...), known: known}
}

// Text returns text without its secrets, and how many were taken out.
func (r *Redactor) Text(text string) (string, int) {
	if text == "" {
		return "", 0
	}
	var found []span
	lower := strings.ToLower(text)
	if len(lower) != len(text) { // a letter whose lower case has another length: the offsets would be off
		lower = asciiLower(text)
	}
	for _, rule := range r.rules {
		if rule.applies(lower) {
			found = append(found, rule.find(text)...)
		}
	}
	found = append(found, assigned(text, lower)...)
	found = append(found, random(text)...)
	if r.known != nil {
		found = append(found, r.known.find(text)...)
	}
	return replace(text, found)
}

// Texts redacts each of list in place and returns how many secrets were taken out.
func (r *Redactor) Texts(list []string) int {
	n := 0
	for i := range list {
		var k int
		list[i], k = r.Text(list[i])
		n += k
	}
	return n
}

type span struct{ start, end int }

func (r rule) applies(lower string) bool {
	return slices.ContainsFunc(r.keywords, func(k string) bool { return strings.Contains(lower, k) })
}

func (r rule) find(text string) []span {
	var out []span
	for _, m := range r.pattern.FindAllStringSubmatchIndex(text, -1) {
		s := span{m[0], m[1]}
		if len(m) > 2 {
			s = span{m[2], m[3]}
		}
		if s.start >= 0 && (r.entropy == 0 || entropy(text[s.start:s.end]) >= r.entropy) && !placeholder(text[s.start:s.end]) {
			out = append(out, s)
		}
	}
	return out
}

// assigned finds values of names such as STRIPE_SECRET or db.password.
func assigned(text, lower string) []span {
	if !strings.ContainsAny(text, "=:") || !hinted(lower) {
		return nil
	}
	var out []span
	for _, m := range assignment.FindAllStringSubmatchIndex(text, -1) {
		name, value := strings.ToLower(text[m[2]:m[3]]), text[m[4]:m[5]]
		if secretValue(name, value) {
			out = append(out, span{m[4], m[5]})
		}
	}
	return out
}

func hinted(lower string) bool {
	for _, k := range []string{"secret", "token", "passw", "pwd", "passphrase", "key", "credential"} {
		if strings.Contains(lower, k) {
			return true
		}
	}
	return false
}

// secretValue tells a secret from code that merely mentions one ("token := next()", "key: string").
func secretValue(name, value string) bool {
	if placeholder(value) || strings.HasPrefix(value, "$") || strings.HasPrefix(value, "//") {
		return false
	}
	if strings.Contains(name, "passw") || strings.Contains(name, "pwd") || strings.Contains(name, "passphrase") {
		return !identifier(value)
	}
	return len(value) >= 8 && !identifier(value) && entropy(value) >= 2.5 && (hasDigit(value) || len(value) >= 20)
}

// identifier reports whether value looks like a name or a call in source code, or an ordinary word.
func identifier(value string) bool {
	value = strings.TrimRight(value, ".")
	letters, others := 0, 0
	for i := range len(value) {
		c := value[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '-' || c == '*' || c == '&' || c == '/' || c == '?' || c == '!':
			letters++
		default:
			others++
		}
	}
	return others == 0 && !randomLetters(value)
}

// randomLetters reports whether letters alone look random: both cases mixed without the rhythm of camelCase.
func randomLetters(s string) bool {
	if len(s) < 16 || strings.ContainsAny(s, "./ ") {
		return false
	}
	switches := 0
	for i := 1; i < len(s); i++ {
		if upper(s[i]) && lowerCase(s[i-1]) || upper(s[i-1]) && lowerCase(s[i]) {
			switches++
		}
	}
	return switches*10 >= len(s)*4
}

func upper(c byte) bool     { return c >= 'A' && c <= 'Z' }
func lowerCase(c byte) bool { return c >= 'a' && c <= 'z' }
func digit(c byte) bool     { return c >= '0' && c <= '9' }

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }

// placeholder reports whether s is a placeholder for a secret, as in documentation.
func placeholder(s string) bool {
	l := strings.ToLower(strings.Trim(s, `"'.,;`))
	if l == "" || strings.Contains(s, Mark) || strings.HasPrefix(l, "[secret") {
		return true
	}
	for _, p := range []string{"<", "${", "{{", "%(", "your", "xxxx", "****", "....", "process.env", "os.environ", "os.getenv", "changeme", "null", "none", "true",
		"false", "undefined", "redacted", "placeholder"} {
		if strings.HasPrefix(l, p) {
			return true
		}
	}
	return false
}

// random finds long strings that nobody would type: keys without any name beside them.
func random(text string) []span {
	var out []span
	start := -1
	flush := func(end int) {
		if start >= 0 && randomString(text[start:end]) {
			out = append(out, span{start, end})
		}
		start = -1
	}
	for i := range len(text) {
		if keyChar(text[i]) {
			if start < 0 {
				start = i
			}
			continue
		}
		flush(i)
	}
	flush(len(text))
	return out
}

func keyChar(c byte) bool {
	return lowerCase(c) || upper(c) || digit(c) || c == '+' || c == '/' || c == '_' || c == '-'
}

const (
	minRandom   = 32  // characters: shorter random strings are ids more often than keys
	randomBits  = 4.3 // bits per character; prose and identifiers stay below 4.2
	hexKey      = 64  // hexadecimal digits of a 256-bit key; 40 is a commit
	longestPart = 18  // letters in a row without a digit or a change of case: a word
)

func randomString(s string) bool {
	s = strings.Trim(s, "_-/")
	if len(s) < minRandom || uuid(s) {
		return false
	}
	if hexadecimal(s) {
		return len(s) == hexKey && entropy(s) > 3
	}
	if strings.Count(s, "/") > len(s)/16+1 || strings.Count(s, "-")+strings.Count(s, "_") > len(s)/8+1 {
		return false // a path or a slug
	}
	return hasDigit(s) && mixed(s) && entropy(s) >= randomBits && longestWord(s) < longestPart
}

func mixed(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 'a' && r <= 'z' }) >= 0 &&
		strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' }) >= 0
}

func longestWord(s string) int {
	best, n := 0, 0
	for i := range len(s) {
		if lowerCase(s[i]) {
			n++
		} else {
			n = 0
		}
		best = max(best, n)
	}
	return best
}

func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; !digit(s[i]) && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func uuid(s string) bool {
	return len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
}

// entropy returns the Shannon entropy of s in bits per byte.
func entropy(s string) float64 {
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	h, n := 0.0, float64(len(s))
	for _, c := range count {
		if c > 0 {
			p := float64(c) / n
			h -= p * math.Log2(p)
		}
	}
	return h
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if upper(c) {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// replace puts the mark in the place of every span. Spans that overlap are one secret.
func replace(text string, found []span) (string, int) {
	if len(found) == 0 {
		return text, 0
	}
	slices.SortFunc(found, func(a, b span) int { return a.start - b.start })
	var b strings.Builder
	end, n := 0, 0
	for _, s := range found {
		if s.start >= end {
			b.WriteString(text[end:s.start])
			b.WriteString(Mark)
			n++
		}
		end = max(end, s.end)
	}
	b.WriteString(text[end:])
	return b.String(), n
}
