package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

func kickVerb() *verb {
	return &verb{
		name: "kick", usage: "end the connections of a peer, as an admin", args: "<peer>", min: 1, max: 1,
		flags:    []urfave.Flag{meshFlag(), jsonFlag()},
		about:    "A member's daemon and all his sessions, or name/session for one. They may come back after five minutes: peer ban keeps them out.",
		examples: []string{"claudemesh peer kick bob", "claudemesh peer kick bob/web"}, run: runKick,
	}
}

// kicked is what `peer kick --json` prints.
type kicked struct {
	OK     bool   `json:"ok"`
	Mesh   string `json:"mesh"`
	Name   string `json:"name"`
	Pubkey string `json:"pubkey"`
	protocol.KickResult
}

func runKick(ctx context.Context, c *call) error {
	cl, m, err := c.settledMesh(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	out := kicked{OK: true, Mesh: m.Mesh, Name: c.arg(0)}
	if out.Pubkey, err = kickTarget(ctx, cl, m.Mesh, c.arg(0)); err != nil {
		return err
	}
	args, err := json.Marshal(protocol.KickArgs{Key: out.Pubkey})
	if err != nil {
		return err
	}
	done, err := cl.Op(ctx, protocol.OpRequest{Mesh: m.Mesh, Verb: protocol.OpKick, Args: args})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(done.Result, &out.KickResult); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	c.say("ended %s of %s", plural(out.Kicked, "connection"), clean(out.Name))
	return nil
}

// kickTarget finds the key of a session by name/session, or that of a member.
func kickTarget(ctx context.Context, cl *client.Client, mesh, ref string) (string, error) {
	peers, err := cl.Peers(ctx, mesh)
	if err != nil {
		return "", err
	}
	for _, p := range peers {
		if p.Session != "" && p.Name+"/"+p.Session == ref || p.Pubkey == ref {
			return p.Pubkey, nil
		}
	}
	_, key, err := pickMember(ctx, cl, mesh, ref)
	return key.String(), err
}

func bansVerb() *verb {
	return &verb{
		name: "bans", usage: "who was removed, by whom, and why",
		flags: []urfave.Flag{meshFlag(), jsonFlag()}, examples: []string{"claudemesh peer bans --json"}, run: runBans,
	}
}

// ban is one row of `peer bans --json`.
type ban struct {
	Mesh   string `json:"mesh"`
	Name   string `json:"name"`
	Pubkey string `json:"pubkey"`
	By     string `json:"by"` // name, or the head of a key that is no member's
	At     string `json:"at"` // as the statement says
	Reason string `json:"reason"`
	Left   bool   `json:"left"` // he went himself
}

func runBans(ctx context.Context, c *call) error {
	_, b, err := c.theBook(ctx)
	if err != nil {
		return err
	}
	all := b.bans()
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	if len(all) == 0 {
		c.note("nobody was removed from %s", b.info.Mesh)
		return nil
	}
	var rows [][]string
	for _, r := range all {
		by := r.By
		if r.Left {
			by = "left"
		}
		rows = append(rows, []string{clean(r.Name), clean(by), r.At, clean(r.Reason), shortID(r.Pubkey)})
	}
	c.table([]string{"NAME", "BY", "ON", "WHY", "KEY"}, rows)
	return nil
}

func (b *book) bans() (all []ban) {
	seen := make(map[crypto.PublicKey]bool)
	b.removed(func(name string, key crypto.PublicKey) {
		r, _ := b.view.Revoked(key)
		if seen[key] {
			return
		}
		seen[key] = true
		by := r.By.Short()
		switch m, ok := b.view.Member(r.By); {
		case r.By == b.view.Owner():
			by = "the owner"
		case ok:
			by = m.Name
		}
		all = append(all, ban{Mesh: b.info.Mesh, Name: name, Pubkey: key.String(), By: by,
			At: protocol.TimeOfSeconds(r.At).Format(time.RFC3339), Reason: r.Reason, Left: r.By == key})
	})
	return all
}
