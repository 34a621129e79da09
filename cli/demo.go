package cli

import (
	"context"

	"github.com/claudemesh/claudemesh/cli/demo"
)

func demoVerb() *verb {
	return &verb{
		name: "demo", heading: headStart, usage: "play the whole system on this machine, narrated and checked",
		about: `A broker and two daemons run as processes of their own, in directories that are gone afterwards; your own meshes are not
touched. Every claim that is printed is checked: if one does not hold, the demo fails.`,
		examples: []string{"claudemesh demo"},
		run: func(ctx context.Context, c *call) error {
			return demo.Run(ctx, demo.Screen{
				Say: c.say, Note: c.note, Span: span, Version: thisBuild().Version,
				Title: func(s string) string { return c.paint(bold, s) },
				Good:  func(s string) string { return c.paint(green, s) },
			})
		},
	}
}
