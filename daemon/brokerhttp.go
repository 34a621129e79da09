package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	brokerTimeout = 20 * time.Second // of one request; a join may be held for 10 s by the broker
	maxBrokerBody = 12 << 20         // 4 MiB of statements in base64, twice
)

// dialFunc connects; nil means net.Dialer.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// unsentError marks a request that surely did not reach the broker.
type unsentError struct{ refusal *protocol.Error }

func (e unsentError) Error() string { return e.refusal.Message }
func (e unsentError) Unwrap() error { return e.refusal }

// brokerReply is what a broker answers to a join or a creation, taken or refused.
type brokerReply struct {
	protocol.JoinReply
	Hint       string `json:"hint"`
	Retryable  bool   `json:"retryable"`
	RetryAfter int64  `json:"retry_after_ms"`
}

// post sends a JSON request to the broker of wsURL. Redirects are not followed: a token must not travel on. Errors, a
// refusal among them, are *protocol.Error.
func post(ctx context.Context, dial dialFunc, wsURL, path, token string, in any) (*brokerReply, error) {
	host := protocol.BrokerHost(wsURL)
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode a request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, brokerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, protocol.HTTPBase(wsURL)+path, bytes.NewReader(body))
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "broker address: %v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if dial != nil {
		transport.DialContext = dial
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil, brokerAway(host, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxBrokerBody+1))
	if err != nil {
		return nil, brokerAway(host, err)
	}
	var reply brokerReply
	if len(answer) > maxBrokerBody || json.Unmarshal(answer, &reply) != nil {
		return nil, protocol.Refuse(protocol.CodeUnavailable, "%s answered %s, not as a claudemesh broker does", host, res.Status).
			WithHint("check the address; a proxy in front of the broker must pass %s on", path)
	}
	return &reply, reply.refusal(res.Status)
}

// refusal is the error that the broker meant; nil when it said ok.
func (r *brokerReply) refusal(status string) error {
	if r.OK {
		return nil
	}
	code, text := r.Code, r.Error
	if code == "" {
		code, text = protocol.CodeUnavailable, "it answered "+status
	}
	return &protocol.Error{Code: code, Message: "the broker refused: " + text, Hint: r.Hint, Retryable: r.Retryable,
		After: time.Duration(r.RetryAfter) * time.Millisecond}
}

// brokerAway says why there was no answer.
func brokerAway(host string, err error) error {
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return protocol.Refuse(protocol.CodeTimeout, "the broker %s did not answer within %s", host, brokerTimeout).RetryAfter(0)
	}
	e := protocol.Refuse(protocol.CodeUnavailable, "cannot reach the broker %s: %v", host, cause).
		WithHint("check the address and the network; claudemesh doctor tests both").RetryAfter(0)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return unsentError{e}
	}
	return e
}
