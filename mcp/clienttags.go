package mcp

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// controlTags are the tags by which Claude Code tells its model who speaks and what is not the user's word. They were read from the
// client's bundle, versions 2.1.330 and 2.1.332, where they are the same. A peer's text in a pushed message must not hold them.
var controlTags = tagSet(
	// What comes from another session, agent, service or device.
	"cross-session-message", "teammate-message", "agent-message", "task-notification", "coordinator-relay", "remote-review",
	"remote-control-device-report", "slack-ping", "slack-tag-message", "fetched-web-content", "untrusted-widget-state",
	"mcp-resource-update", "mcp-polling-update", "forked-skill-launch", "fork-boilerplate",
	"artifact-type-instructions", "cowritten-artifact-html", "artifact-file-content", "artifact-origin-notes",
	"artifact-stored-declaration", "artifact-content-authored-by-others",
	// What the client itself says, and what a command of the user printed.
	"system-reminder", "function_results", "tool_use_error", "sandbox_violations", "persisted-output", "total_tokens",
	"user-prompt-submit-hook", "post-tool-use-hook", "command-name", "command-message", "command-args",
	"bash-input", "bash-stdout", "bash-stderr", "bash-exit-code", "local-command-stdout", "local-command-stderr", "local-command-caveat",
	"user-memory-input", "ide_selection", "ide_opened_file", "browser_instruction",
)

// plainTags are control tags whose names are words of code and of other documents, too. Only their exact form counts.
var plainTags = tagSet("tick", "cited", "terminal", "browser")

const (
	channelTag = "channel" // counts with an attribute source, as the client writes it
	modelTag   = "antml"   // counts with a colon behind it: the name space of the model's own tags
	longestTag = 48        // runes that are read of a tag's name
	mostFiller = 16        // signs that show nothing which may stand between the parts of a tag
)

func tagSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ReplaceAll(n, "_", "-")] = true
	}
	return set
}

// escapeTags writes a backslash behind the bracket of each control tag, opening or closing, as the client does with texts that it
// does not trust, and says how many there were. A tag counts in capitals, in letters that look alike, and with invisible signs in it.
func escapeTags(s string) (out string, n int) {
	var b strings.Builder
	from := 0
	before := rune(0)
	for i, r := range s {
		if (r == '<' || r >= utf8.RuneSelf && openers[r]) && isControlTag(s[i+utf8.RuneLen(r):], r, before) {
			b.WriteString(s[from : i+utf8.RuneLen(r)])
			b.WriteByte('\\')
			from = i + utf8.RuneLen(r)
			n++
		}
		before = r
	}
	if n == 0 {
		return s, 0
	}
	b.WriteString(s[from:])
	return b.String(), n
}

// isControlTag says whether a bracket and what follows it, s, are a control tag.
func isControlTag(s string, opener, before rune) bool {
	exact := strings.TrimPrefix(s, "/")
	spaced, slashed := false, false
	s = skipFiller(s, &spaced)
	if r, n := utf8.DecodeRuneInString(s); slashes[r] {
		s, slashed = skipFiller(s[n:], &spaced), true
	}
	name, rest := tagName(s)
	closes := tagEnds(rest)
	switch {
	case controlTags[name]:
		return !spaced || closes // a < total_tokens is a comparison
	case plainTags[name]:
		generic := !slashed && (unicode.IsLetter(before) || unicode.IsDigit(before)) // Vec<tick>
		return opener == '<' && strings.HasPrefix(exact, name) && closes && !generic
	case name == channelTag:
		return slashed && closes || sourced(rest)
	case name == modelTag:
		r, _ := utf8.DecodeRuneInString(rest)
		return colons[r]
	}
	return false
}

// tagName reads the name at the beginning of s, in the plain letters that it looks like.
func tagName(s string) (name, rest string) {
	var b strings.Builder
	for i, r := range s {
		if b.Len() > longestTag {
			break
		}
		switch c := looksLike(r); {
		case c != 0:
			b.WriteByte(c)
		case !unicode.In(r, unicode.Cf, unicode.Mn):
			return b.String(), s[i:]
		}
	}
	return b.String(), ""
}

// looksLike is the sign of a tag's name that r looks like: a to z, 0 to 9, or "-" for every dash and underscore; 0 for none.
func looksLike(r rune) byte {
	switch {
	case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
		return byte(r)
	case r >= 'A' && r <= 'Z':
		return byte(r) + 'a' - 'A'
	case r == '_' || unicode.In(r, unicode.Pd, unicode.Pc) || r == '−':
		return '-'
	case r < utf8.RuneSelf:
		return 0
	}
	if c := lookalikes[unicode.ToLower(r)]; c != 0 {
		return c
	}
	if folded := norm.NFKC.String(string(r)); len(folded) == 1 { // full-width and mathematical letters
		return looksLike(rune(folded[0]))
	}
	return 0
}

// skipFiller skips what shows nothing, and notes whether there was white space.
func skipFiller(s string, spaced *bool) string {
	for range mostFiller {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case unicode.IsSpace(r):
			*spaced = true
		case n == 0 || !unicode.In(r, unicode.Cf, unicode.Mn):
			return s
		}
		s = s[n:]
	}
	return s
}

// tagEnds says whether s goes on as the rest of a tag: with its bracket or with an attribute.
func tagEnds(s string) bool {
	s = strings.TrimLeftFunc(s, func(r rune) bool { return unicode.IsSpace(r) || slashes[r] })
	r, _ := utf8.DecodeRuneInString(s)
	name := strings.TrimLeftFunc(s, func(r rune) bool { return looksLike(r) != 0 })
	return closers[r] || len(name) < len(s) && strings.HasPrefix(strings.TrimLeftFunc(name, unicode.IsSpace), "=")
}

// sourced says whether s, behind the name of a tag, has the attribute source.
func sourced(s string) bool {
	const near = 128 // bytes of other attributes before it
	s = s[:min(len(s), near)]
	if end := strings.IndexFunc(s, func(r rune) bool { return closers[r] }); end >= 0 {
		s = s[:end]
	}
	_, after, ok := strings.Cut(strings.ToLower(s), "source")
	return ok && strings.HasPrefix(strings.TrimLeftFunc(after, unicode.IsSpace), "=")
}
