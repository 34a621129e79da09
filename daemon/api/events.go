package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// heartbeat is the interval at which an idle stream writes, so that a reader detects a dead daemon.
const heartbeat = 15 * time.Second

// handleEvents streams events until the reader goes or the daemon stops. With Last-Event-ID it begins behind that event,
// else with what happens from now on.
func (d *API) handleEvents(w http.ResponseWriter, r *http.Request) error {
	acting, err := d.Acting(r.FormValue("session"))
	if err != nil {
		return err
	}
	a := inbox.Audience{Who: d.Viewer(acting), Mesh: r.FormValue("mesh")}
	if a.Mesh != "" {
		if _, err := d.Mesh(a.Mesh); err != nil {
			return err
		}
	}
	leave, err := d.streams.enter()
	if err != nil {
		return err
	}
	defer leave()
	wake, cancel := d.Hub.Subscribe()
	defer cancel()
	cursor, lost, err := d.startOf(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	conn := http.NewResponseController(w)
	defer context.AfterFunc(r.Context(), func() { conn.SetWriteDeadline(time.Now()) })() // a reader that does not read holds up no stop
	s := &eventStream{w: w, conn: conn, log: d.Log}
	s.extend()
	s.event(protocol.Event{Seq: cursor, Type: inbox.EventReady, At: d.Now().UTC(), Notice: lost})
	s.follow(r.Context(), d.Hub, a, cursor, wake)
	return nil
}

// startOf returns where a stream begins, and a sentence for the reader when something between is not kept any more.
func (d *API) startOf(lastID string) (cursor uint64, lost string, err error) {
	first, last, err := d.Hub.Span()
	if err != nil || lastID == "" {
		return last, "", err
	}
	cursor, err = strconv.ParseUint(lastID, 10, 64)
	switch {
	case err != nil:
		return 0, "", protocol.Refuse(protocol.CodeInvalid, "Last-Event-ID %q is not a number", lastID)
	case cursor > last:
		return last, "the events were numbered anew: what happened before now is in the inbox", nil
	case first > cursor+1:
		return first - 1, fmt.Sprintf("%d events are not kept any more: what they told is in the inbox", first-cursor-1), nil
	}
	return cursor, "", nil
}

// eventStream writes server-sent events (WHATWG HTML, 9.2). The first error ends it: the reader is gone.
type eventStream struct {
	w    io.Writer
	conn *http.ResponseController
	log  *slog.Logger
	err  error
}

// readerPatience is how long a reader may leave what was written: then his place is for another, and he comes back for the rest.
const readerPatience = 30 * time.Second

func (s *eventStream) extend() {
	if s.err == nil {
		s.err = s.conn.SetWriteDeadline(time.Now().Add(readerPatience))
	}
}

func (s *eventStream) event(e protocol.Event) {
	b, err := json.Marshal(e)
	if err != nil {
		s.log.Error("event cannot be encoded", "seq", e.Seq, "type", e.Type, "err", err)
		e = inbox.Unfit(e, err)
		if b, err = json.Marshal(e); err != nil {
			return // the cursor moves on, and the next event says so
		}
	}
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, b)
	}
}

func (s *eventStream) flushAll() {
	if s.err == nil {
		s.err = s.conn.Flush()
	}
}

// follow writes what there is, waits for more, and so on until ctx ends or the reader is gone.
func (s *eventStream) follow(ctx context.Context, h *inbox.Hub, a inbox.Audience, cursor uint64, wake <-chan struct{}) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for s.err == nil && ctx.Err() == nil {
		s.extend()
		events, next, err := h.Read(cursor, a)
		if err != nil {
			s.log.Error("events not read", "err", err)
			return
		}
		for _, e := range events {
			s.event(e)
		}
		if more := next != cursor; more {
			cursor = next
			continue
		}
		s.flushAll()
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-beat.C:
			if s.err == nil {
				_, s.err = io.WriteString(s.w, ": alive\n\n")
			}
		}
	}
}
