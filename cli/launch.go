package cli

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/claude"
)

// exitNoClaude says that the claude executable is missing.
const exitNoClaude = 9

func launchVerb() *verb {
	return &verb{
		name: "launch", heading: headClaude, usage: "start claude with a name and groups on the mesh", args: "[-- <claude's arguments…>]", min: 0, max: -1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "name", Usage: "be `NAME` on the mesh (default the directory's name)"},
			&urfave.StringFlag{Name: "groups", Usage: "join `GROUPS`, separated by commas"},
			&urfave.BoolFlag{Name: "channel", Usage: "let mail come as channel notifications too (a preview of Claude Code that asks)"},
		},
		about: "Plain claude is on the mesh too, after claudemesh install: launch adds only what claude itself does not take. Every other flag and argument goes to\n" +
			"claude as it stands; after -- all of them do.",
		examples: []string{"claudemesh launch --name api --groups backend,oncall", "claudemesh launch --name api --resume", "claudemesh launch -- --name \"a title for claude\""},
		run:      runLaunch, passes: true,
	}
}

// passThrough puts what a verb that passes on does not know behind "--", so that it arrives in the order in which it was typed.
func passThrough(root *verb, argv []string) []string {
	if len(argv) == 0 {
		return argv
	}
	launch := root.sub(argv[0])
	if launch == nil || !launch.passes {
		return argv
	}
	ours, theirs := []string{launch.name}, []string{"--"}
	for i := 1; i < len(argv); i++ {
		name, _, assigned := strings.Cut(strings.TrimLeft(argv[i], "-"), "=")
		f := launch.flag(name)
		switch {
		case argv[i] == "--":
			theirs = append(theirs, argv[i+1:]...)
			i = len(argv)
		case len(theirs) == 1 && (argv[i] == "--help" || argv[i] == "-h"):
			return []string{launch.name, "--help"}
		case !strings.HasPrefix(argv[i], "--") || f == nil:
			theirs = append(theirs, argv[i])
		default:
			ours = append(ours, argv[i])
			if takesValue(f) && !assigned && i+1 < len(argv) {
				i++
				ours = append(ours, argv[i])
			}
		}
	}
	return append(ours, theirs...)
}

func runLaunch(ctx context.Context, c *call) error {
	path, err := exec.LookPath("claude")
	if err != nil {
		c.note("claudemesh: launch: claude is not on the PATH")
		c.note("hint: npm install -g @anthropic-ai/claude-code")
		return exitStatus(exitNoClaude)
	}
	env := os.Environ()
	set := func(key, value string) {
		env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, key+"=") })
		env = append(env, key+"="+value)
	}
	if name := c.str("name"); name != "" {
		set(envName, name)
	}
	if groups := c.str("groups"); groups != "" {
		set(envGroups, groups)
	}
	args := c.args
	if c.yes("channel") {
		set(envChannel, "1")
		args = append([]string{"--dangerously-load-development-channels", "server:" + claude.ServerName}, args...)
	}
	return runClaude(ctx, path, append([]string{"claude"}, args...), env)
}
