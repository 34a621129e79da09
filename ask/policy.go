package ask

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Rule is one thing that the person allowed. Without a rule nothing leaves.
type Rule struct {
	ID    string    `json:"id"`
	Mesh  string    `json:"mesh"`           // mesh id
	Dir   string    `json:"dir,omitempty"`  // sessions in it and below; empty: all
	With  []string  `json:"with,omitempty"` // member keys; empty: every verified member
	Level Level     `json:"level"`
	Added time.Time `json:"added"`
}

// Asker is who asks, as this machine's own view has him. The name is for people; rules go by the key.
type Asker struct {
	Key  string // the member's
	Name string
}

func (r *Rule) covers(dir string) bool {
	return r.Dir == "" || dir == r.Dir || strings.HasPrefix(dir, strings.TrimSuffix(r.Dir, string(filepath.Separator))+string(filepath.Separator))
}

func (r *Rule) admits(a Asker) bool { return len(r.With) == 0 || slices.Contains(r.With, a.Key) }

// specific orders rules: the longer directory wins, then the rule that names people.
func (r *Rule) specific() int {
	n := 2 * len(r.Dir)
	if len(r.With) > 0 {
		n++
	}
	return n
}

// levelFor returns what rules allow an asker of a mesh for an episode in dir. The most specific rule
// decides. Of equally specific ones the lower level does, so that a doubt keeps things here.
func levelFor(rules []Rule, mesh string, a Asker, dir string) Level {
	best, level := -1, None
	for i := range rules {
		r := &rules[i]
		if r.Mesh != mesh || !r.covers(dir) || !r.admits(a) {
			continue
		}
		switch n := r.specific(); {
		case n > best:
			best, level = n, r.Level
		case n == best && r.Level.rank() < level.rank():
			level = r.Level
		}
	}
	return level
}

// any reports whether an asker could get anything at all: if not, nothing is searched.
func anyFor(rules []Rule, mesh string, a Asker) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Mesh == mesh && r.Level.rank() > 0 && r.admits(a) })
}
