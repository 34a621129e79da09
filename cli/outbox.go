package cli

import (
	"context"
	"strconv"
	"time"

	urfave "github.com/urfave/cli/v2"
)

func outboxVerb() *verb {
	return &verb{
		name: "outbox", usage: "messages on their way out",
		subs: []*verb{
			{name: "list", usage: "list messages on their way out, and those given up", flags: []urfave.Flag{meshFlag(), jsonFlag()}, run: runOutboxList},
			{name: "requeue", usage: "give a dead message another try: same target, same text", args: "<id>", min: 1, max: 1,
				flags: []urfave.Flag{meshFlag(), jsonFlag()}, examples: []string{"claudemesh daemon outbox requeue 7HqX2a1b"}, run: runRequeue},
		},
	}
}

func runOutboxList(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	rows, err := cl.Outbox(ctx, c.str("mesh"))
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(list(rows))
		return nil
	}
	if len(rows) == 0 {
		c.note("nothing waits")
		return nil
	}
	now := time.Now()
	var cells [][]string
	for _, r := range rows {
		to := r.Name
		if to == "" {
			to = r.To
		}
		cells = append(cells, []string{shortID(r.ID), r.Mesh, clean(to), string(r.State), ago(r.CreatedAt, now), strconv.Itoa(r.Attempts), clean(r.Reason)})
	}
	c.table([]string{"ID", "MESH", "TO", "STATE", "ACCEPTED", "TRIES", ""}, cells)
	return nil
}

func runRequeue(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if err := cl.Requeue(ctx, c.str("mesh"), c.arg(0)); err != nil {
		return err
	}
	return c.done("%s will be tried again", shortID(c.arg(0)))
}
