package cli

import (
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func legacyFlag(usage string) urfave.Flag { return &urfave.BoolFlag{Name: "legacy", Usage: usage} }

// v1Links finds the mesh and its owner key.
func (c *call) v1Links(ctx context.Context, cl *client.Client) (v daemon.V1Links, m protocol.MeshInfo, err error) {
	if m, err = pickMesh(ctx, cl, c.str("mesh")); err != nil {
		return v, m, err
	}
	owner, err := c.ownerKey(m)
	return daemon.V1Links{Mesh: protocol.MeshID(m.MeshID), Slug: m.Mesh, BrokerURL: m.Broker, Owner: owner}, m, err
}

// legacyInvite makes a v1 link. The owner key signs it here and tells the broker of it.
func (c *call) legacyInvite(ctx context.Context, cl *client.Client, req protocol.InviteRequest) error {
	if req.Role != protocol.RoleMember {
		return protocol.Refuse(protocol.CodeInvalid, "a v1 link is for the role member only")
	}
	v, m, err := c.v1Links(ctx, cl)
	if err != nil {
		return err
	}
	link, info, err := v.Make(ctx, req.Uses, req.Expires)
	if err != nil {
		return err
	}
	shown := v1Info(m.Mesh, info, time.Now())
	shown.Link = link
	c.printInvite(shown)
	return nil
}

// v1Info is a v1 link in the shape of the others.
func v1Info(mesh string, l protocol.V1LinkInfo, now time.Time) protocol.InviteInfo {
	info := protocol.InviteInfo{ID: l.ID, Mesh: mesh, Role: protocol.RoleMember, Uses: l.Uses, Used: l.Used, Expires: time.Unix(l.Expires, 0).UTC(), State: "open"}
	switch {
	case l.Closed:
		info.State = "closed"
	case l.Expires <= now.Unix():
		info.State = "expired"
	case l.Used >= l.Uses:
		info.State = "used_up"
	}
	return info
}

func (c *call) legacyInvites(ctx context.Context, cl *client.Client) error {
	v, m, err := c.v1Links(ctx, cl)
	if err != nil {
		return err
	}
	links, err := v.List(ctx)
	if err != nil {
		return err
	}
	var infos []protocol.InviteInfo
	for _, l := range links {
		infos = append(infos, v1Info(m.Mesh, l, time.Now()))
	}
	if c.json {
		c.printJSON(list(infos))
		return nil
	}
	if len(infos) == 0 {
		c.note("no v1 links")
		return nil
	}
	var rows [][]string
	for _, i := range infos {
		rows = append(rows, []string{shortID(i.ID), i.Mesh, i.State, fmt.Sprintf("%d of %d", i.Used, i.Uses), i.Expires.Local().Format("2006-01-02 15:04")})
	}
	c.table([]string{"V1 LINK", "MESH", "STATE", "USED", "EXPIRES"}, rows)
	return nil
}

func (c *call) closeLegacyInvite(ctx context.Context, cl *client.Client) error {
	v, _, err := c.v1Links(ctx, cl)
	if err != nil {
		return err
	}
	if err := v.Close(ctx, c.arg(0)); err != nil {
		return err
	}
	return c.done("closed v1 link %s", shortID(c.arg(0)))
}
