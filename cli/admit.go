package cli

import (
	"bufio"
	"cmp"
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
		name: "admit", usage: "admit somebody who holds a link, after you compared fingerprints", args: "<name>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "role", Usage: "what he becomes: `R` is member or admin (default: what the link says)"},
			&urfave.BoolFlag{Name: "yes", Usage: "do not ask: the fingerprint was compared"},
			passphraseFlag("of the owner key"), meshFlag(), jsonFlag(),
		},
		about: `Links for members are counted by the daemon of whoever made them, and admit by themselves as long as there are uses for all who
claim one. Where more claim a link than it has uses, whoever made it compares fingerprints with what the other side's
"claudemesh whoami" shows, and says who is meant. Links for admins are never counted: the owner compares and signs with the owner
key, which may also admit by anybody's link, and as another role than the link says.`,
		examples: []string{"claudemesh members admit cathy", "claudemesh members admit 3fa94c21 --yes --json"},
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
	members, err := cl.Members(ctx, m.Mesh)
	if err != nil {
		return err
	}
	who, err := waiting(members, m.Mesh, c.arg(0))
	if err != nil {
		return err
	}
	role = cmp.Or(role, who.Claim.Role)
	if who.Claim.Mine && role == who.Claim.Role {
		err = c.admitByLink(ctx, cl, members, who)
	} else {
		err = c.admitAsOwner(ctx, cl, members, who, m, role)
	}
	if err != nil {
		return err
	}
	return c.done("admitted %s as %s of %s", who.Claim.Name, role, m.Mesh)
}

// admitByLink has the daemon, which made the link, count the use and sign.
func (c *call) admitByLink(ctx context.Context, cl *client.Client, members []protocol.MemberInfo, who protocol.MemberInfo) error {
	if err := c.confirmClaim(members, who, who.Claim.Role); err != nil {
		return err
	}
	return cl.Admit(ctx, protocol.AdmitRequest{Mesh: who.Mesh, Pubkey: who.Pubkey})
}

func (c *call) admitAsOwner(ctx context.Context, cl *client.Client, members []protocol.MemberInfo, who protocol.MemberInfo, m protocol.MeshInfo, role string) error {
	owner, err := c.ownerKey(m)
	if err != nil {
		return err
	}
	key, err := crypto.ParsePublicKey(who.Pubkey)
	if err != nil {
		return err
	}
	if err := c.confirmClaim(members, who, role); err != nil {
		return err
	}
	return publishSigned(ctx, cl, m.Mesh, &protocol.Cert{Mesh: protocol.MeshID(m.MeshID), Issuer: owner.Public(), Member: key, Name: who.Claim.Name,
		Role: role, Issued: time.Now().Unix()}, owner)
}

// confirmClaim asks with the fingerprints of all who came by the link before the eyes.
func (c *call) confirmClaim(members []protocol.MemberInfo, who protocol.MemberInfo, role string) error {
	q := fmt.Sprintf("%s's key in %s has the fingerprint %s", who.Name, who.Mesh, who.Claim.Fingerprint)
	for _, m := range members {
		if m.Claim != nil && m.Claim.Link == who.Claim.Link && m.Pubkey != who.Pubkey {
			q += fmt.Sprintf("\n%s, with the key %s, claims the same link: fingerprint %s", m.Name, m.Pubkey[:8], m.Claim.Fingerprint)
		}
	}
	return c.confirm("%s\nadmit %s as %s?", q, who.Claim.Name, role)
}

// waiting finds the one who is to be admitted, by name or by the beginning of his key.
func waiting(members []protocol.MemberInfo, mesh, ref string) (protocol.MemberInfo, error) {
	var found []protocol.MemberInfo
	var names []string
	for _, m := range members {
		if m.Claim == nil {
			continue
		}
		names = append(names, m.Name)
		if m.Name == ref || len(ref) >= protocol.MinKeyPrefix && strings.HasPrefix(m.Pubkey, ref) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "nobody named %q waits to be admitted to %s", ref, mesh).WithHint("claudemesh members lists who does")
		e.Names = names
		return protocol.MemberInfo{}, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q is the name of more than one who waits", ref).WithHint("name the beginning of the key")
	for _, m := range found {
		e.Names = append(e.Names, m.Pubkey)
	}
	return protocol.MemberInfo{}, e
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
