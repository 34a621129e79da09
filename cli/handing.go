package cli

import (
	"context"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/mcp"
	"github.com/claudemesh/claudemesh/protocol"
)

// handOver writes mail for the agent that called this hook, and returns what became of it, as Settle states it: shown when
// the agent has read all of it, unproved when it was written in part or nobody read it before ctx ended, returned when
// nothing was written. Whole says that all of it was written.
func handOver(ctx context.Context, to *stream, text string) (state string, whole bool) {
	type result struct {
		n   int
		err error
	}
	written := make(chan result, 1)
	go func() { // ends with the process at the latest
		n, err := to.Write([]byte(text))
		written <- result{n, err}
	}()
	select {
	case <-ctx.Done():
		return protocol.SettleUnproved, false
	case r := <-written:
		switch {
		case r.n == 0:
			return protocol.SettleReturned, false
		case r.err != nil || r.n < len(text):
			return protocol.SettleUnproved, false
		}
	}
	if !mcp.Drained(ctx, to) {
		return protocol.SettleUnproved, true
	}
	return protocol.SettleShown, true
}

// settleMail tells the daemon what became of mail, also after the hook's time is over.
func settleMail(ctx context.Context, cl *client.Client, session, rung, state string, messages []protocol.InboxMessage) error {
	req := protocol.SettleRequest{Session: session, Rung: rung, State: state}
	for _, m := range messages {
		req.IDs = append(req.IDs, m.ID)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTimeout)
	defer cancel()
	return cl.Settle(ctx, req)
}
