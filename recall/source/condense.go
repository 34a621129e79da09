package source

import (
	"strings"
	"unicode/utf8"
)

// Limits of what an episode keeps, in bytes.
const (
	maxPrompt  = 8 << 10
	maxSaid    = 6 << 10  // one text block of the model
	maxText    = 24 << 10 // all of them
	maxCommand = 600
	maxCode    = 10 << 10
	maxResult  = 2 << 10 // one tool result
	maxOutput  = 10 << 10
	maxFiles   = 64
	maxPath    = 512
	maxTitle   = 200
)

// cut shortens s to at most max bytes: the beginning and the end stay, and a line says what went.
func cut(s string, max int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return s
	}
	const gap = "\n…\n"
	head := clip(s, max*2/3)
	tail := s[len(s)-(max-len(head)-len(gap)):]
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	return head + gap + tail
}

// clip returns at most max bytes of s, ending between two characters.
func clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// tellingWords say that a line is about what went wrong.
var tellingWords = func() map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(`error errors fail failed failure failing fails exception panic fatal traceback denied refused cannot undefined
unexpected unknown invalid mismatch timeout timed deadlock conflict missing unable rejected expired segfault signal oom killed abort aborted
forbidden unauthorized unreachable corrupt leak race warning`) {
		set[w] = true
	}
	return set
}()

// telling reports whether a line looks like an error: by a word, by a name such as TypeError,
// ECONNREFUSED or E0308, or by an HTTP status of a failure.
func telling(line string) bool {
	for len(line) > 0 {
		start := strings.IndexFunc(line, wordRune)
		if start < 0 {
			return false
		}
		line = line[start:]
		end := strings.IndexFunc(line, func(r rune) bool { return !wordRune(r) })
		if end < 0 {
			end = len(line)
		}
		if tellingWord(line[:end]) {
			return true
		}
		line = line[end:]
	}
	return false
}

func wordRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func tellingWord(w string) bool {
	switch {
	case len(w) < 3 || len(w) > 64:
		return false
	case len(w) == 3 && (w[0] == '4' || w[0] == '5') && w[1] <= '9' && w[2] <= '9':
		return true
	case strings.HasSuffix(w, "Error") || strings.HasSuffix(w, "Exception"):
		return true
	case w[0] == 'E' && len(w) >= 4 && strings.ToUpper(w) == w:
		return true
	}
	return tellingWords[strings.ToLower(w)]
}

const (
	keepLines   = 10  // a result with so few lines stays whole
	headLines   = 2   // otherwise the first ones,
	tailLines   = 3   // the last ones,
	tellingMax  = 12  // and the ones in between that look like errors
	maxLineText = 240 // bytes of one line
)

// condense cuts the output of a tool to what carries meaning.
func condense(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	if s == "" {
		return ""
	}
	lines := strings.Split(clip(s, 4<<20), "\n")
	var out []string
	told := 0
	for i, line := range lines {
		line = strings.TrimRight(line, " \t\r")
		edge := len(lines) <= keepLines || i < headLines || i >= len(lines)-tailLines
		if !edge {
			if told >= tellingMax || !telling(clip(line, 2*maxLineText)) {
				continue
			}
			told++
		}
		if line != "" {
			out = append(out, clip(line, maxLineText))
		}
	}
	return cut(strings.Join(out, "\n"), maxResult)
}

// appendText adds s to *to on a line of its own while *to stays below max.
func appendText(to *string, s string, max int) {
	s = strings.TrimSpace(s)
	if s == "" || len(*to) >= max {
		return
	}
	if *to != "" {
		*to += "\n"
	}
	*to += cut(s, max-len(*to)+4)
}
