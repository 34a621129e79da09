package cli

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/protocol"
)

// eventReady is the type of the first event of a stream of events.
const eventReady = "ready"

// kindQuestion marks a message that wants an answer.
const kindQuestion = "question"

// asked is what `send --ask --json` prints.
type asked struct {
	OK     bool                   `json:"ok"`
	Sent   protocol.SendResult    `json:"sent"`
	Answer *protocol.InboxMessage `json:"answer,omitempty"`
	Error  *protocol.ErrorBody    `json:"error,omitempty"`
}

// sendAndAsk sends the message and waits for the first answer, at most patience. The stream of events is open before the
// message leaves, so that a quick answer is not missed; after a restart of the daemon the inbox is looked through.
func (c *call) sendAndAsk(ctx context.Context, cl *client.Client, req protocol.SendRequest, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if req.Kind == "" {
		req.Kind = kindQuestion
	}
	var sent *protocol.SendResult
	for e, err := range cl.Follow(ctx, client.EventQuery{Mesh: req.Mesh, Session: req.Session}) {
		if err != nil {
			return c.unanswered(ctx, sent, err)
		}
		var answer *protocol.InboxMessage
		switch {
		case sent == nil:
			res, err := cl.Send(ctx, req)
			if err != nil {
				return err
			}
			sent = &res
		case e.Message != nil && answers(e.Message, sent):
			answer = e.Message
		case e.State != nil && e.State.ID == sent.ID:
			sent = e.State
		case e.Type == eventReady: // again, after a restart of the daemon
			if answer, err = findAnswer(ctx, cl, req, sent); err != nil {
				return c.unanswered(ctx, sent, err)
			}
		}
		if answer != nil {
			return c.answered(ctx, cl, req, *sent, answer)
		}
		if why := hopeless(sent); why != nil {
			return c.unansweredBecause(sent, why)
		}
	}
	return c.unanswered(ctx, sent, ctx.Err())
}

// answers tells whether m answers the message. Only somebody who read it knows its id; what is held or not proved does not
// count, whatever it says that it answers.
func answers(m *protocol.InboxMessage, sent *protocol.SendResult) bool {
	return m.ReplyTo == sent.ID && m.Mesh == sent.Mesh && trusted(m)
}

// trusted tells whether the sender is verified and nothing keeps the message from being acted on.
func trusted(m *protocol.InboxMessage) bool {
	return m.From.Trust == protocol.TrustVerified && m.Held == "" && m.Alarm == ""
}

// findAnswer looks for the answer in the inbox.
func findAnswer(ctx context.Context, cl *client.Client, req protocol.SendRequest, sent *protocol.SendResult) (*protocol.InboxMessage, error) {
	for m, err := range cl.Mail(ctx, protocol.InboxQuery{Mesh: sent.Mesh, Session: req.Session, All: true, Limit: wholeInbox}) {
		if err != nil {
			return nil, err
		}
		if answers(&m, sent) {
			return &m, nil
		}
		if m.ReceivedAt.Before(sent.AcceptedAt) {
			break
		}
	}
	return nil, nil
}

// hopeless is why no answer can come: nobody will get the message.
func hopeless(sent *protocol.SendResult) *protocol.Error {
	if sent.State == protocol.StateAccepted && needsYou(sent.Waits) {
		return notLeaving(sent.Waits)
	}
	for _, r := range sent.Recipients {
		if r.State != protocol.StateDead {
			return nil
		}
	}
	return protocol.Refuse(protocol.CodeNotFound, "nobody got the message: %s", sent.State).
		WithHint("claudemesh message status %s tells why", shortID(sent.ID))
}

// answered prints the answer and marks it as read: the script has it.
func (c *call) answered(ctx context.Context, cl *client.Client, req protocol.SendRequest, sent protocol.SendResult, m *protocol.InboxMessage) error {
	if c.json {
		c.printJSON(asked{OK: true, Sent: sent, Answer: m})
	} else {
		c.note("%s", c.messageHead(m))
		c.printText(m.Body)
	}
	if err := c.written(); err != nil {
		return err // it stays unread
	}
	_, err := cl.MarkRead(ctx, protocol.InboxChange{IDs: []string{m.ID}, Mesh: m.Mesh, Session: req.Session})
	return err
}

// unanswered says that no answer came in time, or what kept us from hearing it.
func (c *call) unanswered(ctx context.Context, sent *protocol.SendResult, err error) error {
	if sent == nil || ctx.Err() == nil {
		return err
	}
	return c.unansweredBecause(sent, protocol.Refuse(protocol.CodeTimeout, "no answer yet; the message is %s", sent.State).
		WithHint("claudemesh inbox shows the answer when it has come; claudemesh message status %s tells who got the message", shortID(sent.ID)))
}

func (c *call) unansweredBecause(sent *protocol.SendResult, why *protocol.Error) error {
	if !c.json {
		return why
	}
	c.printJSON(asked{Sent: *sent, Error: errorBody(why)})
	return saidError{why}
}
