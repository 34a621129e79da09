package brokerhttp

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// Exchange sends a request of the caller's, whose URL lies under the broker's, and decodes the answer into out. Errors are those of
// Post.
func (d *Dialer) Exchange(ctx context.Context, wsURL string, req *http.Request, out any) error {
	r, err := d.Route(wsURL)
	if err != nil {
		return err
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
	return d.understand(r, res, answer, req.URL.Path, out)
}

// Open is Exchange for an answer that is a content: with 206 the caller reads and closes its body, anything else is an error.
func (d *Dialer) Open(ctx context.Context, wsURL string, req *http.Request) (*http.Response, error) {
	r, err := d.Route(wsURL)
	if err != nil {
		return nil, err
	}
	res, err := d.roundTrip(ctx, r, req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusPartialContent {
		return res, nil
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, ExchangeFault(r, err, "an HTTP request")
	}
	if err := d.understand(r, res, answer, req.URL.Path, new(struct{})); err != nil {
		return nil, err
	}
	return nil, &Fault{Cause: CauseNotBroker, Sentence: r.Addr + " answered " + res.Status + " instead of a part of the file",
		Next: "a proxy in front of the broker must pass Range and Content-Range on"}
}

// NoSuchPath reports whether the broker is there and does not serve what it was asked for: it is of another version.
func NoSuchPath(err error) bool {
	f, ok := errors.AsType[*Fault](err)
	return ok && f.Cause == CausePath
}
