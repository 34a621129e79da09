package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"
)

// filesWanted is the line that tells the shell's script to offer files.
const filesWanted = ":files"

func completeVerb() *verb {
	return &verb{
		name: "complete", usage: "what the completion scripts call: how the last of these words may go on", args: "-- [word…]", min: 0, max: -1,
		about: "One candidate a line. Names, groups, meshes and ids come from the daemon, which is asked for at most 50 ms and not started. Without it\n" +
			"there are none, and nothing is said.",
		examples: []string{`claudemesh complete -- send ""`},
		run: func(ctx context.Context, c *call) error {
			for _, word := range c.complete(ctx, c.args) {
				c.say("%s", word)
			}
			return nil
		},
	}
}

// complete returns how the last word may go on.
func (c *call) complete(ctx context.Context, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	before, word := words[:len(words)-1], words[len(words)-1]
	l, _ := arrange(c.root, before) // as far as it is one yet
	src := newCandidates(ctx, l)
	defer src.close()
	behind := slices.Contains(before, "--") || l.verb.passes && len(l.args) > 0
	typesFlag := !behind && strings.HasPrefix(word, "-")
	name, value, assigned := strings.Cut(strings.TrimPrefix(word, "--"), "=")
	switch flag := c.openFlag(before); {
	case flag != "" && !behind:
		return fitting("", word, src.ofFlag(flag))
	case typesFlag && assigned:
		return fitting("--"+name+"=", value, src.ofFlag(name))
	case typesFlag:
		return append(fitting("", word, flagNames(l)), fitting("", word, src.ofArgument())...) // ids may begin with a dash
	case l.verb.passes:
		return nil // another program's
	case l.verb == c.root:
		return fitting("", word, shownNames(l.verb))
	case len(l.args) == 0:
		return fitting("", word, append(subNames(l.verb), src.ofArgument()...))
	}
	return fitting("", word, src.ofArgument())
}

// openFlag is the flag whose value comes next, or "".
func (c *call) openFlag(before []string) string {
	if len(before) == 0 || slices.Contains(before, "--") {
		return ""
	}
	name, isFlag := strings.CutPrefix(before[len(before)-1], "--")
	if !isFlag || !valueFlags(c.root)[name] {
		return ""
	}
	return name
}

// shownNames are the verbs of the overview: the others are for programs, or are spelt in two ways.
func shownNames(root *verb) []string {
	var names []string
	for _, v := range root.subs {
		if v.heading != "" {
			names = append(names, v.name)
		}
	}
	return names
}

// flagNames are the flags of the verb that were not given yet.
func flagNames(l *line) []string {
	var names []string
	for _, f := range l.verb.flags {
		name := f.Names()[0]
		if !slices.ContainsFunc(l.flags, func(g given) bool { return g.name == name }) {
			names = append(names, "--"+name)
		}
	}
	return append(names, "--help")
}

// harmless is what a candidate may be made of. Peers choose names, and to a shell other characters could be more than a word.
var harmless = regexp.MustCompile(`^[0-9A-Za-z@*._/:+-]+$`)

// fitting returns the candidates that the word begins, each once and in their order, behind head. Of a word with commas only what
// is behind the last one counts.
func fitting(head, word string, candidates []string) []string {
	if i := strings.LastIndexByte(word, ','); i >= 0 {
		head, word = head+word[:i+1], word[i+1:]
	}
	var found []string
	for _, c := range candidates {
		switch {
		case c == filesWanted:
			found = append(found, c)
		case strings.HasPrefix(c, word) && harmless.MatchString(c) && !slices.Contains(found, head+c):
			found = append(found, head+c)
		}
	}
	return found
}
