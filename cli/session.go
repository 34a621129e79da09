package cli

import (
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func summaryVerb() *verb {
	return &verb{
		name: "summary", heading: headPeople, usage: "say in one line what you work on; peers see it, the broker does not", args: "<text…>", min: 1, max: -1,
		flags:    []urfave.Flag{meshFlag(), sessionFlag(), jsonFlag()},
		examples: []string{"claudemesh summary \"retry bug in the uploader\"", "claudemesh summary \"\""},
		run: func(ctx context.Context, c *call) error {
			text := c.rest(0)
			return c.presence(ctx, protocol.PresenceRequest{Summary: &text}, "summary set")
		},
	}
}

func statusSetVerb() *verb {
	return &verb{
		name: "set", usage: "what others see, and what may interrupt: idle, working or dnd", args: "<idle|working|dnd>", min: 1, max: 1,
		flags:    []urfave.Flag{meshFlag(), sessionFlag(), jsonFlag()},
		examples: []string{"claudemesh status set dnd"},
		run: func(ctx context.Context, c *call) error {
			return c.presence(ctx, protocol.PresenceRequest{Status: c.arg(0)}, "status is "+c.arg(0))
		},
	}
}

func groupVerb() *verb {
	change := func(name, usage string, apply func(*protocol.PresenceRequest, []string), said string) *verb {
		return &verb{
			name: name, usage: usage, args: "<group…>", min: 1, max: -1,
			flags:    []urfave.Flag{meshFlag(), sessionFlag(), jsonFlag()},
			examples: []string{"claudemesh group " + name + " backend"},
			run: func(ctx context.Context, c *call) error {
				var groups []string
				for _, g := range c.args {
					groups = append(groups, strings.TrimPrefix(g, "@"))
				}
				var req protocol.PresenceRequest
				apply(&req, groups)
				return c.presence(ctx, req, fmt.Sprintf("%s @%s", said, strings.Join(groups, ", @")))
			},
		}
	}
	return &verb{name: "group", heading: headPeople, usage: "labels for addressing several people at once", subs: []*verb{
		{
			name: "list", usage: "which groups there are, and who is in them", flags: []urfave.Flag{meshFlag(), sessionFlag(), jsonFlag()},
			examples: []string{"claudemesh group list"}, run: runGroups,
		},
		change("join", "be reached as @group", func(r *protocol.PresenceRequest, g []string) { r.Join = g }, "joined"),
		change("leave", "no longer be reached as @group", func(r *protocol.PresenceRequest, g []string) { r.Leave = g }, "left"),
	}}
}

func acceptVerb() *verb {
	return &verb{
		name: "accept", heading: headTalk, usage: "let a sender in front of your sessions whose messages are held", args: "<peer>", min: 1, max: 1,
		about: "Messages of people who are only invited, and of everybody new to a session in bypass mode, wait until you say so once,\n" +
			"here or in the dialog that the session opens.",
		flags:    []urfave.Flag{meshFlag(), jsonFlag()},
		examples: []string{"claudemesh accept bob"},
		run: func(ctx context.Context, c *call) error {
			cl, err := c.daemon(ctx)
			if err != nil {
				return err
			}
			if err := cl.Accept(ctx, c.str("mesh"), c.arg(0)); err != nil {
				return err
			}
			return c.done("accepted %s", c.arg(0))
		},
	}
}

// presence changes what others see of the acting session.
func (c *call) presence(ctx context.Context, req protocol.PresenceRequest, said string) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if req.Session, err = c.acting(ctx, cl); err != nil {
		return err
	}
	req.Mesh = c.str("mesh")
	if err := cl.Presence(ctx, req); err != nil {
		return err
	}
	return c.done("%s", said)
}
