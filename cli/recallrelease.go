package cli

import (
	"context"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

func runRecallRelease(ctx context.Context, c *call) error {
	var req protocol.RecallReleaseRequest
	if id, err := strconv.ParseInt(c.arg(0), 10, 64); err == nil && id > 0 {
		req.ID = id
	} else {
		req.Session = c.arg(0)
	}
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	done, err := cl.RecallRelease(ctx, req)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(done)
		return nil
	}
	return c.done("%s of the session count as yours now; its forks do not", plural(done.Released, "episode"))
}
