package cli

import (
	"context"
	"fmt"
	"io"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

func joinVerb() *verb {
	return &verb{
		name: "join", heading: headStart, usage: "join a mesh with a link",
		args: "<link|->", min: 1, max: -1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "name", Usage: "your `NAME` in the mesh (default: your login name)"},
			insecureFlag(), jsonFlag(),
		},
		about: "The link is found in whatever was pasted with it: quotes, a mail, a whole command line. A link is a secret: join - reads it from\n" +
			"stdin, where other users of the machine cannot see it.",
		examples: []string{"claudemesh join ic://join/… --name bob", "pbpaste | claudemesh join -"},
		run:      runJoin,
	}
}

// joined is what `join --json` prints.
type joined struct {
	OK      bool            `json:"ok"`
	Mesh    string          `json:"mesh"`
	MeshID  protocol.MeshID `json:"mesh_id"`
	Broker  string          `json:"broker"`
	Name    string          `json:"name"`
	Pubkey  string          `json:"pubkey"`
	Trust   protocol.Trust  `json:"trust"`
	Reason  string          `json:"reason,omitempty"`
	Resumed bool            `json:"resumed,omitempty"`

	Error *protocol.ErrorBody `json:"error,omitempty"` // the mesh took us in, and the daemon does not reach its broker
}

func runJoin(ctx context.Context, c *call) error {
	link := c.rest(0)
	if link == "-" {
		b, err := io.ReadAll(io.LimitReader(c.stdin, protocol.MaxLinkText+1)) // one more: too long is refused, not cut
		if err != nil {
			return fmt.Errorf("read the link from stdin: %w", err)
		}
		link = string(b)
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	j, err := enrol.Join(ctx, enrol.JoinOptions{Home: home, Link: link, Name: c.str("name"), Insecure: c.yes("insecure")})
	if err != nil {
		return err
	}
	m := j.Membership
	if wanted := c.str("name"); wanted != "" && wanted != m.Name {
		c.note("somebody in %s is %s already: you are %s", m.Slug, wanted, m.Name)
	}
	out := joined{OK: true, Mesh: m.Slug, MeshID: m.MeshID, Broker: m.BrokerURL, Name: m.Name, Pubkey: m.Key.Public().String(),
		Trust: j.Trust, Reason: j.Reason, Resumed: j.Resumed}
	if off := c.connected(ctx, m.Slug); off != nil {
		if c.json {
			out.OK, out.Error = false, errorBody(off)
			c.printJSON(out)
			return saidError{off}
		}
		c.note("the mesh took you in: %s as %s, %s", m.Slug, m.Name, j.Trust)
		return off
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	c.say("joined %s as %s: %s", c.paint(bold, m.Slug), m.Name, j.Trust)
	if j.Reason != "" {
		c.say("    %s", clean(j.Reason))
	}
	return nil
}

func leaveVerb() *verb {
	return &verb{
		name: "leave", heading: headStart, usage: "leave a mesh: your key is revoked for ever, and forgotten here",
		args: "<slug>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "force", Usage: "leave although nobody can be told now: the key is forgotten, not revoked"},
			jsonFlag(),
		},
		examples: []string{"claudemesh leave acme"},
		run:      runLeave,
	}
}

func runLeave(ctx context.Context, c *call) error {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	reply, err := cl.Leave(ctx, c.arg(0), c.yes("force"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(reply)
		return nil
	}
	c.say("left %s", reply.Mesh)
	if !reply.Published {
		c.say("    the others have not heard of it: %s", clean(reply.Reason))
	}
	if reply.OwnerKey != "" {
		c.say("    you own this mesh; its owner key stays at %s", reply.OwnerKey)
	}
	return nil
}
