package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func banVerb() *verb {
	return &verb{
		name: "ban", usage: "remove a member for ever", args: "<peer>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "reason", Usage: "why, for everybody to read: `TEXT`"},
			dropFlag(), yesFlag(), passphraseFlag("of the owner key"), meshFlag(), jsonFlag(),
		},
		about: `An admin removes plain members. An admin is removed with the owner key: what he signed is listed, and stays in force only as
far as you keep it. The key is revoked for ever; whoever comes back comes with a new link and a new key.`,
		examples: []string{"claudemesh peer ban bob --reason \"lost laptop\"", "claudemesh peer ban cathy --drop 3fa94c21"},
		run:      runBan,
	}
}

func runBan(ctx context.Context, c *call) error {
	a, err := c.atMember(ctx)
	if err != nil {
		return err
	}
	if a.who.Self {
		return protocol.Refuse(protocol.CodeInvalid, "that is you").WithHint("claudemesh leave %s", a.mesh.Mesh)
	}
	_, noKey := findOwnerKey(a.mesh)
	if a.who.Role == protocol.RoleAdmin || a.mesh.Role == protocol.RoleMember && noKey == nil {
		err = c.banAsOwner(ctx, a)
	} else {
		err = a.cl.Ban(ctx, protocol.BanRequest{Mesh: a.mesh.Mesh, Pubkey: a.who.Pubkey, Reason: c.str("reason")})
	}
	if err != nil {
		return err
	}
	return c.done("removed %s from %s", clean(a.who.Name), a.mesh.Mesh)
}

// banAsOwner removes anybody, with the keep list that the removal of an admin needs.
func (c *call) banAsOwner(ctx context.Context, a aim) error {
	b, err := openBook(ctx, a.cl, a.mesh)
	if err != nil {
		return err
	}
	owner, err := c.ownerKey(a.mesh)
	if err != nil {
		return err
	}
	keep, err := c.keepList(b, b.view, a.key, fmt.Sprintf("remove %s from %s?", a.who.Name, a.mesh.Mesh))
	if err != nil {
		return err
	}
	return publishSigned(ctx, a.cl, a.mesh.Mesh, &protocol.Revoke{Mesh: b.mesh, Issuer: owner.Public(), Kind: protocol.RevokeKey,
		Target: a.key, Keep: keep, At: time.Now().Unix(), Reason: c.str("reason")}, owner)
}

func unbanVerb() *verb {
	return &verb{
		name: "unban", usage: "let somebody in again who was removed: prints a new link", args: "<peer>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "qr", Usage: "draw it as a QR code, too"},
			meshFlag(), jsonFlag(),
		},
		about:    "A removed key stays removed. The link lets its owner join with a new one; compare safety numbers again.",
		examples: []string{"claudemesh peer unban bob"},
		run:      runUnban,
	}
}

func runUnban(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	m, err := pickMesh(ctx, cl, c.str("mesh"))
	if err != nil {
		return err
	}
	b, err := openBook(ctx, cl, m)
	if err != nil {
		return err
	}
	if !b.wasRemoved(c.arg(0)) {
		e := protocol.Refuse(protocol.CodeNotFound, "nobody named %q was removed from %s", c.arg(0), m.Mesh)
		e.Names = b.removedNames()
		return e
	}
	life := time.Now().Add(protocol.LinkLifetime).Unix()
	info, err := cl.CreateInvite(ctx, protocol.InviteRequest{Mesh: m.Mesh, Role: protocol.RoleMember, Uses: 1, Expires: life})
	if err != nil {
		return err
	}
	return c.giveInvite(ctx, cl, info)
}

// removed calls f for everybody who was certified once and is revoked.
func (b *book) removed(f func(name string, key crypto.PublicKey)) {
	for _, s := range b.all {
		if cert, ok := s.Body.(*protocol.Cert); ok {
			if _, gone := b.view.Revoked(cert.Member); gone {
				f(cert.Name, cert.Member)
			}
		}
	}
}

func (b *book) wasRemoved(ref string) (found bool) {
	b.removed(func(name string, key crypto.PublicKey) {
		found = found || name == ref || len(ref) >= 6 && strings.HasPrefix(key.String(), ref)
	})
	return found
}

func (b *book) removedNames() (names []string) {
	b.removed(func(name string, _ crypto.PublicKey) { names = append(names, name) })
	slices.Sort(names)
	return slices.Compact(names)
}
