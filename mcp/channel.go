package mcp

import (
	"context"
	"fmt"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// channelTransport lets us send the custom notification of Claude's channels, for which the SDK has no call.
type channelTransport struct {
	sdk.Transport

	mu   sync.Mutex
	conn sdk.Connection
}

func (t *channelTransport) Connect(ctx context.Context) (sdk.Connection, error) {
	c, err := t.Transport.Connect(ctx)
	t.mu.Lock()
	t.conn = c
	t.mu.Unlock()
	return c, err
}

// push writes one notification. Nobody acknowledges it, and a session that did not opt in drops it without a word.
func (t *channelTransport) push(ctx context.Context, m protocol.InboxMessage) error {
	t.mu.Lock()
	c := t.conn
	t.mu.Unlock()
	if c == nil {
		return fmt.Errorf("channel: not connected")
	}
	return c.Write(ctx, &jsonrpc.Request{Method: "notifications/claude/channel", Params: channelParams(m)})
}
