package cli

import (
	"context"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

func deviceVerb() *verb {
	return &verb{
		name: "device", heading: headPeople, usage: "your own keys: list them, take one back",
		subs: []*verb{
			{name: "list", usage: "list the keys that speak for you: your member key and those of your sessions",
				flags: []urfave.Flag{meshFlag(), jsonFlag()}, examples: []string{"claudemesh device list --json"}, run: runDevices},
			{name: "revoke", usage: "take the key of a session back, for ever", args: "<session|key>", min: 1, max: 1,
				flags: []urfave.Flag{&urfave.StringFlag{Name: "reason", Usage: "why, for everybody to read: `TEXT`"}, meshFlag(), jsonFlag()},
				about: `For a session key that fell into other hands. The session, where it still runs, comes back with a new one. Another machine of
yours is a member of its own: claudemesh peer ban removes it.`,
				examples: []string{"claudemesh device revoke web"}, run: runRevokeDevice},
		},
	}
}

func runDevices(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	all, err := cl.Devices(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	var rows [][]string
	for _, d := range all {
		state := "away"
		switch {
		case d.Revoked:
			state = "revoked"
		case d.Live:
			state = "online"
		}
		place := "elsewhere"
		if d.Here {
			place = "here"
		}
		rows = append(rows, []string{clean(d.Label), d.Mesh, d.Kind, place, state, shortID(d.Pubkey)})
	}
	c.table([]string{"NAME", "MESH", "KIND", "KEY IS", "STATE", "KEY"}, rows)
	return nil
}

func runRevokeDevice(ctx context.Context, c *call) error {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	err = cl.RevokeDevice(ctx, protocol.RevokeDeviceRequest{Mesh: c.str("mesh"), Key: c.arg(0), Reason: c.str("reason")})
	if err != nil {
		return err
	}
	return c.done("revoked the key of %s", clean(c.arg(0)))
}
