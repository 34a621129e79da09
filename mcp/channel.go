package mcp

import (
	"context"
	"errors"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

// channelTransport lets us send the custom notification of Claude's channels, for which the SDK has no call.
type channelTransport struct {
	sdk.Transport
	answers *answers

	mu   sync.Mutex
	conn sdk.Connection
}

func (t *channelTransport) Connect(ctx context.Context) (sdk.Connection, error) {
	c, err := t.Transport.Connect(ctx)
	t.mu.Lock()
	t.conn = c
	t.mu.Unlock()
	if err != nil {
		return c, err
	}
	return &answerConn{c, t.answers}, nil
}

// push writes one notification. Nobody acknowledges it, and a session that did not opt in drops it without a word. A
// client that reads nothing does not hold up what else there is to deliver.
func (t *channelTransport) push(ctx context.Context, m protocol.InboxMessage) (begun bool, err error) {
	t.mu.Lock()
	c := t.conn
	t.mu.Unlock()
	if c == nil {
		return false, errors.New("channel: not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	written := make(chan error, 1)
	go func() { // ends when the client reads or goes away
		written <- c.Write(context.WithoutCancel(ctx), &jsonrpc.Request{Method: "notifications/claude/channel", Params: channelParams(m)})
	}()
	select {
	case err = <-written:
	case <-ctx.Done():
		err = errNotRead
	}
	return true, err
}
