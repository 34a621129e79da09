package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/api"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// port serves the REST interface of d as runREST does, and returns its address.
func (d *testDaemon) port() string {
	d.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		d.t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: d.api.RESTRoutes(ln.Addr().String(), "token")}}
	s.Start()
	d.t.Cleanup(s.Close)
	return ln.Addr().String()
}

// sse is a stream as curl would read it.
type sse struct {
	t     *testing.T
	res   *http.Response
	lines *bufio.Scanner
	close func()
}

// events asks for the stream behind lastID; "" is from now on.
func (d *testDaemon) events(addr, lastID string) *sse {
	d.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/api/v1/events", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer token")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		d.t.Fatal(err)
	}
	s := &sse{t: d.t, res: res, lines: bufio.NewScanner(res.Body), close: func() { cancel(); res.Body.Close() }}
	d.t.Cleanup(s.close)
	return s
}

// want reads the next event, of that type and with that notice, and returns its id.
func (s *sse) want(kind, notice string) string {
	s.t.Helper()
	var id, got string
	var e protocol.Event
	for s.lines.Scan() {
		switch name, value, _ := strings.Cut(s.lines.Text(), ": "); name {
		case "id":
			id = value
		case "event":
			got = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				s.t.Fatal(err)
			}
		case "":
			if got != kind || e.Type != kind || e.Notice != notice || id != strconv.FormatUint(e.Seq, 10) {
				s.t.Fatalf("id %s, event %s, %+v; want %s %q", id, got, e, kind, notice)
			}
			return id
		}
	}
	s.t.Fatalf("the stream ended before %s %q: %v", kind, notice, s.lines.Err())
	return ""
}

func TestRESTEventsOnceAcrossAReconnect(t *testing.T) {
	d := startDaemon(t, newHome(t))
	addr := d.port()
	d.notice("before", inbox.EventOptions{})
	s := d.events(addr, "")
	s.want("ready", "") // from now on: what was before is not told
	d.notice("one", inbox.EventOptions{})
	s.want("notice", "one")
	d.notice("two", inbox.EventOptions{})
	last := s.want("notice", "two")
	s.close()
	d.notice("three", inbox.EventOptions{})
	d.notice("four", inbox.EventOptions{})
	s = d.events(addr, last)
	s.want("ready", "")
	s.want("notice", "three")
	s.want("notice", "four")
	d.notice("five", inbox.EventOptions{})
	s.want("notice", "five")
	s.close()
	// The same id again tells the same again: what is told is the reader's cursor, not the daemon's memory.
	s = d.events(addr, last)
	s.want("ready", "")
	s.want("notice", "three")

	bad := d.events(addr, "yesterday")
	if bad.res.StatusCode != http.StatusBadRequest {
		t.Errorf("a cursor that is none: %s", bad.res.Status)
	}
}

func TestEventStreamsAreCapped(t *testing.T) {
	d := startDaemon(t, newHome(t))
	addr := d.port()
	open := func() *sse {
		t.Helper()
		s := d.events(addr, "")
		s.want("ready", "")
		return s
	}
	refused := func() {
		t.Helper()
		s := d.events(addr, "")
		var e protocol.ErrorReply
		if err := json.NewDecoder(s.res.Body).Decode(&e); err != nil || s.res.StatusCode != http.StatusTooManyRequests ||
			e.Error.Code != protocol.CodeCapacity || !e.Error.Retryable || s.res.Header.Get("Retry-After") != "10" {
			t.Fatalf("%s %+v %v", s.res.Status, e, err)
		}
	}
	first := open()
	for range api.MaxPortStreams - 1 {
		open()
	}
	refused()
	if h, err := d.Health(context.Background()); err != nil || h.Streams != api.MaxPortStreams {
		t.Errorf("health %+v, %v", h, err)
	}
	first.close()
	until(t, "the daemon notices", func() bool {
		h, err := d.Health(context.Background())
		return err == nil && h.Streams < api.MaxPortStreams
	})
	open()
	refused()
}

// The streams of socket and port together are capped, too.
func TestEventStreamsAreCappedInAll(t *testing.T) {
	d := startDaemon(t, newHome(t), func(c *Config) { c.maxStreams = 1 })
	s := d.events(d.port(), "")
	s.want("ready", "")
	next, stop := iter.Pull2(d.Events(t.Context(), client.EventQuery{}))
	defer stop()
	_, err, _ := next()
	wantCode(t, "on the socket", err, protocol.CodeCapacity)
}
