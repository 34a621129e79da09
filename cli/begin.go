package cli

import (
	"context"
	"io"
	"strings"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// beginning is one of the ways to begin.
type beginning struct {
	key, name, what string
	verbs           []string // what to type without being led
	lead            func(context.Context, *call) error
}

func beginnings() []beginning {
	return []beginning{
		{"1", "alone", "search what your own Claude Code sessions learned; no mesh, no network",
			[]string{`claudemesh recall "what you solved once"`, "claudemesh install"}, beginAlone},
		{"2", "with a team", "make a mesh and invite people and machines",
			[]string{"claudemesh create acme --local", "claudemesh create acme --broker relay.example --token-file admin-token"}, beginTeam},
		{"3", "join", "you were given a link",
			[]string{"claudemesh join <link>"}, beginJoin},
	}
}

// fresh tells whether the home has no mesh yet. It makes no home.
func fresh() bool {
	home, err := config.FindHome()
	if err != nil {
		return false
	}
	cfg, err := home.Load()
	return err == nil && len(cfg.Meshes) == 0
}

// begin shows the ways to begin and, on a terminal, leads through the one that is picked.
func (c *call) begin(ctx context.Context) error {
	c.say("claudemesh: %s", c.root.usage)
	c.say("\nNothing is set up here yet. There are three ways to begin:")
	for _, w := range beginnings() {
		c.say("\n  %s  %s: %s", c.paint(bold, w.key), c.paint(bold, w.name), w.what)
		for _, v := range w.verbs {
			c.say("       %s", v)
		}
	}
	c.say("\nclaudemesh demo plays the whole system on this machine; claudemesh help lists every verb.")
	if !isTerminal(c.stdin) || !isTerminal(c.stdout) {
		return nil
	}
	answer, err := c.answer("\nWhich one? [1/2/3, Enter: none]")
	if err != nil || answer == "" {
		return err
	}
	for _, w := range beginnings() {
		if answer == w.key || strings.EqualFold(answer, w.name) {
			return w.lead(ctx, c)
		}
	}
	return protocol.Refuse(protocol.CodeInvalid, "%q is none of 1, 2, 3", answer)
}

func beginAlone(ctx context.Context, c *call) error {
	if err := c.other(ctx, "install"); err != nil {
		return err
	}
	c.say("\nYour sessions have the tools recall and remember from now on. In a shell: claudemesh recall \"what you solved once\"")
	return nil
}

func beginTeam(ctx context.Context, c *call) error {
	slug, err := c.answer("The mesh's name, for example acme:")
	if err != nil {
		return err
	}
	broker, err := c.answer("The broker's address [Enter: this machine runs it, for its own sessions alone]:")
	if err != nil {
		return err
	}
	argv := []string{"create", slug}
	if broker == "" {
		argv = append(argv, "--local")
	} else {
		argv = append(argv, "--broker="+broker)
		token, err := c.answer("The file with its admin token [Enter: that of a broker on this machine]:")
		if err != nil {
			return err
		}
		if token != "" {
			argv = append(argv, "--token-file="+token)
		}
	}
	if argv, err = c.withName(argv); err != nil {
		return err
	}
	if err := c.other(ctx, argv...); err != nil {
		return err
	}
	if broker == "" {
		c.say("\nclaudemesh install brings your Claude Code sessions onto it.")
		return nil
	}
	c.say("\nThis link lets one person join:")
	return c.other(ctx, "invite")
}

func beginJoin(ctx context.Context, c *call) error {
	link, err := c.answer("The link:")
	if err != nil {
		return err
	}
	argv, err := c.withName([]string{"join", link})
	if err != nil {
		return err
	}
	if err := c.other(ctx, argv...); err != nil {
		return err
	}
	c.say("\nclaudemesh install brings your Claude Code sessions onto it.")
	return nil
}

// withName asks for the name in the mesh.
func (c *call) withName(argv []string) ([]string, error) {
	name, err := c.answer("Your name in it [Enter: your login name]:")
	if err == nil && name != "" {
		argv = append(argv, "--name="+name)
	}
	return argv, err
}

// other runs another verb with the same streams. It says itself what goes wrong.
func (c *call) other(ctx context.Context, argv ...string) error {
	a := newApp(c.stdin, c.stdout.w, c.stderr.w)
	l, err := a.perform(ctx, argv)
	if err != nil {
		a.report(l, err)
		return exitStatus(exitCode(err))
	}
	return nil
}

// answer asks on the terminal and returns what was typed on one line. It reads no byte beyond it, which is for the next to ask.
func (c *call) answer(question string) (string, error) {
	if _, err := io.WriteString(c.stderr, question+" "); err != nil {
		return "", err
	}
	var line []byte
	for b := make([]byte, 1); len(line) <= protocol.MaxLinkText; {
		n, err := c.stdin.Read(b)
		if n == 1 && b[0] == '\n' {
			return strings.TrimSpace(string(line)), nil
		}
		line = append(line, b[:n]...)
		if err != nil {
			return "", protocol.Refuse(protocol.CodeInvalid, "no answer: the input ended")
		}
	}
	return "", protocol.Refuse(protocol.CodeInvalid, "the answer is too long")
}
