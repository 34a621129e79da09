package cli

import (
	"context"
	"path/filepath"
	"regexp"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/config"
)

func pluginVerb() *verb {
	return &verb{
		name: "plugin", heading: headClaude, usage: "the same as install, as a plugin of Claude Code",
		subs: []*verb{{
			name: "export", usage: "write the plugin into a directory, for a marketplace of your own", args: "<dir>", min: 1, max: 1,
			flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh plugin export ./claudemesh-plugin"},
			run: func(_ context.Context, c *call) error {
				p, err := c.plugin()
				if err != nil {
					return err
				}
				if err := p.Export(c.arg(0)); err != nil {
					return err
				}
				return c.done("exported; claude --plugin-dir %s tries it", c.arg(0))
			},
		}},
	}
}

func pluginPathVerb() *verb {
	return &verb{
		name: "plugin-path", usage: "where the plugin of this version lies: what a marketplace entry calls", min: 0, max: 0,
		about:    `A marketplace entry {"source":"command","command":"claudemesh plugin-path"} makes the binary carry its own plugin.`,
		examples: []string{"claude --plugin-dir \"$(claudemesh plugin-path)\""},
		run: func(_ context.Context, c *call) error {
			home, err := config.DefaultHome()
			if err != nil {
				return err
			}
			p, err := c.plugin()
			if err != nil {
				return err
			}
			dir := filepath.Join(home.Dir(), "plugin", p.Version)
			if err := p.Export(dir); err != nil {
				return err
			}
			c.say("%s", dir)
			return nil
		},
	}
}

var semantic = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)$`)

func (c *call) plugin() (claude.Plugin, error) {
	command, err := ownCommand()
	version := "0.0.0" // a build without a release's version
	if m := semantic.FindStringSubmatch(thisBuild().Version); m != nil {
		version = m[1]
	}
	return claude.Plugin{Version: version, Command: command, Skill: c.skillText()}, err
}
