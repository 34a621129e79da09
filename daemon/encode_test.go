package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
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
			d := &api{Roster: &roster.Roster{Log: slog.New(slog.NewTextHandler(&log, nil))}}
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
	s := &eventStream{w: rec, conn: http.NewResponseController(rec), log: discard()}
	s.event(protocol.Event{Seq: 7, Type: inbox.EventState, Mesh: "acme", State: &protocol.SendResult{AcceptedAt: year10000}})
	s.event(protocol.Event{Seq: 8, Type: inbox.EventNotice, Notice: "behind it"})
	lines := strings.Split(rec.Body.String(), "\n")
	if s.err != nil || lines[0] != "id: 7" || lines[1] != "event: notice" || !strings.Contains(lines[2], "cannot be shown") || lines[4] != "id: 8" {
		t.Errorf("streamed %q, %v", lines, s.err)
	}
}

// Mail that is damaged is not handed to a session, and what lies behind it is.
func TestDamagedMailIsNotTaken(t *testing.T) {
	d := startDaemon(t, newHome(t))
	ctx := context.Background()
	info, err := d.Register(ctx, protocol.SessionRequest{ID: "s-1", PID: os.Getpid(), Cwd: "/src/api"})
	if err != nil {
		t.Fatal(err)
	}
	err = d.DB.Commit(func(tx *store.Tx) error {
		for _, v := range []string{"{damaged", `{"own":"x"}`} {
			n, err := tx.NextSequence(table.Waiting)
			if err != nil {
				return err
			}
			if err := tx.Put(table.Waiting, table.U64(n), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Take(ctx, protocol.TakeRequest{Session: info.ID, Rung: protocol.RungPull})
	if err != nil || len(got.Messages) != 0 {
		t.Errorf("took %+v, %v", got, err)
	}
	if _, err := d.Held(ctx, protocol.HeldRequest{Session: info.ID}); err != nil {
		t.Error(err)
	}
}
