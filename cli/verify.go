package cli

import (
	"context"
	"fmt"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func verifyVerb() *verb {
	return &verb{
		name: "verify", usage: "compare safety numbers with a member", args: "<peer>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.BoolFlag{Name: "qr", Usage: "draw it as a QR code, too"},
			&urfave.BoolFlag{Name: "mark", Usage: "mark the member as verified in person: the numbers were compared and agree"},
			&urfave.BoolFlag{Name: "unmark", Usage: "take the mark away"},
			meshFlag(), jsonFlag(),
		},
		about: `Both of you see the same 60 digits. Compare them in person or by voice, never over the mesh. If they differ, somebody stands
between you.`,
		examples: []string{"claudemesh peer verify bob", "claudemesh peer verify bob --qr", "claudemesh peer verify bob --mark"},
		run:      runVerify,
	}
}

// verified is what `peer verify --json` prints.
type verified struct {
	Mesh         string         `json:"mesh"`
	Name         string         `json:"name"`
	Pubkey       string         `json:"pubkey"`
	SafetyNumber string         `json:"safety_number"`
	QR           string         `json:"qr"`
	Trust        protocol.Trust `json:"trust"`
	InPerson     bool           `json:"in_person"`
}

func runVerify(ctx context.Context, c *call) error {
	if c.yes("mark") && c.yes("unmark") {
		return protocol.Refuse(protocol.CodeInvalid, "--mark and --unmark exclude each other")
	}
	a, err := c.atMember(ctx)
	if err != nil {
		return err
	}
	if a.who.Self {
		return protocol.Refuse(protocol.CodeInvalid, "that is you").WithHint("claudemesh whoami shows your fingerprint")
	}
	self, err := crypto.ParsePublicKey(a.mesh.Pubkey)
	if err != nil {
		return err
	}
	number, code := protocol.SafetyNumber(protocol.MeshID(a.mesh.MeshID), self, a.key)
	out := verified{Mesh: a.mesh.Mesh, Name: a.who.Name, Pubkey: a.who.Pubkey, SafetyNumber: strings.ReplaceAll(number, "\n", " "), QR: code,
		Trust: a.who.Trust, InPerson: a.who.InPerson}
	if !c.json {
		if err := c.printVerified(out, number); err != nil {
			return err
		}
	}
	if mark := c.yes("mark") || c.asksToMark(out); mark || c.yes("unmark") {
		if err := a.cl.Verify(ctx, protocol.VerifyRequest{Mesh: a.mesh.Mesh, Pubkey: a.who.Pubkey, Agreed: mark}); err != nil {
			return err
		}
		out.InPerson = mark
		if !c.json {
			c.say("%s is %smarked as verified in person", clean(a.who.Name), map[bool]string{false: "not "}[mark])
		}
	}
	if c.json {
		c.printJSON(out)
	}
	return nil
}

func (c *call) printVerified(v verified, number string) error {
	c.say("safety number of you and %s in %s", clean(v.Name), v.Mesh)
	for line := range strings.SplitSeq(number, "\n") {
		c.say("    %s", c.paint(bold, line))
	}
	if !c.yes("qr") {
		return nil
	}
	code, err := qrCode(v.QR)
	if err != nil {
		return fmt.Errorf("draw the safety number: %w", err)
	}
	fmt.Fprint(c.stdout, code)
	return nil
}

// asksToMark asks on a terminal whether the numbers agree.
func (c *call) asksToMark(v verified) bool {
	if c.json || v.InPerson || c.yes("unmark") || !isTerminal(c.stdin) {
		return false
	}
	return c.confirm("does %s see the same digits?", v.Name) == nil
}
