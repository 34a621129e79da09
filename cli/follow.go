package cli

import (
	"context"
	"slices"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

// follow prints what is in the inbox, oldest first, and then each message as it arrives, until the user ends it. Nothing
// falls between the two: the stream is open before the list is asked for, and what is in both is printed once.
func (c *call) follow(ctx context.Context, cl *client.Client, q protocol.InboxQuery) error {
	printed := make(map[string]bool)
	for e, err := range cl.Follow(ctx, client.EventQuery{Mesh: q.Mesh, Session: q.Session}) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case len(printed) == 0 && e.Type == "ready":
			messages, err := cl.Inbox(ctx, q)
			if err != nil {
				return err
			}
			slices.Reverse(messages)
			for _, m := range messages {
				c.printOnce(printed, &m)
			}
		case e.Message != nil:
			c.printOnce(printed, e.Message)
		}
	}
	return nil
}

func (c *call) printOnce(printed map[string]bool, m *protocol.InboxMessage) {
	key := m.Mesh + " " + m.From.MemberPubkey + " " + m.ID
	if printed[key] {
		return
	}
	printed[key] = true
	if c.json {
		c.printLine(m)
		return
	}
	c.printMessage(m)
}
