package broker

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

func TestEventStreamsAreCapped(t *testing.T) {
	story(t, Limits{StreamsPerKey: 2, Streams: 3}, func(w *world) {
		bob := w.bob.connect()
		one, two := bob.register(w.bob.apiKey("one", 0, "read")), bob.register(w.bob.apiKey("two", 0, "read"))
		refused := func(s *script) {
			t.Helper()
			w.wantRESTRefused(s.secret.Bearer.Text(), "GET", "/api/v1/events", nil, http.StatusTooManyRequests, string(protocol.CodeCapacity))
		}
		open := func(s *script) func() {
			t.Helper()
			next, end := s.stream("")
			if _, data := next(); !strings.Contains(data, "connectedAt") {
				t.Fatalf("first comes %s", data)
			}
			return end
		}
		end := open(one)
		defer open(one)()
		refused(one)
		defer open(two)()
		refused(two) // there is room of the key's own, and none in all
		if got := w.srv.streams.open(); got != 3 {
			t.Errorf("%d streams are open", got)
		}
		end()
		synctest.Wait()
		time.Sleep(time.Second)
		defer open(two)()
		refused(one)
		rec := httptest.NewRecorder()
		w.srv.MetricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if metrics := rec.Body.String(); !strings.Contains(metrics, "claudemesh_broker_event_streams 3") ||
			!strings.Contains(metrics, `claudemesh_broker_refusals_total{reason="capacity"} 3`) {
			t.Errorf("metrics %s", metrics)
		}
	})
}

// Bob makes key after key for his streams. All of them are his, and cathy's program finds a place.
func TestEventStreamsOfAMember(t *testing.T) {
	story(t, Limits{StreamsPerKey: 2, StreamsPerMember: 3, Streams: 5}, func(w *world) {
		bob, cathy := w.bob.connect(), w.cathy.connect()
		one, two, three := bob.register(w.bob.apiKey("one", 0, "read")), bob.register(w.bob.apiKey("two", 0, "read")), bob.register(w.bob.apiKey("three", 0, "read"))
		open := func(s *script) func() {
			t.Helper()
			next, end := s.stream("")
			if _, data := next(); !strings.Contains(data, "connectedAt") {
				t.Fatalf("first comes %s", data)
			}
			return end
		}
		end := open(one)
		defer open(one)()
		defer open(two)()
		refused := func() {
			t.Helper()
			w.wantRESTRefused(three.secret.Bearer.Text(), "GET", "/api/v1/events", nil, http.StatusTooManyRequests, string(protocol.CodeCapacity))
		}
		refused()
		defer open(cathy.register(w.cathy.apiKey("ci", 0, "read")))()
		end()
		synctest.Wait()
		time.Sleep(time.Second)
		defer open(three)()
		refused()
	})
}
