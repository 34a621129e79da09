package cli

import (
	"regexp"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// line is a command line whose parts have found their places.
type line struct {
	path  []string // names of the verb and of those above it
	verb  *verb
	flags []given
	args  []string
}

// given is a flag with its value as it was typed.
type given struct {
	name  string
	value string
	bare  bool // a switch without "="
}

func (g given) String() string {
	if g.bare {
		return "--" + g.name
	}
	return "--" + g.name + "=" + g.value
}

// has tells whether a switch is on. It looks at the line itself, so it holds for lines that are in error, too.
func (l *line) has(name string) bool {
	return slices.ContainsFunc(l.flags, func(g given) bool {
		return g.name == name && (g.bare || g.value == "true" || g.value == "1")
	})
}

// given reports whether a flag stands in the line, whatever its value.
func (l *line) given(name string) bool {
	return slices.ContainsFunc(l.flags, func(g given) bool { return name != "" && g.name == name })
}

var (
	// Numbers such as -5 are arguments; so is "-", which reads stdin.
	isNumber = regexp.MustCompile(`^-\.?[0-9]`)

	// A message's id, also a short one, may begin with a dash, and must be accepted as it is shown.
	isID = regexp.MustCompile(`^-[0-9A-Za-z_][0-9A-Za-z_-]{6,}$`)
)

// arrange finds the verb, and sorts what stands before "--" into flags and arguments, in whatever order it was typed.
// Whether a flag takes a value must be known before the verb is, so a name means the same in every verb (a test holds
// us to it). The returned line is usable for reporting even when there is an error.
func arrange(root *verb, argv []string) (*line, error) {
	l := &line{verb: root}
	argv = passThrough(root, argv)
	takes := valueFlags(root)
	var words, doubtful []string
	var bad error
	for i := 0; i < len(argv); i++ {
		arg := argv[i]
		if arg == "--" {
			l.args = append(l.args, argv[i+1:]...)
			break
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") || isNumber.MatchString(arg) {
			words = append(words, arg)
			continue
		}
		name, value, assigned := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		if _, known := takes[name]; !known && isID.MatchString(arg) {
			words, doubtful = append(words, arg), append(doubtful, arg)
			continue
		}
		g := given{name: name, value: value, bare: !assigned}
		if takes[name] && !assigned {
			if i+1 == len(argv) || isFlag(takes, argv[i+1]) {
				bad = protocol.Refuse(protocol.CodeInvalid, "--%s needs a value", name)
				continue
			}
			i++
			g.value, g.bare = argv[i], false
		}
		l.flags = append(l.flags, g)
	}
	words = l.descend(expand(root, words))
	l.args = append(words, l.args...)
	if bad == nil && len(doubtful) > 0 {
		bad = l.checkIDs(doubtful)
	}
	if bad == nil {
		bad = l.check(root, words)
	}
	return l, bad
}

// checkIDs refuses what looks like an id behind a dash where the verb takes no ids, or where it is a flag misspelt.
func (l *line) checkIDs(doubtful []string) error {
	for _, d := range doubtful {
		e := l.unknownFlag(strings.TrimPrefix(d, "-"))
		if !strings.Contains(l.verb.args, "<id") || strings.HasPrefix(e.Hint, "did you mean") {
			return e
		}
	}
	return nil
}

// expand rewrites the one line that does not begin with a verb: an invite link alone joins, with whatever was pasted around it.
func expand(root *verb, words []string) []string {
	if len(words) == 0 || words[0] == "help" || root.sub(words[0]) != nil || !protocol.FindsLink(strings.Join(words, " ")) {
		return words
	}
	return append([]string{"join"}, words...)
}

// descend follows words down the table as far as they name verbs, and returns those left over.
func (l *line) descend(words []string) []string {
	if len(words) > 0 && words[0] == "help" {
		l.flags = append(l.flags, given{name: "help", bare: true})
		words = words[1:]
	}
	for len(words) > 0 {
		s := l.verb.sub(words[0])
		if s == nil {
			break
		}
		l.verb, l.path, words = s, append(l.path, s.name), words[1:]
	}
	return words
}

// check refuses what the verb does not take: words that name nothing, unknown flags, too few or too many arguments.
func (l *line) check(root *verb, words []string) error {
	if err := l.checkWords(root, words); err != nil {
		return err
	}
	for _, g := range l.flags {
		if !everywhere(g.name) && l.verb.flag(g.name) == nil {
			return l.unknownFlag(g.name)
		}
	}
	if l.has("help") || l.has("h") {
		return nil
	}
	switch n := len(l.args); {
	case l.verb.run == nil && l.verb != root:
		return protocol.Refuse(protocol.CodeInvalid, "say what to do: %s", listOr(subNames(l.verb))).
			WithHint("claudemesh %s --help shows them", strings.Join(l.path, " "))
	case n < l.verb.min && !(n == l.verb.min-1 && l.given(l.verb.instead)):
		return l.usage("too few arguments")
	case l.verb.max >= 0 && n > l.verb.max:
		return l.usage("too many arguments")
	}
	return nil
}

func (l *line) checkWords(root *verb, words []string) error {
	if len(words) == 0 || (l.verb.max != 0 && l.verb != root) {
		return nil
	}
	if len(l.verb.subs) == 0 {
		return nil // too many arguments says it better
	}
	e := protocol.Refuse(protocol.CodeInvalid, "unknown command %q", words[0])
	if near := nearest(words[0], subNames(l.verb)); near != "" {
		return e.WithHint("did you mean claudemesh %s?", strings.Join(append(slices.Clone(l.path), near), " "))
	}
	return e.WithHint("claudemesh %s shows what there is", strings.Join(append(slices.Clone(l.path), "--help"), " "))
}

func (l *line) unknownFlag(name string) *protocol.Error {
	var names []string
	for _, f := range l.verb.flags {
		names = append(names, f.Names()...)
	}
	e := protocol.Refuse(protocol.CodeInvalid, "unknown flag --%s", name)
	switch near := nearest(name, names); {
	case near != "":
		e.Hint = "did you mean --" + near + "?"
	case l.verb.max != 0:
		e.Hint = "put -- before an argument that begins with a dash"
	default:
		e.Hint = "claudemesh " + strings.Join(append(slices.Clone(l.path), "--help"), " ") + " shows its flags"
	}
	return e
}

func (l *line) usage(what string) error {
	return protocol.Refuse(protocol.CodeInvalid, "%s", what).
		WithHint("usage: claudemesh %s", strings.TrimSpace(strings.Join(l.path, " ")+" "+l.verb.args))
}

// urfave returns the arguments in the one order that urfave/cli understands.
func (l *line) urfave() []string {
	out := append([]string{"claudemesh"}, l.path...)
	for _, g := range l.flags {
		if !everywhere(g.name) {
			out = append(out, g.String())
		}
	}
	return append(append(out, "--"), l.args...)
}

// valueFlags maps every flag name of the table to whether it takes a value.
func valueFlags(root *verb) map[string]bool {
	takes := map[string]bool{"help": false, "h": false, flagOtherHome: false}
	root.walk(nil, func(_ []string, v *verb) {
		for _, f := range v.flags {
			for _, n := range f.Names() {
				takes[n] = takesValue(f)
			}
		}
	})
	return takes
}

// flagOtherHome lets a verb work in a home that belongs to another user.
const flagOtherHome = "allow-other-home"

// everywhere tells whether every verb takes the flag, and urfave/cli does not know it.
func everywhere(name string) bool { return name == "help" || name == "h" || name == flagOtherHome }

func takesValue(f urfave.Flag) bool {
	_, isBool := f.(*urfave.BoolFlag)
	return !isBool
}

// isFlag tells whether arg is a known flag, or "--".
func isFlag(takes map[string]bool, arg string) bool {
	if arg == "--" {
		return true
	}
	if !strings.HasPrefix(arg, "--") {
		return false
	}
	name, _, _ := strings.Cut(arg[2:], "=")
	_, known := takes[name]
	return known
}

func subNames(v *verb) []string {
	var names []string
	for _, s := range v.subs {
		names = append(names, s.name)
	}
	return names
}
