package recall

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/recall/words"
)

// Excerpt returns what in h answers the query that found it: the beginning of the prompt, the lines
// that hold the query's words in their order, and the end of what the model said. It has at most max
// bytes and is redacted as h is. Gaps are marked with "…".
func (h *Hit) Excerpt(max int) string {
	lines := h.lines()
	return joinLines(lines, choose(lines, max), max)
}

func joinLines(lines []line, chosen []int, max int) string {
	var b strings.Builder
	last := -1
	for _, i := range chosen {
		if last >= 0 && i > last+1 {
			b.WriteString("…\n")
		}
		b.WriteString(lines[i].text)
		b.WriteByte('\n')
		last = i
	}
	return Clip(strings.TrimRight(b.String(), "\n"), max)
}

// Gist returns what an episode is about, whatever was asked: the beginning of the prompt, the end of
// what the model said, what went wrong, and of the rest what fits into max bytes. So a peer who asks
// again and again sees no more of it.
func (h *Hit) Gist(max int) string {
	whole := *h
	whole.matched = nil
	lines := whole.lines()
	for i := range lines {
		lines[i].worth += gistWorth
	}
	return joinLines(lines, choose(lines, max), max)
}

// line is one line of an episode and how much it tells.
type line struct {
	text  string
	worth float64
}

const (
	maxExcerptLine = 400
	promptLines    = 2 // lines of the prompt that are always wanted,
	promptWorth    = 4 // by so much,
	finalLines     = 3 // and the last of what the model said: the conclusion
	finalWorth     = 3
	gistWorth      = 0.1 // what any line is worth where nothing is asked
	codeWorth      = 0.5 // a match in code or output against one in prose
)

func (h *Hit) lines() []line {
	var out []line
	add := func(text string, worth float64, kept func(i, n int) float64) {
		parts := split(text)
		for i, part := range parts {
			out = append(out, line{part, worth*h.matches(part) + kept(i, len(parts))})
		}
	}
	add(h.Prompt, 1, func(i, _ int) float64 {
		if i < promptLines {
			return promptWorth
		}
		return 0
	})
	add(h.Code, codeWorth, nothing)
	add(h.Output, codeWorth, nothing)
	add(h.Text, 1, func(i, n int) float64 {
		if i >= n-finalLines {
			return finalWorth
		}
		return 0
	})
	return out
}

func nothing(int, int) float64 { return 0 }

func split(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, "\n") {
		if part = strings.TrimRight(part, " \t\r"); strings.TrimSpace(part) != "" {
			out = append(out, Clip(part, maxExcerptLine))
		}
	}
	return out
}

// matches returns how many different tokens of the query stand in text.
func (h *Hit) matches(text string) float64 {
	seen := map[string]bool{}
	words.Each(text, func(token string) {
		if h.matched[token] {
			seen[token] = true
		}
	})
	return float64(len(seen))
}

// choose returns the indices, in order, of the lines worth most that fit into max bytes.
func choose(lines []line, max int) []int {
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case lines[a].worth > lines[b].worth:
			return -1
		case lines[a].worth < lines[b].worth:
			return 1
		}
		return 0
	})
	var chosen []int
	for _, i := range order {
		cost := len(lines[i].text) + len("\n…\n")
		if cost > max || lines[i].worth == 0 && len(chosen) > 0 {
			continue
		}
		max -= cost
		chosen = append(chosen, i)
	}
	slices.Sort(chosen)
	return chosen
}

// Clip returns at most max bytes of s, ending between two characters.
func Clip(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
