package cli

import (
	"context"

	urfave "github.com/urfave/cli/v2"

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
			err := setForMesh(ctx, c.arg(0), func(m *config.Membership) { m.Inbound = how }, func(m protocol.MeshInfo) bool { return m.Inbound == how })
			if err != nil {
				return err
			}
			return c.done("messages from %s: %s", c.arg(0), how)
		},
	}
}

func meshReceiptsVerb() *verb {
	return &verb{
		name: "receipts", usage: "whether senders are told that you have seen a message", args: "<slug> <on|off>", min: 2, max: 2,
		flags: []urfave.Flag{jsonFlag()},
		about: "With off a sender reads delivered, and no more: neither shown, nor by which way, nor read. That a message reached this machine is told always,\n" +
			"since it ends the sender's worry, and so is what you refuse.",
		examples: []string{"claudemesh mesh receipts acme off"},
		run: func(ctx context.Context, c *call) error {
			how := c.arg(1)
			if how != "on" && how != "off" {
				return protocol.Refuse(protocol.CodeInvalid, "receipts are on or off, not %q", how)
			}
			err := setForMesh(ctx, c.arg(0), func(m *config.Membership) {
				m.Receipts = ""
				if how == "off" {
					m.Receipts = how
				}
			}, func(m protocol.MeshInfo) bool { return m.Receipts == how })
			if err != nil {
				return err
			}
			return c.done("receipts to senders of %s: %s", c.arg(0), how)
		},
	}
}

// setForMesh changes a membership and returns when the daemon has taken up the change, when none runs, or when patience ends: what comes after the verb goes by
// the new rule.
func setForMesh(ctx context.Context, slug string, change func(*config.Membership), taken func(protocol.MeshInfo) bool) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	err = home.Update(func(cfg *config.Config) error {
		m := cfg.Mesh(slug)
		if m == nil {
			return noSuchMesh(slug, slugsOf(cfg))
		}
		change(m)
		return nil
	})
	if err != nil {
		return err
	}
	awaitMesh(ctx, home, 2*settleTimeout, func(m protocol.MeshInfo) bool {
		return m.Mesh == slug && taken(m) && m.State != protocol.ConnConnecting
	})
	return nil
}
