package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func admitVerb() *verb {
	return &verb{
		name: "admit", usage: "admit somebody who holds a link, with the owner key", args: "<name>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "role", Usage: "what he becomes: `R` is member or admin", Value: protocol.RoleAdmin},
			&urfave.BoolFlag{Name: "yes", Usage: "do not ask: the fingerprint was compared"},
			passphraseFlag("of the owner key"), meshFlag(), jsonFlag(),
		},
		about: `Links for members are counted by the daemon of whoever made them. Links for admins are not: here the owner compares the
fingerprint with what the other side's "claudemesh whoami" shows, and signs.`,
		examples: []string{"claudemesh members admit cathy", "claudemesh members admit cathy --yes --json"},
		run:      runAdmit,
	}
}

func runAdmit(ctx context.Context, c *call) error {
	role, err := c.oneOf("role")
	if err != nil {
		return err
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	m, err := pickMesh(ctx, cl, c.str("mesh"))
	if err != nil {
		return err
	}
	mesh := protocol.MeshID(m.MeshID)
	owner, err := c.ownerKey(m)
	if err != nil {
		return err
	}
	who, key, err := waiting(ctx, cl, m.Mesh, c.arg(0))
	if err != nil {
		return err
	}
	if err := c.confirm("%s's key in %s has the fingerprint %s\nadmit %s as %s?", who.Name, m.Mesh, protocol.Fingerprint(mesh, key), who.Name, role); err != nil {
		return err
	}
	cert, err := protocol.Sign(&protocol.Cert{Mesh: mesh, Issuer: owner.Public(), Member: key, Name: who.Name, Role: role, Issued: time.Now().Unix()}, owner)
	if err != nil {
		return fmt.Errorf("sign the certificate: %w", err)
	}
	if err := cl.Publish(ctx, m.Mesh, cert.Text()); err != nil {
		return err
	}
	return c.done("admitted %s as %s of %s", who.Name, role, m.Mesh)
}

// waiting finds the one who is to be admitted, by name or by the beginning of his key.
func waiting(ctx context.Context, cl *client.Client, mesh, ref string) (protocol.MemberInfo, crypto.PublicKey, error) {
	members, err := cl.Members(ctx, mesh)
	if err != nil {
		return protocol.MemberInfo{}, crypto.PublicKey{}, err
	}
	var found []protocol.MemberInfo
	var names []string
	for _, m := range members {
		if m.Trust != protocol.TrustInvited {
			continue
		}
		names = append(names, m.Name)
		if m.Name == ref || len(ref) >= 6 && strings.HasPrefix(m.Pubkey, ref) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		key, err := crypto.ParsePublicKey(found[0].Pubkey)
		return found[0], key, err
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "nobody named %q waits to be admitted to %s", ref, mesh).WithHint("claudemesh members lists who does")
		e.Names = names
		return protocol.MemberInfo{}, crypto.PublicKey{}, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q is the name of more than one who waits", ref).WithHint("name the beginning of the key")
	for _, m := range found {
		e.Names = append(e.Names, m.Pubkey)
	}
	return protocol.MemberInfo{}, crypto.PublicKey{}, e
}

// confirm asks on the terminal. Without one nobody is asked: --yes must say it.
func (c *call) confirm(format string, args ...any) error {
	question := clean(fmt.Sprintf(format, args...))
	if c.yes("yes") {
		c.note("%s yes", question)
		return nil
	}
	if err := c.written(); err != nil {
		return err // nobody saw what is to be confirmed
	}
	if !isTerminal(c.stdin) {
		return protocol.Refuse(protocol.CodeForbidden, "not confirmed: %s", question).WithHint("--yes says so where there is no terminal to ask on")
	}
	fmt.Fprintf(c.stderr, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(c.stdin).ReadString('\n') // an end of input is a no
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return protocol.Refuse(protocol.CodeForbidden, "not confirmed")
	}
	return nil
}
