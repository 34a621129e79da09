package cli

import (
	"context"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// grantVerbs say who may write to this user.
func grantVerbs() []*verb {
	flags := func() []urfave.Flag { return []urfave.Flag{meshFlag(), jsonFlag()} }
	return []*verb{
		{name: "grants", usage: "what single peers may do, where you said something about it", flags: flags(), run: runGrants},
		{name: "grant", usage: "let a peer write to you: dm directly, broadcast to groups; both where none is named", args: "<peer> [grant…]", min: 1, max: -1,
			flags: flags(), examples: []string{"claudemesh peer grant bob dm"}, run: changeGrant(func(r *protocol.GrantRequest, what []string) { r.Grant = what })},
		{name: "revoke", usage: "take a grant back", args: "<peer> <grant…>", min: 2, max: -1,
			flags: flags(), examples: []string{"claudemesh peer revoke bob broadcast"}, run: changeGrant(func(r *protocol.GrantRequest, what []string) { r.Revoke = what })},
		{name: "block", usage: "take nothing from a peer any more", args: "<peer>", min: 1, max: 1, flags: flags(),
			about:    "What a blocked peer writes is refused by your daemon, and he is told. It is yours alone: the others hear nothing of it. peer grant undoes it.",
			examples: []string{"claudemesh peer block bob"}, run: changeGrant(func(r *protocol.GrantRequest, what []string) { r.Revoke = what })},
	}
}

func changeGrant(set func(*protocol.GrantRequest, []string)) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		cl, err := c.settledDaemon(ctx)
		if err != nil {
			return err
		}
		what := c.args[1:]
		if len(what) == 0 {
			what = protocol.Grants()
		}
		req := protocol.GrantRequest{Mesh: c.str("mesh"), Peer: c.arg(0)}
		set(&req, what)
		info, err := cl.Grant(ctx, req)
		if err != nil {
			return err
		}
		if c.json {
			c.printJSON(info)
			return nil
		}
		c.say("%s in %s: %s", clean(info.Name), info.Mesh, grantWords(info.May))
		return nil
	}
}

func grantWords(may []string) string {
	if len(may) == 0 {
		return "blocked"
	}
	return "may " + strings.Join(may, ", ")
}

func runGrants(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	all, err := cl.Grants(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	if len(all) == 0 {
		c.note("nobody is limited: every member may write to you")
		return nil
	}
	var rows [][]string
	for _, g := range all {
		rows = append(rows, []string{clean(g.Name), g.Mesh, grantWords(g.May), shortID(g.Pubkey)})
	}
	c.table([]string{"PEER", "MESH", "MAY", "KEY"}, rows)
	return nil
}
