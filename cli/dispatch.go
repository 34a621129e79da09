package cli

import (
	"context"
	"errors"
	"regexp"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// dispatch hands an arranged line to urfave/cli, which sets the flags and calls the verb.
func (a *app) dispatch(ctx context.Context, l *line) error {
	if l.has("help") || l.has("h") {
		a.help(l)
		return nil
	}
	err := a.urfave().RunContext(ctx, l.urfave())
	if bad, ok := errors.AsType[*flagError](err); ok {
		return badValue(l, bad)
	}
	return err
}

// flagError is a value that a flag does not take, as urfave/cli found it.
type flagError struct{ error }

var invalidValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-([a-z-]+): (.*)$`)

// badValue says in our words which value a flag does not take.
func badValue(l *line, bad *flagError) error {
	m := invalidValue.FindStringSubmatch(bad.Error())
	if m == nil {
		return protocol.Refuse(protocol.CodeInvalid, "%s", bad.error)
	}
	value, name, why := m[1], m[2], m[3]
	f := l.verb.flag(name)
	switch {
	case f != nil && !takesValue(f):
		return protocol.Refuse(protocol.CodeInvalid, "--%s is a switch and takes no value, not %s", name, value).WithHint("--%s turns it on", name)
	case strings.Contains(why, "range"):
		return protocol.Refuse(protocol.CodeInvalid, "--%s: %s is too large", name, value)
	}
	return protocol.Refuse(protocol.CodeInvalid, "--%s takes a whole number, not %s", name, value)
}

// urfave builds urfave/cli's application from the table. Help and completion are ours: they read the same table.
func (a *app) urfave() *urfave.App {
	return &urfave.App{
		Name: "claudemesh", HideHelp: true, HideVersion: true, DisableSliceFlagSeparator: true, // a path may have a comma
		Flags: a.root.flags, Commands: a.commands(a.root), Action: a.action(a.root),
		Writer: a.stdout, ErrWriter: a.stderr,
		OnUsageError:   usageError,
		ExitErrHandler: func(*urfave.Context, error) {}, // main exits, not the library
	}
}

func usageError(_ *urfave.Context, err error, _ bool) error { return &flagError{err} }

func (a *app) commands(parent *verb) []*urfave.Command {
	var out []*urfave.Command
	for _, v := range parent.subs {
		out = append(out, &urfave.Command{
			Name: v.name, Aliases: v.aliases, Flags: v.flags, HideHelp: true, OnUsageError: usageError,
			Action: a.action(v), Subcommands: a.commands(v),
		})
	}
	return out
}

func (a *app) action(v *verb) urfave.ActionFunc {
	return func(u *urfave.Context) error {
		return v.run(u.Context, &call{app: a, flags: u, args: u.Args().Slice(), json: v.flag("json") != nil && u.Bool("json")})
	}
}
