package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
	way "github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
)

// How long a verb that joined a mesh waits for the daemon's connection, and how much longer after a first try that failed.
const (
	firstTry  = 8 * time.Second
	secondTry = 3 * time.Second
)

// connected returns nil once the daemon's own connection to the broker of a mesh has answered. Otherwise it says what is in
// the way: the request that founded or joined the mesh came from this process, which may have another way to the network.
func (c *call) connected(ctx context.Context, slug string) *protocol.Error {
	cl, err := c.daemon(ctx)
	if err != nil {
		e := classify(err)
		e.Message = "no daemon connects to " + slug + ": " + e.Message
		return e
	}
	defer cl.Close()
	h, err := awaitOpen(ctx, cl, slug)
	if err == nil && h.State == protocol.ConnOpen {
		return nil
	}
	var n way.Network
	if err == nil {
		n, err = cl.Network(ctx, slug)
	}
	if err != nil {
		return classify(err)
	}
	at := reachOf(slug, n.Ways[slug].URL, h, n.Ways[slug])
	code := protocol.CodeUnavailable
	if _, ok := refusals[h.ErrorCode]; ok {
		code = h.ErrorCode
	}
	return protocol.Refuse(code, "the daemon's connection to %s does not work: %s", slug, cmp.Or(at.Sentence, at.LastError, "no answer yet")).
		WithHint("%s; the daemon goes on trying", cmp.Or(at.Next, "claudemesh doctor"))
}

// awaitOpen returns the state of a mesh's connection once it is open or refused, or when patience ends.
func awaitOpen(ctx context.Context, cl *client.Client, slug string) (m protocol.MeshHealth, err error) {
	ctx, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	var failed time.Time
	for {
		h, err := cl.Health(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return m, nil
			}
			return m, err
		}
		m = h.Meshes[slug]
		if m.LastError != "" && failed.IsZero() {
			failed = time.Now()
		}
		switch {
		case m.State == protocol.ConnOpen, m.State == protocol.ConnRefused, !failed.IsZero() && time.Since(failed) > secondTry:
			return m, nil
		}
		if !pauseFor(ctx, settleEvery) {
			return m, nil
		}
	}
}

// errorBody is an error beside what a verb did, under --json.
func errorBody(e *protocol.Error) *protocol.ErrorBody {
	return &protocol.ErrorBody{Code: e.Code, Message: e.Message, Hint: hintOf(e), Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(), Names: e.Names}
}
