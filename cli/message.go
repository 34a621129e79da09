package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func messageVerb() *verb {
	return &verb{
		name: "message", heading: headTalk, usage: "how far a message of yours came",
		subs: []*verb{{
			name: "status", usage: "how far a message of yours came, and who says so", args: "<id>", min: 1, max: 1,
			flags:    []urfave.Flag{meshFlag(), jsonFlag()},
			examples: []string{"claudemesh message status 7HqX2a1b"},
			run:      runMessageStatus,
		}},
	}
}

func runMessageStatus(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	res, err := cl.Message(ctx, c.str("mesh"), c.arg(0))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(res)
		return nil
	}
	now := time.Now()
	c.say("%s · to %s in %s · accepted %s", c.paint(bold, shortID(res.ID)), whom(res), res.Mesh, ago(res.AcceptedAt, now))
	for _, r := range res.Recipients {
		c.say("    %s", recipientWords(r, &res, now))
		for _, l := range answerLines([]protocol.RecipientResult{r}) {
			c.say("        %s", l)
		}
	}
	for _, l := range sentFileLines(res) {
		c.say("    %s", l)
	}
	return nil
}

// whom is the one recipient by name, or what several were called together.
func whom(res protocol.SendResult) string {
	if _, err := crypto.ParsePublicKey(res.To); err == nil && len(res.Recipients) == 1 {
		return who(res.Recipients[0].Name, res.Recipients[0].Session)
	}
	return clean(res.To)
}

// recipientWords says one recipient's state, since when, and who vouches for it.
func recipientWords(r protocol.RecipientResult, res *protocol.SendResult, now time.Time) string {
	name := who(r.Name, r.Session)
	switch r.State {
	case protocol.StateAccepted:
		return name + ": " + acceptedWords(res.Waits)
	case protocol.StateQueued:
		return queuedWords(r, res.KeptDays, now)
	case protocol.StateDead:
		return fmt.Sprintf("%s: dead %s, %s", name, ago(r.At, now), cmp.Or(clean(r.Reason), "given up"))
	}
	words := fmt.Sprintf("%s: %s %s, %s", name, r.State, ago(r.At, now), proofWords(r.Proof, name))
	if r.Rung != "" {
		words += ", by " + clean(r.Rung)
	}
	return words
}

func proofWords(proof, name string) string {
	switch proof {
	case protocol.ProofPeer:
		return "proved by " + name
	case protocol.ProofSelf:
		return "on this machine"
	}
	return "by the broker's word"
}
