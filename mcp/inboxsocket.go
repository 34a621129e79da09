package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/claudemesh/claudemesh/protocol"
)

// Inbox is the inbox socket of the agent session that started us: what is written there wakes it. The agent names both in the environment of
// its own children only (CLAUDE_CODE_MESSAGING_SOCKET, CLAUDE_CODE_MESSAGING_TOKEN), which is why this process writes and not the daemon.
type Inbox struct {
	Path  string
	Token string
}

// post writes one message. A nil error means that the session's process has it, not that anybody read it: a prompt proves
// that. Begun says of a message that was not handed over whether some of it was written.
func (i Inbox) post(ctx context.Context, session string, m protocol.InboxMessage) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", i.Path)
	if err != nil {
		return false, fmt.Errorf("open the session's inbox: %w", err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)

	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err = enc.Encode(struct {
		Type  string `json:"type"`
		Token string `json:"token"`
	}{"auth", i.Token})
	head := b.Len()
	if err = errors.Join(err, enc.Encode(userFrame(session, m))); err != nil {
		return false, fmt.Errorf("encode a message: %w", err)
	}
	n, err := c.Write(b.Bytes())
	if err != nil {
		return n > head, fmt.Errorf("write to the session's inbox: %w", err)
	}
	switch {
	case Drained(ctx, c):
		return true, nil
	case ctx.Err() != nil:
		return true, errNotRead
	}
	return true, errors.New("the session's inbox was closed before it read the message")
}

type inboxFrame struct {
	Type      string       `json:"type"`
	Priority  string       `json:"priority"`
	MsgID     string       `json:"msg_id"`
	SessionID string       `json:"session_id"`
	Message   inboxContent `json:"message"`
}

type inboxContent struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// userFrame is one message. Its priority is always next: the agent hands it over between two steps of a turn, or at once when it is idle. With now it
// would abort the tool that runs, and no peer may do that; what may come in the middle of a turn the daemon decides.
func userFrame(session string, m protocol.InboxMessage) inboxFrame {
	return inboxFrame{Type: "user", Priority: protocol.PriorityNext, MsgID: m.ID, SessionID: session, Message: inboxContent{"user", Wrap(m)}}
}
