// Package client talks to the daemon of this machine over its local socket: one method a route, and Ensure, which sees to
// it that a daemon is there to talk to. Every error is, or wraps, a *protocol.Error: the daemon's own, or CodeUnavailable
// where no daemon is reachable and CodeTimeout where one does not answer.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	base = "http://claudemesh" // the host is a name that the daemon expects, not an address

	// maxReply bounds an answer: a page of the inbox has 7 MiB when every character is escaped, a list of all members of the
	// largest mesh less.
	maxReply = 64 << 20

	// keptConns is how many connections stay open between requests: to the daemon the end of one is the end of the
	// process, which gives back what mail it took. A tool server has two long polls, and calls of its tools beside them.
	keptConns = 32

	// ProbeTimeout is how long a daemon may take to say that it is there.
	ProbeTimeout = 2500 * time.Millisecond
)

// Client is a daemon's client. Its methods may be called from any goroutine.
type Client struct {
	home  config.Home
	http  *http.Client
	found protocol.Health
}

// Dial makes a client of the home's daemon. It connects with the first request, and again when a connection ended, so it
// outlives restarts of the daemon.
func Dial(home config.Home) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return localsocket.Dial(ctx, home.SocketFile())
	}
	return &Client{home: home, http: &http.Client{Transport: &http.Transport{
		DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: keptConns,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// get asks a route and decodes its answer into out.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	if q := query.Encode(); q != "" {
		path += "?" + q
	}
	return c.do(ctx, http.MethodGet, path, nil, out)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPost, path, in, out)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	res, err := c.request(ctx, method, path, in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxReply)
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return unreadable(ctx, path, err)
	}
	_, _ = io.Copy(io.Discard, body) // an unread body would cost the connection
	return nil
}

// unreadable is the error of an answer that cannot be decoded: of what it holds, or of its connection.
func unreadable(ctx context.Context, path string, err error) error {
	_, malformed := errors.AsType[*json.SyntaxError](err)
	if _, misfit := errors.AsType[*json.UnmarshalTypeError](err); malformed || misfit {
		return protocol.Refuse(protocol.CodeInternal, "the daemon's answer to %s cannot be read: %v", path, err).
			WithHint("claudemesh daemon down, if the daemon is of another version")
	}
	return unreachable(ctx, err)
}

// request returns an answer whose status is 2xx; its body is the caller's to close.
func (c *Client) request(ctx context.Context, method, path string, in any, header http.Header) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, protocol.Refuse(protocol.CodeInvalid, "encode the request: %v", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "make the request: %v", err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}

// refusal turns a response outside 2xx into the daemon's error.
func refusal(res *http.Response) error {
	var reply protocol.ErrorReply
	err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&reply)
	if err != nil || reply.Error.Code == "" {
		return protocol.Refuse(protocol.CodeInternal, "the daemon answered %s", res.Status)
	}
	e := reply.Error
	return &protocol.Error{Code: e.Code, Message: e.Message, Hint: e.Hint, Retryable: e.Retryable,
		After: protocol.Millis(e.RetryAfter, protocol.MaxRetryAfter), Names: e.Names}
}

// absentError marks the CodeUnavailable of a socket that nobody listens on: the one case in which a daemon may be spawned.
type absentError struct{ refusal *protocol.Error }

func (e absentError) Error() string { return e.refusal.Message }
func (e absentError) Unwrap() error { return e.refusal }

// unreachable says why there was no answer.
func unreachable(ctx context.Context, err error) error {
	if timeout, ok := errors.AsType[net.Error](err); errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return protocol.Refuse(protocol.CodeTimeout, "the daemon did not answer in time").
			WithHint("claudemesh daemon logs tells what it does").RetryAfter(0)
	}
	if ctx.Err() != nil {
		return protocol.Refuse(protocol.CodeTimeout, "interrupted")
	}
	if errors.Is(err, fs.ErrPermission) { // a daemon may well be there
		return protocol.Refuse(protocol.CodeForbidden, "the daemon's socket cannot be used: %s", plain(err)).WithHint("%s", deniedHint(err))
	}
	e := protocol.Refuse(protocol.CodeUnavailable, "no daemon is running").WithHint("claudemesh daemon up").RetryAfter(0)
	if isAbsent(err) {
		return absentError{e}
	}
	e.Message = "the connection to the daemon ended: " + plain(err)
	return e.WithHint("claudemesh doctor looks what is wrong")
}

// deniedHint says what to do about a permission denied.
func deniedHint(err error) string {
	return cmp.Or(config.DeniedHint(err), "claudemesh doctor looks at the modes of the directory")
}

// plain strips the method and address that package url puts around an error: they mean nothing on a local socket.
func plain(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	return err.Error()
}
