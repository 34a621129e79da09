package cli

import (
	"context"
	"encoding/hex"
	"fmt"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func meshRenameVerb() *verb {
	return &verb{
		name: "rename", usage: "call a mesh something else on this machine", args: "<slug> <new>", min: 2, max: 2,
		flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh mesh rename acme-2 work"}, run: runMeshRename,
	}
}

func runMeshRename(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	from, to := c.arg(0), c.arg(1)
	if !protocol.ValidSlug(to) {
		return protocol.Refuse(protocol.CodeInvalid, "%q is no slug: up to 32 of a-z, 0-9 and '-'", to)
	}
	err = home.Update(func(cfg *config.Config) error {
		m := cfg.Mesh(from)
		switch {
		case m == nil:
			return noSuchMesh(from, slugsOf(cfg))
		case from == to:
			return nil
		case cfg.Mesh(to) != nil:
			return protocol.Refuse(protocol.CodeExists, "another mesh is called %s", to)
		}
		m.Slug = to
		if cfg.DefaultMesh == from {
			cfg.DefaultMesh = to
		}
		return nil
	})
	if err != nil {
		return err
	}
	awaitMesh(ctx, home, settleTimeout, func(m protocol.MeshInfo) bool { return m.Mesh == to })
	return c.done("%s is %s from now on", from, to)
}

func meshDeleteVerb() *verb {
	return &verb{
		name: "delete", usage: "delete a mesh from its broker, as its owner", args: "<slug>", min: 1, max: 1,
		flags: []urfave.Flag{yesFlag(), passphraseFlag("of the owner key"), jsonFlag()},
		about: `The broker forgets the mesh: its members, links, API keys, and what waits for anybody. Nobody can write in it any more. What its
members have on their own machines stays with them.`,
		examples: []string{"claudemesh mesh delete acme"}, run: runMeshDelete,
	}
}

func runMeshDelete(ctx context.Context, c *call) error {
	cl, m, err := c.settledMesh(ctx, c.arg(0))
	if err != nil {
		return err
	}
	owner, err := c.ownerKey(m)
	if err != nil {
		return err
	}
	if err := c.confirm("delete %s for everybody?", m.Mesh); err != nil {
		return err
	}
	n, err := cl.OpNonce(ctx, m.Mesh)
	if err != nil {
		return err
	}
	nonce, err := hex.DecodeString(n.Nonce)
	if err != nil || len(nonce) != 32 {
		return protocol.Refuse(protocol.CodeBadFrame, "the daemon gave no nonce")
	}
	op, err := protocol.Sign(&protocol.Op{Mesh: protocol.MeshID(m.MeshID), By: owner.Public(), Nonce: [32]byte(nonce), Verb: protocol.OpDelete, JSON: []byte("{}")}, owner)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if _, err := cl.Op(ctx, protocol.OpRequest{Mesh: m.Mesh, Signed: op.Text()}); err != nil {
		return err
	}
	if _, err := cl.Leave(ctx, m.Mesh, true); err != nil {
		return err
	}
	return c.done("deleted %s", m.Mesh)
}
