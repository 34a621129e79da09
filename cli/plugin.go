package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
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
				kept, err := p.Export(c.arg(0))
				if errors.Is(err, claude.ErrNotEmpty) {
					return protocol.Refuse(protocol.CodeExists, "%s", err).WithHint("name a directory that does not exist yet")
				}
				if err != nil {
					return err
				}
				c.noteKept(kept)
				c.note("a plugin cannot add a status line; to have one, add to %s: %s", claude.FindPaths("~", os.Getenv("CLAUDE_CONFIG_DIR")).Settings, p.StatusLine())
				return c.done("exported; claude --plugin-dir %s tries it", c.arg(0))
			},
		}, {
			name: "remove", usage: "take an exported plugin back", args: "<dir>", min: 1, max: 1,
			about: "Files that were changed by hand since, and what else is in the directory, stay.",
			flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh plugin remove ./claudemesh-plugin"},
			run: func(_ context.Context, c *call) error {
				kept, err := claude.RemoveExport(c.arg(0))
				if errors.Is(err, claude.ErrNoExport) {
					return protocol.Refuse(protocol.CodeNotFound, "%s", err)
				}
				if err != nil {
					return err
				}
				c.noteKept(kept)
				return c.done("removed the plugin from %s", c.arg(0))
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
			kept, err := p.Export(dir)
			if err != nil {
				return err
			}
			c.noteKept(kept)
			c.say("%s", dir)
			return nil
		},
	}
}

func (c *call) noteKept(files []string) {
	for _, file := range files {
		c.note("%s was changed by hand: left as it is", file)
	}
}

var semantic = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)$`)

func (c *call) plugin() (claude.Plugin, error) {
	command, err := ownCommand()
	version := "0.0.0" // a build without a release's version
	if m := semantic.FindStringSubmatch(thisBuild().Version); m != nil {
		version = m[1]
	}
	return claude.Plugin{Version: version, Command: command, Skill: c.skillText(claude.PluginToolPrefix)}, err
}
