package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
)

var year10000 = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)

// What has no JSON is logged and answered: with the other items of its list, or with an error.
func TestAnswersWithoutJSON(t *testing.T) {
	good, bad := protocol.InboxMessage{ID: "good"}, protocol.InboxMessage{ID: "bad", SentAt: year10000}
	for _, test := range []struct {
		name   string
		answer any
		status int
		want   string
	}{
		{"an object", protocol.GapInfo{Since: year10000}, 500, `"code":"internal"`},
		{"a list", []protocol.InboxMessage{good, bad, good}, 200, `"good"`},
		{"a list of one", []protocol.InboxMessage{bad}, 200, `[]`},
		{"a list in an object", protocol.PlainMessages{Messages: []protocol.InboxMessage{bad, good}}, 200, `"good"`},
		{"an object beside a list", protocol.SendResult{AcceptedAt: year10000, Recipients: []protocol.RecipientResult{{At: year10000}}}, 500, `"code":"internal"`},
		{"a number that is none", map[string]any{"x": func() {}}, 500, `"code":"internal"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			d := &API{Roster: &roster.Roster{Log: slog.New(slog.NewTextHandler(&log, nil))}}
			rec := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/v1/x", nil)
			r.Host = "claudemesh"
			d.handler(func(w http.ResponseWriter, _ *http.Request) error { return reply(w, test.answer) }).ServeHTTP(rec, r)
			if rec.Code != test.status || !json.Valid(rec.Body.Bytes()) || !strings.Contains(rec.Body.String(), test.want) || strings.Contains(rec.Body.String(), "bad") {
				t.Errorf("answered %d %s", rec.Code, rec.Body)
			}
			if !strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("logged %q", log.String())
			}
		})
	}
}

// An event that has no JSON becomes a notice in its place in a stream, and the stream goes on.
func TestStreamOfEventsWithoutJSON(t *testing.T) {
	rec := httptest.NewRecorder()
	s := &eventStream{w: rec, conn: http.NewResponseController(rec), log: slog.New(slog.DiscardHandler)}
	s.event(protocol.Event{Seq: 7, Type: inbox.EventState, Mesh: "acme", State: &protocol.SendResult{AcceptedAt: year10000}})
	s.event(protocol.Event{Seq: 8, Type: inbox.EventNotice, Notice: "behind it"})
	lines := strings.Split(rec.Body.String(), "\n")
	if s.err != nil || lines[0] != "id: 7" || lines[1] != "event: notice" || !strings.Contains(lines[2], "cannot be shown") || lines[4] != "id: 8" {
		t.Errorf("streamed %q, %v", lines, s.err)
	}
}
