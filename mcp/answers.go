package mcp

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	requestHeader = "Claudemesh-Request" // in RequestExtra: which request a tool call answers
	readPatience  = 10 * time.Second     // for the client to read an answer; a busy one takes a moment
	settleLongest = 20 * time.Second     // for the daemon to hear what became of it; it may be restarting
)

// answers follows the results of tools that bring mail. A result is shown when the client has read it, not when a tool
// returned it: the write may fail, and a client may hang or go away first.
type answers struct {
	s    *server
	work sync.WaitGroup

	mu      sync.Mutex
	waiting map[string]answer // by request
}

// answer is one result on its way.
type answer struct {
	ctx  context.Context // of the call: ended if the client does not want the result any more
	mail []protocol.InboxMessage
}

func newAnswers(s *server) *answers { return &answers{s: s, waiting: make(map[string]answer)} }

// carries notes that the result of a request brings mail.
func (a *answers) carries(ctx context.Context, req *sdk.CallToolRequest, mail []protocol.InboxMessage) {
	if req == nil || req.Extra == nil || len(mail) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[req.Extra.Header.Get(requestHeader)] = answer{ctx, mail}
}

// take returns the mail that the result of a request brings.
func (a *answers) take(request string) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	mail, ok := a.waiting[request]
	delete(a.waiting, request)
	return mail, ok
}

// follow settles what a result brought, once it was written or could not be.
func (a *answers) follow(mail answer, written bool) {
	a.work.Go(func() {
		state := protocol.SettleUnproved
		if written {
			ctx, cancel := context.WithTimeout(a.s.life, readPatience)
			if a.s.drained(ctx) {
				state = protocol.SettleShown
			}
			cancel()
		}
		a.settle(a.s.settlement(protocol.RungPull, state, mail.mail))
	})
}

// settle tells the daemon, and a daemon that restarts tells it again. What it never hears it gives again, marked.
func (a *answers) settle(req protocol.SettleRequest) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.s.life), settleLongest)
	defer cancel()
	for {
		err := a.s.settle(ctx, req)
		code := protocol.CodeOf(err)
		if code != protocol.CodeUnavailable && code != protocol.CodeTimeout || a.s.life.Err() != nil || !sleep(ctx, time.Second) {
			return
		}
	}
}

// answerConn is the client's connection, on which answers are followed.
type answerConn struct {
	sdk.Connection
	answers *answers
}

// Read gives each request a name that the tool it calls can see.
func (c *answerConn) Read(ctx context.Context) (jsonrpc.Message, error) {
	msg, err := c.Connection.Read(ctx)
	if req, ok := msg.(*jsonrpc.Request); ok && err == nil && req.IsCall() && req.Extra == nil {
		req.Extra = &sdk.RequestExtra{Header: http.Header{requestHeader: {requestName(req.ID)}}}
	}
	return msg, err
}

func (c *answerConn) Write(ctx context.Context, msg jsonrpc.Message) error {
	res, ok := msg.(*jsonrpc.Response)
	if !ok {
		return c.Connection.Write(ctx, msg)
	}
	mail, brings := c.answers.take(requestName(res.ID))
	if !brings {
		return c.Connection.Write(ctx, msg)
	}
	wanted := mail.ctx.Err() == nil
	err := c.Connection.Write(ctx, msg)
	c.answers.follow(mail, err == nil && wanted && res.Error == nil)
	return err
}

// requestName tells ids apart as JSON-RPC does: 1 is not "1".
func requestName(id jsonrpc.ID) string { return fmt.Sprintf("%T %[1]v", id.Raw()) }
