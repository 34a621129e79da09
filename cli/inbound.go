package cli

import (
	"context"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func meshInboundVerb() *verb {
	return &verb{
		name: "inbound", usage: "what becomes of messages from a mesh: accept, hold until you accept the sender, or refuse", args: "<slug> <accept|hold|refuse>", min: 2, max: 2,
		flags: []urfave.Flag{jsonFlag()},
		about: "Verified members are let in by default. What is held lies in the inbox and does not come in front of a session; what is refused is told to its sender.\n" +
			"It goes for what comes from now on: what was held before waits until you accept the sender.",
		examples: []string{"claudemesh mesh inbound acme hold"},
		run: func(ctx context.Context, c *call) error {
			how := c.arg(1)
			switch how {
			case "accept", "hold", "refuse":
			default:
				return protocol.Refuse(protocol.CodeInvalid, "inbound is accept, hold or refuse, not %q", how)
			}
			home, err := config.DefaultHome()
			if err != nil {
				return err
			}
			err = home.Update(func(cfg *config.Config) error {
				m := cfg.Mesh(c.arg(0))
				if m == nil {
					return noSuchMesh(c.arg(0), slugsOf(cfg))
				}
				m.Inbound = how
				return nil
			})
			if err != nil {
				return err
			}
			awaitInbound(ctx, home, c.arg(0), how)
			return c.done("messages from %s: %s", c.arg(0), how)
		},
	}
}

// awaitInbound returns when the daemon has taken up the change, when none runs, or when patience ends: what comes after this verb goes by the new rule.
func awaitInbound(ctx context.Context, home config.Home, slug, how string) {
	ctx, cancel := context.WithTimeout(ctx, 2*settleTimeout)
	defer cancel()
	cl := client.Dial(home)
	for {
		meshes, err := cl.Meshes(ctx)
		if err != nil {
			return
		}
		for _, m := range meshes {
			if m.Mesh == slug && m.Inbound == how && m.State != protocol.ConnConnecting {
				return
			}
		}
		if !pauseFor(ctx, settleEvery) {
			return
		}
	}
}
