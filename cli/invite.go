package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func inviteVerb() *verb {
	return &verb{
		name: "invite", heading: headStart, usage: "make a link that lets somebody join",
		flags: []urfave.Flag{
			meshFlag(),
			&urfave.StringFlag{Name: "role", Usage: "what the holder becomes: `R` is member or admin (admin needs the owner key)", Value: protocol.RoleMember},
			&urfave.StringFlag{Name: "expires", Usage: "the link's `TIME` of life, at most 30d", Value: "7d"},
			&urfave.IntFlag{Name: "uses", Usage: "how many may join with it: `N`", Value: 1},
			&urfave.BoolFlag{Name: "qr", Usage: "draw it as a QR code, too"},
			passphraseFlag("of the owner key"), jsonFlag(),
		},
		about:    "A link is a bearer token: the first who holds it is let in. Send it over a channel that you trust, or close it.",
		examples: []string{"claudemesh invite", "claudemesh invite --uses 10 --expires 2d", "claudemesh invite list", "claudemesh invite close 3fa94c21"},
		run:      runInvite,
		subs: []*verb{
			{name: "list", usage: "list the links that you made", flags: []urfave.Flag{meshFlag(), jsonFlag()}, run: runInviteList},
			{name: "close", usage: "close a link: whoever comes with it from now on is refused", args: "<id>", min: 1, max: 1,
				flags:    []urfave.Flag{meshFlag(), jsonFlag()},
				examples: []string{"claudemesh invite close 3fa94c21"}, run: runInviteClose},
		},
	}
}

func runInvite(ctx context.Context, c *call) error {
	req, err := c.inviteRequest()
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	var info protocol.InviteInfo
	if req.Role == protocol.RoleAdmin {
		info, err = c.adminInvite(ctx, cl, req)
	} else {
		info, err = cl.CreateInvite(ctx, req)
	}
	if err != nil {
		return err
	}
	return c.giveInvite(ctx, cl, info)
}

func (c *call) inviteRequest() (req protocol.InviteRequest, err error) {
	life, err := c.duration("expires")
	if err != nil {
		return req, err
	}
	if life <= 0 || life > protocol.LinkMaxLifetime {
		return req, protocol.Refuse(protocol.CodeInvalid, "--expires takes up to %s", span(protocol.LinkMaxLifetime))
	}
	req = protocol.InviteRequest{Mesh: c.str("mesh"), Expires: time.Now().Add(life).Unix()}
	if req.Uses, err = c.positive("uses"); err != nil {
		return req, err
	}
	req.Role, err = c.oneOf("role")
	return req, err
}

// adminInvite makes a link for an admin: the owner key signs it here, because the daemon never holds that key.
func (c *call) adminInvite(ctx context.Context, cl *client.Client, req protocol.InviteRequest) (info protocol.InviteInfo, err error) {
	m, err := pickMesh(ctx, cl, req.Mesh)
	if err != nil {
		return info, err
	}
	mesh := protocol.MeshID(m.MeshID)
	owner, err := c.ownerKey(m)
	if err != nil {
		return info, err
	}
	link := crypto.GenerateKey()
	signed, err := protocol.Sign(&protocol.Invite{Mesh: mesh, Issuer: owner.Public(), Link: link.Public(), Role: protocol.RoleAdmin,
		Uses: uint64(req.Uses), Expires: req.Expires, URL: m.Broker, Owner: owner.Public()}, owner)
	if err != nil {
		return info, err
	}
	req.Mesh, req.Signed = m.Mesh, signed.Text()
	if info, err = cl.CreateInvite(ctx, req); err != nil {
		return info, err
	}
	info.Link = protocol.MakeLink(signed, link.Seed())
	return info, nil
}

// giveInvite prints a link. One that did not arrive is closed: nobody can show it again.
func (c *call) giveInvite(ctx context.Context, cl *client.Client, info protocol.InviteInfo) error {
	c.printInvite(info)
	if err := c.orWithdraw(ctx, "the link", func(ctx context.Context) error { return cl.CloseInvite(ctx, info.Mesh, info.ID) }); err != nil {
		return err
	}
	if !c.json {
		c.note("link %s to %s: %s, good for %s until %s", shortID(info.ID), info.Mesh, info.Role, times(info.Uses), info.Expires.Local().Format("2006-01-02 15:04"))
		c.note("hint: claudemesh join <link> on the other side; claudemesh invite close %s takes it back", shortID(info.ID))
	}
	return nil
}

func (c *call) printInvite(info protocol.InviteInfo) {
	if c.json {
		c.printJSON(info)
		return
	}
	c.say("%s", info.Link)
	if !c.yes("qr") {
		return
	}
	code, err := qrCode(info.Link)
	if err != nil {
		c.note("no QR code: %s", err)
	}
	fmt.Fprint(c.stdout, code)
}

func times(n int) string {
	if n == 1 {
		return "one person"
	}
	return strconv.Itoa(n) + " people"
}

func runInviteList(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	invites, err := cl.Invites(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	slices.SortFunc(invites, func(a, b protocol.InviteInfo) int { // those that end last, first
		return cmp.Or(b.Expires.Compare(a.Expires), strings.Compare(a.ID, b.ID))
	})
	if c.json {
		c.printJSON(list(invites))
		return nil
	}
	if len(invites) == 0 {
		c.note("no links")
		return nil
	}
	var rows [][]string
	for _, i := range invites {
		rows = append(rows, []string{shortID(i.ID), i.Mesh, i.Role, i.State, fmt.Sprintf("%d of %d", i.Used, i.Uses), i.Expires.Local().Format("2006-01-02 15:04"), clean(listAnd(i.Admits))})
	}
	c.table([]string{"LINK", "MESH", "ROLE", "STATE", "USED", "EXPIRES", "WHO"}, rows)
	return nil
}

func runInviteClose(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if err := cl.CloseInvite(ctx, c.str("mesh"), c.arg(0)); err != nil {
		return err
	}
	return c.done("closed link %s", shortID(c.arg(0)))
}
