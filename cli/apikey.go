package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
)

// Codes of `apikey revoke`, which scripts knew before there were others.
const (
	codeNoSuchKey = protocol.Code("NOT_FOUND")
	codeBadKeyRef = protocol.Code("INVALID_ARGS")
)

func apikeyVerb() *verb {
	return &verb{
		name: "apikey", heading: headRun, usage: "keys for scripts that talk to the broker over HTTP",
		subs: []*verb{
			{name: "create", usage: "make a key; its secret is shown once", args: "<label>", min: 1, max: 1,
				flags: []urfave.Flag{
					&urfave.StringFlag{Name: "cap", Usage: "what it may do: `CAPS` of read and send, with commas", Value: "read,send"},
					&urfave.StringSliceFlag{Name: "topic", Usage: "what it writes must be under the topic `T` (repeat for more)"},
					&urfave.StringFlag{Name: "expires", Usage: "its `TIME` of life, such as 30d; without it, until it is revoked"},
					meshFlag(), jsonFlag(),
				},
				about: `The secret has two halves, cm_<bearer>.<seed>. A program sends the bearer with each request and seals with the seed, which never
leaves it: a request that carries both is refused and ends the key. With --topic its messages must name one of those topics, or
their recipients refuse them; they still go to single members. Scripts on this machine need no key: see claudemesh daemon rest.`,
				examples: []string{"claudemesh apikey create ci --cap send --expires 30d"}, run: runAPIKeyCreate},
			{name: "list", usage: "list your keys, as an admin those of the mesh", flags: []urfave.Flag{meshFlag(), jsonFlag()},
				examples: []string{"claudemesh apikey list --json"}, run: runAPIKeyList},
			{name: "revoke", usage: "end a key for ever", args: "<id>", min: 1, max: 1,
				flags:    []urfave.Flag{&urfave.StringFlag{Name: "reason", Usage: "why, for everybody to read: `TEXT`"}, meshFlag(), jsonFlag()},
				about:    "<id> is the whole id, or 6 or more characters of its beginning. Where they begin several ids, none is revoked.",
				examples: []string{"claudemesh apikey revoke 3fa94c21"}, run: runAPIKeyRevoke},
		},
	}
}

func runAPIKeyCreate(ctx context.Context, c *call) error {
	life, err := c.duration("expires")
	if err != nil {
		return err
	}
	req := protocol.APIKeyRequest{Mesh: c.str("mesh"), Label: c.arg(0), Topics: c.flags.StringSlice("topic")}
	for _, capability := range strings.Split(c.str("cap"), ",") {
		req.Capabilities = append(req.Capabilities, strings.TrimSpace(capability))
	}
	if c.str("expires") != "" {
		if life <= 0 {
			return protocol.Refuse(protocol.CodeInvalid, "--expires takes a time of life such as 30d")
		}
		req.Expires = time.Now().Add(life).UnixMilli()
	}
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	made, err := cl.CreateAPIKey(ctx, req)
	if err != nil {
		return err
	}
	c.printAPIKey(made)
	return c.orWithdraw(ctx, "the secret of "+clean(made.Label), func(ctx context.Context) error {
		_, err := cl.RevokeAPIKey(ctx, protocol.RevokeAPIKeyRequest{Mesh: made.Mesh, ID: made.ID, Reason: "its secret could not be shown"})
		return err
	})
}

func (c *call) printAPIKey(made protocol.APIKeyMade) {
	if c.json {
		c.printJSON(made)
		return
	}
	c.note("%s may %s in %s until %s; the broker is %s", c.paint(bold, clean(made.Label)), listAnd(made.Capabilities), made.Mesh,
		untilWords(made.ExpiresAt), made.URL)
	c.note("id %s", made.ID)
	c.note("this is the secret, and nobody can show it again:")
	c.say("%s", made.Secret)
}

// untilWords says when a key ends.
func untilWords(at *string) string {
	if at == nil {
		return "it is revoked"
	}
	t, err := time.Parse(time.RFC3339, *at)
	if err != nil {
		return *at
	}
	return t.Local().Format("2006-01-02 15:04")
}

func runAPIKeyList(ctx context.Context, c *call) error {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	all, err := cl.APIKeys(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(all))
		return nil
	}
	if len(all) == 0 {
		c.note("no keys: claudemesh apikey create <label>")
		return nil
	}
	var rows [][]string
	for _, k := range all {
		rows = append(rows, []string{shortID(k.ID), clean(k.Label), clean(k.Member), k.Mesh, clean(k.Prefix) + "…", may(k), used(k), keyState(k)})
	}
	c.table([]string{"ID", "LABEL", "OF", "MESH", "SECRET", "MAY", "USED", "STATE"}, rows)
	return nil
}

// may is what a key may do, and under which topics.
func may(k protocol.APIKeyInfo) string {
	text := strings.Join(k.Capabilities, ",")
	for _, t := range k.Topics {
		text += " #" + clean(t)
	}
	return text
}

func used(k protocol.APIKeyInfo) string {
	if k.LastUsedAt == nil {
		return "never"
	}
	return strings.TrimPrefix(seen(*k.LastUsedAt, time.Now()), "last seen ")
}

func keyState(k protocol.APIKeyInfo) string {
	switch {
	case k.RevokedAt != nil:
		return strings.TrimSpace("revoked " + clean(k.Reason))
	case k.ExpiresAt == nil:
		return "in use"
	}
	if t, err := time.Parse(time.RFC3339, *k.ExpiresAt); err == nil && t.Before(time.Now()) {
		return "expired"
	}
	return "until " + untilWords(k.ExpiresAt)
}

func runAPIKeyRevoke(ctx context.Context, c *call) error {
	cl, err := c.settledDaemon(ctx)
	if err != nil {
		return err
	}
	done, err := cl.RevokeAPIKey(ctx, protocol.RevokeAPIKeyRequest{Mesh: c.str("mesh"), ID: c.arg(0), Reason: c.str("reason")})
	if err != nil {
		return keyRefusal(err)
	}
	if done.Reason != "" {
		c.note("warning: the broker refuses the key; that the others refuse it too could not be published: %s", clean(done.Reason))
	}
	if c.json {
		c.printJSON(done)
		return nil
	}
	if done.Already {
		c.say("%s was revoked already, on %s", done.ID, cmp.Or(untilWords(&done.RevokedAt), "an unknown day"))
		return nil
	}
	c.say("revoked %s", done.ID)
	return nil
}

// keyRefusal gives a refusal the code of this verb.
func keyRefusal(err error) error {
	e := classify(err)
	switch e.Code {
	case protocol.CodeInvalid:
		e.Code = codeBadKeyRef
	case protocol.CodeAmbiguous:
		e.Code, e.Hint = codeBadKeyRef, ""
	case protocol.CodeNotFound:
		e.Code = codeNoSuchKey
	}
	return e
}
