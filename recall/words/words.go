// Package words turns text into the tokens that the memory is searched by.
//
// A run of letters, digits and connectors ("payments-api", "src/hook.go", "ErrConnRefused") gives
// one token for the whole and one for each part. Parts that are English words are stemmed.
// Connectors become "_", so "payments-api", "payments_api" and "paymentsApi" are one token.
// Scripts without spaces between words give pairs of neighbouring characters.
package words

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/kljensen/snowball/english"
)

const (
	maxToken = 64  // bytes; longer tokens are base64, minified code and the like
	maxParts = 24  // parts of one run: a longer run is no identifier
	maxRun   = 512 // bytes of one run; the rest is a run of its own
)

// Each calls emit for every token of text, in order. A whole identifier comes before its parts.
func Each(text string, emit func(token string)) { scanner{emit: emit}.each(text) }

// Starts is a set of token beginnings. A stem begins as its word does: with the same two letters,
// and from six letters on with the same three, where "y" and "i" are one.
type Starts struct {
	two   map[[2]byte]bool
	three map[[3]byte]bool
}

// NewStarts returns an empty set.
func NewStarts() *Starts { return &Starts{two: map[[2]byte]bool{}, three: map[[3]byte]bool{}} }

// Add adds the beginning of token to the set.
func (s *Starts) Add(token string) {
	three := start(token)
	s.two[[2]byte(three[:2])], s.three[three] = true, true
}

// shortWord is the longest word of which only the first two letters are compared.
const shortWord = 5

// begins reports whether a token of the set may come of the lower-case word.
func (s *Starts) begins(word string) bool {
	three := start(word)
	if len(word) <= shortWord {
		return s.two[[2]byte(three[:2])]
	}
	return s.three[three]
}

func start(token string) [3]byte {
	var b [3]byte
	copy(b[:], token)
	if b[2] == 'y' {
		b[2] = 'i'
	}
	return b
}

// EachOf is Each for a reader who looks for few tokens: a token that begins like none of those in
// starts is given as "", which saves its stemming.
func EachOf(starts *Starts, text string, emit func(token string)) {
	scanner{emit: emit, starts: starts}.each(text)
}

type scanner struct {
	emit   func(string)
	starts *Starts // nil: all
}

func (s scanner) each(text string) {
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case dense(r):
			end := span(text, dense)
			pairs(text[:end], s.emit)
			text = text[end:]
		case inWord(r):
			end := runEnd(text)
			s.run(strings.Trim(text[:end], connectors))
			text = text[end:]
		default:
			text = text[size:]
		}
	}
}

// List returns the tokens of text.
func List(text string) []string {
	var out []string
	Each(text, func(t string) { out = append(out, t) })
	return out
}

// Join returns the tokens of text with a space between them, as the full-text index takes them.
func Join(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	Each(text, func(t string) {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(t)
	})
	return b.String()
}

const connectors = "_-./:#@+'’\\"

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// dense reports whether r belongs to a script that puts no spaces between words.
func dense(r rune) bool {
	return r >= 0x2e80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) ||
		r >= 0x0e00 && r <= 0x0e7f
}

func span(s string, in func(rune) bool) int {
	for i, r := range s {
		if !in(r) {
			return i
		}
	}
	return len(s)
}

// runEnd returns where the run at the start of s ends: at the first character that is neither part
// of a word nor a connector between two of them.
func runEnd(s string) int {
	connected := false
	for i, r := range s {
		switch {
		case i >= maxRun:
			return i
		case dense(r):
			return i
		case inWord(r):
			connected = false
		case strings.ContainsRune(connectors, r) && !connected:
			connected = true
		default:
			return i
		}
	}
	return len(s)
}

func pairs(s string, emit func(string)) {
	var before rune
	n := 0
	for _, r := range s {
		if n > 0 {
			emit(string(before) + string(r))
		}
		before, n = r, n+1
	}
	if n == 1 {
		emit(string(before))
	}
}

// run emits the tokens of one run without connectors at its ends.
func (s scanner) run(text string) {
	if text == "" {
		return
	}
	if plain(text) {
		s.one(text)
		return
	}
	parts := split(text)
	if len(parts) > 1 && len(parts) <= maxParts {
		if whole := strings.ToLower(strings.Join(parts, "_")); len(whole) <= maxToken {
			s.emit(whole)
		}
	}
	for _, p := range parts {
		s.one(p)
	}
}

// plain reports whether s is one lower-case ASCII word: the common case, which needs no splitting.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 'a' || s[i] > 'z' {
			return false
		}
	}
	return true
}

func (s scanner) one(part string) {
	part = strings.ToLower(part)
	if len(part) > maxToken || len(part) == 1 && part[0] < utf8.RuneSelf && !isDigit(part[0]) {
		return
	}
	if s.starts != nil && !s.starts.begins(part) {
		s.emit("")
		return
	}
	if plain(part) {
		part = Stem(part)
	}
	s.emit(part)
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// stems remembers stems of recent words: a text repeats its words, and stemming one takes a microsecond.
var stems [1 << 14]atomic.Pointer[stemmed]

type stemmed struct{ word, stem string }

// Stem returns the stem of a lower-case English word (Porter 2).
func Stem(word string) string {
	if len(word) <= 3 {
		return word
	}
	slot := &stems[maphash.String(stemSeed, word)%uint64(len(stems))]
	if s := slot.Load(); s != nil && s.word == word {
		return s.stem
	}
	s := &stemmed{word: strings.Clone(word)}
	s.stem = english.Stem(s.word, false)
	slot.Store(s)
	return s.stem
}

var stemSeed = maphash.MakeSeed()

// split cuts a run at connectors and where lower case turns into upper case, and before the last
// capital of several when lower case follows ("HTTPServer" is "HTTP" and "Server").
func split(s string) []string {
	var parts []string
	rs := []rune(s)
	start := 0
	cut := func(end int) {
		if end > start {
			parts = append(parts, string(rs[start:end]))
		}
		start = end
	}
	for i, r := range rs {
		switch {
		case strings.ContainsRune(connectors, r):
			cut(i)
			start = i + 1
		case i > start && unicode.IsUpper(r) && camel(rs, i):
			cut(i)
		}
	}
	cut(len(rs))
	return parts
}

func camel(rs []rune, i int) bool {
	if unicode.IsLower(rs[i-1]) {
		return true
	}
	return unicode.IsUpper(rs[i-1]) && i+1 < len(rs) && unicode.IsLower(rs[i+1])
}
