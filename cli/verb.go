package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// verb is one row of the command table. A verb with subs and without run is only a heading for them.
type verb struct {
	name     string
	aliases  []string
	heading  string // under which it stands in the overview; top-level verbs only
	usage    string
	args     string // as help shows them: "<to> <message…|->"
	min, max int    // number of arguments; max -1: any
	instead  string // a flag with which the last argument may be left out
	flags    []urfave.Flag
	examples []string
	about    string
	silent   bool // exits with 0 whatever goes wrong on our side
	passes   bool // flags and arguments that it does not know are another program's
	run      func(ctx context.Context, c *call) error
	subs     []*verb
}

// names returns all names that select v.
func (v *verb) names() []string { return append([]string{v.name}, v.aliases...) }

// sub returns the verb below v with that name, or nil.
func (v *verb) sub(name string) *verb {
	for _, s := range v.subs {
		if slices.Contains(s.names(), name) {
			return s
		}
	}
	return nil
}

// walk calls f for v and every verb below it with its path, the empty one for the root.
func (v *verb) walk(path []string, f func(path []string, v *verb)) {
	f(path, v)
	for _, s := range v.subs {
		s.walk(append(slices.Clone(path), s.name), f)
	}
}

// flag returns the flag of v with that name, or nil.
func (v *verb) flag(name string) urfave.Flag {
	for _, f := range v.flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

// call is one run of a verb.
type call struct {
	*app
	flags *urfave.Context
	args  []string
	json  bool
}

func (c *call) str(name string) string { return c.flags.String(name) }
func (c *call) yes(name string) bool   { return c.flags.Bool(name) }

// arg returns the i-th argument, or "" when there are not so many.
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// rest joins the arguments from i on, as the shell split them.
func (c *call) rest(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return strings.Join(c.args[i:], " ")
}

// duration reads a flag such as 10s or 7d; 0 when it is not given.
func (c *call) duration(name string) (time.Duration, error) {
	s := c.str(name)
	if s == "" {
		return 0, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return 0, protocol.Refuse(protocol.CodeInvalid, "--%s: %s", name, err)
	}
	return d, nil
}

// oneOf reads a flag that takes one of a few words: see choices.
func (c *call) oneOf(name string) (string, error) {
	s, words := c.str(name), choices(name)
	if s == "" || slices.Contains(words, s) {
		return s, nil
	}
	e := protocol.Refuse(protocol.CodeInvalid, "--%s takes %s, not %q", name, listOr(words), s)
	if near := nearest(s, words); near != "" {
		e.Hint = "did you mean " + near + "?"
	}
	return "", e
}

// onlyOne refuses flags that contradict each other.
func (c *call) onlyOne(names ...string) error {
	var set []string
	for _, name := range names {
		if c.yes(name) {
			set = append(set, "--"+name)
		}
	}
	if len(set) > 1 {
		return protocol.Refuse(protocol.CodeInvalid, "%s contradict each other: name one", listAnd(set))
	}
	return nil
}

// positive reads a whole number of at least 1.
func (c *call) positive(name string) (int, error) {
	n := c.flags.Int(name)
	if n < 1 {
		return 0, protocol.Refuse(protocol.CodeInvalid, "--%s takes a number of at least 1", name)
	}
	return n, nil
}

// The flags that many verbs share.

func jsonFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "json", Usage: "print JSON instead of words"}
}

func meshFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "mesh", Usage: "act in the mesh `SLUG` only"}
}

func sessionFlag() urfave.Flag {
	return &urfave.StringFlag{Name: "session", Usage: "act as the session `ID` of this machine (its id, label or key)"}
}
