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

// userFrame is one message. Its priority is always next: the agent hands it over between two steps of a turn, or at once when it is idle. With now it
// would abort the tool that runs, and no peer may do that; what may come in the middle of a turn the daemon decides.
func userFrame(session string, m protocol.InboxMessage) inboxFrame {
	return inboxFrame{Type: "user", Priority: protocol.PriorityNext, MsgID: m.ID, SessionID: session, Message: inboxContent{"user", Wrap(m)}}
}
