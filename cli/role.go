package cli

import (
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func promoteVerb() *verb {
	return &verb{
		name: "promote", usage: "make a member an admin, with the owner key", args: "<member>", min: 1, max: 1,
		flags:    []urfave.Flag{yesFlag(), passphraseFlag("of the owner key"), meshFlag(), jsonFlag()},
		about:    "An admin admits and removes plain members. Only the owner key makes and removes admins.",
		examples: []string{"claudemesh mesh promote bob"},
		run:      runPromote,
	}
}

func runPromote(ctx context.Context, c *call) error {
	a, err := c.atMember(ctx)
	if err != nil {
		return err
	}
	b, err := openBook(ctx, a.cl, a.mesh)
	if err != nil {
		return err
	}
	member, ok := b.view.Member(a.key)
	switch {
	case !ok:
		return protocol.Refuse(protocol.CodeNotMember, "%s is not admitted yet", a.who.Name).WithHint("claudemesh members admit %s", a.who.Name)
	case member.Role == protocol.RoleAdmin:
		return protocol.Refuse(protocol.CodeExists, "%s is an admin of %s already", a.who.Name, a.mesh.Mesh)
	case b.wasDemoted(a.key):
		return protocol.Refuse(protocol.CodeForbidden, "%s was an admin once and was demoted, which holds for ever", a.who.Name).
			WithHint("remove this key and let its owner join again with a new one: claudemesh peer ban, claudemesh peer unban")
	}
	owner, err := c.ownerKey(a.mesh)
	if err != nil {
		return err
	}
	if err := c.confirm("%s's key has the fingerprint %s\nmake %s an admin of %s?", a.who.Name, protocol.Fingerprint(b.mesh, a.key), a.who.Name, a.mesh.Mesh); err != nil {
		return err
	}
	err = publishSigned(ctx, a.cl, a.mesh.Mesh, &protocol.Cert{Mesh: b.mesh, Issuer: owner.Public(), Member: a.key, Name: member.Name,
		Role: protocol.RoleAdmin, Issued: time.Now().Unix()}, owner)
	if err != nil {
		return err
	}
	return c.done("%s is an admin of %s", clean(a.who.Name), a.mesh.Mesh)
}

// wasDemoted reports whether a demotion of key is in force.
func (b *book) wasDemoted(key crypto.PublicKey) bool {
	for _, s := range b.view.Log() {
		if r, ok := s.Body.(*protocol.Revoke); ok && r.Kind == protocol.RevokeAdmin && r.Target == key {
			return true
		}
	}
	return false
}

func demoteVerb() *verb {
	return &verb{
		name: "demote", usage: "make an admin a plain member, with the owner key", args: "<admin>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "reason", Usage: "why, for everybody to read: `TEXT`"},
			dropFlag(), yesFlag(), passphraseFlag("of the owner key"), meshFlag(), jsonFlag(),
		},
		about: `What the admin signed is listed. It stays in force only as far as you keep it: leave out with --drop whom he should not have
admitted or removed. A demotion holds for ever.`,
		examples: []string{"claudemesh mesh demote bob", "claudemesh mesh demote bob --drop 3fa94c21"},
		run:      runDemote,
	}
}

func runDemote(ctx context.Context, c *call) error {
	a, err := c.atMember(ctx)
	if err != nil {
		return err
	}
	b, err := openBook(ctx, a.cl, a.mesh)
	if err != nil {
		return err
	}
	if !b.view.IsAdmin(a.key) {
		return protocol.Refuse(protocol.CodeNotFound, "%s is no admin of %s", a.who.Name, a.mesh.Mesh)
	}
	owner, err := c.ownerKey(a.mesh)
	if err != nil {
		return err
	}
	keep, err := c.keepList(b, b.view, a.key, fmt.Sprintf("make %s a plain member of %s?", a.who.Name, a.mesh.Mesh))
	if err != nil {
		return err
	}
	err = publishSigned(ctx, a.cl, a.mesh.Mesh, &protocol.Revoke{Mesh: b.mesh, Issuer: owner.Public(), Kind: protocol.RevokeAdmin,
		Target: a.key, Keep: keep, At: time.Now().Unix(), Reason: c.str("reason")}, owner)
	if err != nil {
		return err
	}
	return c.done("%s is a plain member of %s", clean(a.who.Name), a.mesh.Mesh)
}
