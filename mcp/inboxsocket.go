package mcp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// Inbox is the inbox socket of the agent session that started us: what is written there wakes it. The agent names both in the environment of
// its own children only (CLAUDE_CODE_MESSAGING_SOCKET, CLAUDE_CODE_MESSAGING_TOKEN), which is why this process writes and not the daemon.
type Inbox struct {
	Path  string
	Token string
}

// post writes one message. A nil error means that the socket took it, not that anybody read it.
func (i Inbox) post(ctx context.Context, session string, m protocol.InboxMessage) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", i.Path)
	if err != nil {
		return fmt.Errorf("open the session's inbox: %w", err)
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)

	w := bufio.NewWriter(c)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(struct {
		Type  string `json:"type"`
		Token string `json:"token"`
	}{"auth", i.Token})
	enc.Encode(userFrame(session, m))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write to the session's inbox: %w", err)
	}
	return nil
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

func userFrame(session string, m protocol.InboxMessage) inboxFrame {
	priority := protocol.PriorityNext
	if m.Priority == protocol.PriorityNow {
		priority = protocol.PriorityNow
	}
	return inboxFrame{Type: "user", Priority: priority, MsgID: m.ID, SessionID: session, Message: inboxContent{"user", Wrap(m)}}
}
