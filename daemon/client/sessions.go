package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/claudemesh/claudemesh/protocol"
)

// Register enters a session of this machine, or does nothing if the daemon knows it as it is.
func (c *Client) Register(ctx context.Context, req protocol.SessionRequest) (info protocol.SessionInfo, err error) {
	err = c.post(ctx, "/v1/sessions", req, &info)
	return info, err
}

// Sessions lists this machine's live sessions, oldest first.
func (c *Client) Sessions(ctx context.Context) (all []protocol.SessionInfo, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/sessions", nil, &all)
	return all, err
}

// EndSession says that a session is over. An unknown one is no error.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/v1/sessions/"+url.PathEscape(id), nil, new(protocol.OKReply))
}

// Take asks for mail that may be put in front of a session, waiting as long as req says.
func (c *Client) Take(ctx context.Context, req protocol.TakeRequest) (mail protocol.TakeReply, err error) {
	err = c.post(ctx, "/v1/mail/take", req, &mail)
	return mail, err
}

// Settle says what became of taken mail.
func (c *Client) Settle(ctx context.Context, req protocol.SettleRequest) error {
	return c.post(ctx, "/v1/mail/settle", req, new(protocol.OKReply))
}

// Held asks whose messages wait for the user's word.
func (c *Client) Held(ctx context.Context, req protocol.HeldRequest) (held protocol.HeldReply, err error) {
	err = c.post(ctx, "/v1/mail/held", req, &held)
	return held, err
}

// Accept lets a held sender in front of sessions from now on.
func (c *Client) Accept(ctx context.Context, mesh, peer string) error {
	return c.post(ctx, "/v1/accept", protocol.AcceptRequest{Mesh: mesh, Peer: peer}, new(protocol.OKReply))
}

// Open reads one message of a session as it was written.
func (c *Client) Open(ctx context.Context, req protocol.OpenRequest) (m protocol.InboxMessage, err error) {
	err = c.post(ctx, "/v1/mail/open", req, &m)
	return m, err
}

// Hook tells what a session does now.
func (c *Client) Hook(ctx context.Context, req protocol.HookRequest) (out protocol.HookReply, err error) {
	err = c.post(ctx, "/v1/hook", req, &out)
	return out, err
}

// StatusLine tells what a session's status line shows.
func (c *Client) StatusLine(ctx context.Context, session string) (line protocol.StatusLine, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/statusline?session="+url.QueryEscape(session), nil, &line)
	return line, err
}
