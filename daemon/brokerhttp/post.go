package brokerhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	postTimeout = 20 * time.Second // of one request; a join may be held for 10 s by the broker
	maxAnswer   = 12 << 20         // 4 MiB of statements in base64, twice
)

// Post sends a JSON request to the broker of wsURL and decodes what it answers into out. Redirects are not followed: a
// token must not travel on. Errors are *protocol.Error; what stands in the way to the broker is a *Fault besides.
func (d *Dialer) Post(ctx context.Context, wsURL, path, token string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	r, err := d.Route(wsURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, protocol.HTTPBase(wsURL)+path, bytes.NewReader(body))
	if err != nil {
		return &Fault{Cause: CauseURL, Unsent: true, Err: err, Sentence: "the broker's address is not a URL", Next: "check the address"}
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := d.roundTrip(ctx, r, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return ExchangeFault(r, err, "an HTTP request")
	}
	return d.understand(r, res, answer, path, out)
}

// roundTrip sends one request over a connection of its own.
func (d *Dialer) roundTrip(ctx context.Context, r Route, req *http.Request) (*http.Response, error) {
	c, err := d.Dial(ctx, r)
	if err != nil {
		return nil, err
	}
	res, err := Transport(c).RoundTrip(req)
	if err != nil {
		c.Close()
		if errors.Is(err, context.Canceled) {
			return nil, err // the caller's own wish
		}
		return nil, ExchangeFault(r, err, "an HTTP request")
	}
	return res, nil
}

// Transport sends one request over a connection that was made before, TLS included, and closes it after the answer.
func Transport(c net.Conn) *http.Transport {
	made := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	return &http.Transport{DialContext: made, DialTLSContext: made, DisableKeepAlives: true}
}

// understand decodes an answer.
func (d *Dialer) understand(r Route, res *http.Response, answer []byte, path string, out any) error {
	if f := AnswerFault(r, res, answer, path); f != nil {
		return f
	}
	var head errorBody
	if len(answer) > maxAnswer || json.Unmarshal(answer, &head) != nil || head.OK && json.Unmarshal(answer, out) != nil {
		return &Fault{Cause: CauseNotBroker, Sentence: fmt.Sprintf("%s answered %s, not as a claudemesh broker does", r.Addr, res.Status),
			Next: "check the address; a proxy in front of the broker must pass " + path + " on"}
	}
	if !head.OK {
		return head.refusal(res.Status)
	}
	return nil
}

// Unsent reports whether what was to be sent surely did not reach the broker.
func Unsent(err error) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.Unsent
}
