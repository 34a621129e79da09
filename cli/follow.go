package cli

import (
	"context"
	"slices"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

// follow prints what is in the inbox, oldest first, and then each message as it arrives, until the user ends it. Nothing
// falls between the two: the stream is open before the list is asked for, and what is in both is printed once.
func (c *call) follow(ctx context.Context, cl *client.Client, q protocol.InboxQuery, filter mailFilter) error {
	var listed map[string]bool // nil until the list was printed; the stream begins with "ready", also after a restart
	for e, err := range cl.Follow(ctx, client.EventQuery{Mesh: q.Mesh, Session: q.Session}) {
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case listed == nil:
			if listed, err = c.printList(ctx, cl, q, filter); err != nil {
				return err
			}
		}
		if e.Type == client.Unreadable {
			c.note("claudemesh: inbox: %s", clean(e.Notice))
		}
		if m := e.Message; m != nil && filter.picks(m) && !listed[messageKey(m)] {
			c.printFollowed(m)
		}
		if err := c.written(); err != nil {
			return err
		}
	}
	return nil
}

// printList prints the inbox and returns the keys of what it printed.
func (c *call) printList(ctx context.Context, cl *client.Client, q protocol.InboxQuery, filter mailFilter) (map[string]bool, error) {
	var messages []protocol.InboxMessage
	limit := q.Limit
	if !filter.empty() {
		q.Limit = wholeInbox
	}
	for m, err := range filter.pick(cl.Mail(ctx, q), limit) {
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	slices.Reverse(messages)
	listed := make(map[string]bool)
	for _, m := range messages {
		listed[messageKey(&m)] = true
		c.printFollowed(&m)
	}
	return listed, nil
}

func messageKey(m *protocol.InboxMessage) string {
	return m.Mesh + " " + m.From.MemberPubkey + " " + m.ID + " " + m.MessageID // an alarm has the last alone
}

func (c *call) printFollowed(m *protocol.InboxMessage) {
	if c.json {
		c.printLine(m)
		return
	}
	c.printMessage(m)
}
