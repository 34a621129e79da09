package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// EventQuery selects events.
type EventQuery struct {
	Mesh    string // slug; empty: all
	Session string // what this session may see; empty: all of this member
	Replay  bool   // begin behind After, not with what happens from now on
	After   uint64 // Seq of the last event that the caller has
}

// Events yields events until the stream ends, which yields an error, or the caller breaks. The first has the type
// "ready" and the Seq from which the stream goes on: what happens after it is not missed.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[protocol.Event, error] {
	return func(yield func(protocol.Event, error) bool) {
		header := http.Header{"Accept": {"text/event-stream"}}
		if q.Replay {
			header.Set("Last-Event-ID", strconv.FormatUint(q.After, 10))
		}
		path := "/v1/events"
		if v := values("mesh", q.Mesh, "session", q.Session).Encode(); v != "" {
			path += "?" + v
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		res, err := c.request(ctx, http.MethodGet, path, nil, header)
		if err != nil {
			yield(protocol.Event{}, err)
			return
		}
		defer res.Body.Close()
		if err := readEvents(res.Body, yield); err != nil {
			yield(protocol.Event{}, unreachable(ctx, err))
		}
	}
}

// Unreadable is the type of the event in the place of one that cannot be read; Notice says why. It has the Seq of that
// event, so the stream goes on behind it.
const Unreadable = "unreadable"

// readEvents yields the events of a stream. It returns nil when the consumer breaks.
func readEvents(r io.Reader, yield func(protocol.Event, error) bool) error {
	s := newStream(r)
	last := uint64(0)
	for {
		raw, err := s.next()
		if err == io.EOF {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		last = max(last, raw.id)
		e := raw.event(last)
		last = max(last, e.Seq)
		if !yield(e, nil) {
			return nil
		}
	}
}

// event decodes the event. One without an id has that of the event before: last.
func (raw rawEvent) event(last uint64) (e protocol.Event) {
	err := errEventTooLong
	if raw.size <= maxEvent {
		err = json.Unmarshal(raw.data, &e)
	}
	if err != nil {
		return protocol.Event{Seq: last, Type: Unreadable, Notice: fmt.Sprintf("event %d (%d bytes) cannot be read: %v", raw.id, raw.size, err)}
	}
	return e
}

// Follow is Events over restarts of the daemon: it goes on behind the last event that it yielded, and yields an error only
// when the daemon refuses or ctx ends.
func (c *Client) Follow(ctx context.Context, q EventQuery) iter.Seq2[protocol.Event, error] {
	return func(yield func(protocol.Event, error) bool) {
		wait := followMin
		for {
			var last error
			for e, err := range c.Events(ctx, q) {
				if err != nil {
					last = err
					break
				}
				q.Replay, q.After, wait = true, e.Seq, followMin
				if !yield(e, nil) {
					return
				}
			}
			if !comesBack(last) || !sleep(ctx, wait) {
				yield(protocol.Event{}, last)
				return
			}
			wait = min(2*wait, followMax)
		}
	}
}

const (
	followMin = 100 * time.Millisecond
	followMax = 5 * time.Second
)

// comesBack tells a daemon that restarts from one that refuses.
func comesBack(err error) bool {
	code := protocol.CodeOf(err)
	return code == protocol.CodeUnavailable || code == protocol.CodeTimeout || code == protocol.CodeStarting
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
