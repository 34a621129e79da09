package broker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// wantNoUpgrade dials and wants a refusal.
func (c *client) wantNoUpgrade() int {
	c.w.Helper()
	pipe, err := c.w.listener.Dial(c.addr)
	if err != nil {
		c.w.Fatal(err)
	}
	defer pipe.Close()
	_, resp, err := websocket.NewClient(pipe, mustURL("ws://"+testHost+"/ws"), nil, 1024, 1024)
	if err == nil || resp == nil {
		c.w.Fatalf("upgraded, or no answer: %v", err)
	}
	return resp.StatusCode
}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

func (w *world) get(path string) (int, string) {
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec.Code, rec.Body.String()
}

func TestHealth(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		for _, path := range []string{"/health", "/health/ready"} {
			if status, body := w.get(path); status != http.StatusOK || !strings.Contains(body, `"ok":true`) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
		if status, body := w.get("/nothing"); status != http.StatusNotFound || !strings.Contains(body, "not_found") {
			t.Errorf("/nothing: %d %s", status, body)
		}
		w.srv.queue.Close() // what a dead disk does to it
		if status, _ := w.get("/health/ready"); status != http.StatusOK {
			t.Error("asked the disk twice in a second")
		}
		time.Sleep(time.Second)
		if status, body := w.get("/health/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "store_failed") {
			t.Errorf("not ready: %d %s", status, body)
		}
		alice := w.alice.connect()
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		for range 2 { // the second is no repeat: nothing was kept
			if ack := alice.wantNotQueued(s, protocol.CodeStoreFailed); !ack.Retryable {
				t.Errorf("ack %+v", ack)
			}
		}
	})
}

func TestAdminToken(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		path := filepath.Join(w.cfg.Dir, adminTokenFile)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		b, _ := os.ReadFile(path)
		if strings.TrimSpace(string(b)) != w.srv.AdminToken() || len(w.srv.AdminToken()) != 43 {
			t.Errorf("file %q, token of %d", b, len(w.srv.AdminToken()))
		}
		token := w.srv.AdminToken()
		w.restart()
		if w.srv.AdminToken() != token {
			t.Error("another token after a restart")
		}
		if strings.Contains(w.log.String(), token) {
			t.Error("the token is in the log")
		}
	})
}

func TestCreateIsRefused(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		token := w.srv.AdminToken()
		owner, eve := crypto.GenerateKey(), crypto.GenerateKey()
		charter := w.sign(&protocol.Charter{Owner: owner.Public(), Created: time.Now().Unix(), Slug: "new"}, owner)
		byEve := w.sign(&protocol.Cert{
			Mesh: charter.Mesh(), Issuer: eve.Public(), Member: eve.Public(), Name: "eve", Role: protocol.RoleAdmin, Issued: 1,
		}, eve)
		tests := []struct {
			name, token string
			statements  []string
			status      int
			code        protocol.Code
		}{
			{"without token", "", []string{charter.Text()}, 401, protocol.CodeUnauthorized},
			{"with a wrong token", token[1:] + "x", []string{charter.Text()}, 401, protocol.CodeUnauthorized},
			{"with half a token", token[:20], []string{charter.Text()}, 401, protocol.CodeUnauthorized},
			{"without charter", token, []string{byEve.Text()}, 400, protocol.CodeInvalid},
			{"with two charters", token, []string{charter.Text(), w.charter.Text()}, 400, protocol.CodeInvalid},
			{"with a stranger's certificate", token, []string{charter.Text(), byEve.Text()}, 403, protocol.CodeForbidden},
			{"with a statement of another mesh", token, []string{charter.Text(), w.certify(w.bob, protocol.RoleMember).Text()}, 403, protocol.CodeForeign},
			{"again", token, []string{w.charter.Text()}, 409, protocol.CodeExists},
			{"with nonsense", token, []string{"nonsense"}, 400, protocol.CodeBadStatement},
		}
		for _, tt := range tests {
			status, body := w.post("/api/v1/meshes", tt.token, protocol.CreateRequest{Statements: tt.statements})
			var e httpError
			if err := json.Unmarshal([]byte(body), &e); err != nil || status != tt.status || e.Code != tt.code || e.OK {
				t.Errorf("%s: %d %s", tt.name, status, body)
			}
		}
		if status, body := w.post("/api/v1/meshes", token, protocol.CreateRequest{Statements: []string{charter.Text()}}); status != 201 {
			t.Errorf("create: %d %s", status, body)
		}
	})
}

func TestHTTPLimits(t *testing.T) {
	story(t, Limits{HTTPPerAddress: 3, HTTPBody: 2000}, func(w *world) {
		size := func(n int) (int, string) {
			return w.post("/join", "", map[string]string{"invite": strings.Repeat("x", n-len(`{"invite":""}`))})
		}
		if status, body := size(2000); status != http.StatusBadRequest {
			t.Errorf("2000 bytes: %d %s", status, body)
		}
		if status, body := size(2001); status != http.StatusRequestEntityTooLarge {
			t.Errorf("2001 bytes: %d %s", status, body)
		}
		size(100)
		if status, body := size(100); status != http.StatusTooManyRequests || !strings.Contains(body, `"retry_after_ms":20000`) {
			t.Errorf("fourth visit: %d %s", status, body)
		}
		time.Sleep(20 * time.Second)
		if status, _ := size(100); status != http.StatusBadRequest {
			t.Errorf("20 s later: %d", status)
		}
	})
}

func TestClientAddr(t *testing.T) {
	own, lan := &Server{}, &Server{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}}}
	tests := []struct {
		srv                     *Server
		remote, forwarded, want string
	}{
		{own, "10.0.0.9:1", "", "10.0.0.9"},
		{own, "10.0.0.9:1", "10.1.1.1", "10.0.0.9"}, // only a proxy on this machine is believed
		{own, "127.0.0.1:1", "", "127.0.0.1"},
		{own, "127.0.0.1:1", "10.1.1.1", "10.1.1.1"},
		{own, "[::1]:1", "10.1.1.1, 10.2.2.2", "10.2.2.2"},
		{own, "127.0.0.1:1", "nonsense", "127.0.0.1"},
		{lan, "127.0.0.1:1", "10.1.1.1", "127.0.0.1"}, // others were configured
		{lan, "10.2.0.1:1", "10.1.1.1", "10.1.1.1"},
		{lan, "10.2.0.1:1", "1.1.1.1, 10.1.1.1, 10.2.0.7", "10.1.1.1"}, // through two proxies; what stands before is the client's own claim
		{lan, "10.3.0.1:1", "10.1.1.1", "10.3.0.1"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.RemoteAddr = tt.remote
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := tt.srv.clientAddr(r); got != tt.want {
			t.Errorf("%s, forwarded for %q: %s, want %s", tt.remote, tt.forwarded, got, tt.want)
		}
	}
}

func TestDrain(t *testing.T) {
	story(t, Limits{Drain: 15 * time.Millisecond}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "before")
		w.srv.draining.Store(true)
		ack := alice.wantNotQueued(alice.seal(w.cathy.key.Public(), protocol.PriorityNext, "late"), protocol.CodeDraining)
		if !ack.Retryable || ack.RetryAfter == 0 {
			t.Errorf("ack %+v", ack)
		}
		alice.wantQueued(s) // a repeat is still answered
		c := &client{person: w.cathy, changed: make(chan struct{})}
		if status := c.wantNoUpgrade(); status != http.StatusServiceUnavailable {
			t.Errorf("connection: %d", status)
		}
		if status, body := w.get("/health/ready"); status != http.StatusServiceUnavailable {
			t.Errorf("ready: %d %s", status, body)
		}
		if status, body := w.post("/join", "", protocol.JoinRequest{}); status != http.StatusServiceUnavailable {
			t.Errorf("join: %d %s", status, body)
		}
		w.srv.draining.Store(false)

		start := time.Now()
		w.close()
		if d := time.Since(start); d < 15*time.Millisecond || d > time.Second {
			t.Errorf("drained in %s", d)
		}
		alice.wantClose(websocket.CloseGoingAway)
		bob.wantClose(websocket.CloseGoingAway)
		w.open()
		w.bob.connect().Want("before")
	})
}

func TestCloseCutsWhoDoesNotLeave(t *testing.T) {
	story(t, Limits{WriteTimeout: time.Hour}, func(w *world) {
		cathy, alice := w.cathy.connect(), w.alice.connect()
		cathy.freeze()
		for range 12 {
			alice.Send(w.cathy, strings.Repeat("x", 32<<10))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		looked := make(chan struct{})
		time.AfterFunc(time.Second, func() {
			defer close(looked)
			if status, body := w.get("/health/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
				t.Errorf("while it closes: %d %s", status, body)
			}
		})
		if err := w.srv.Close(ctx); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("closed after %s", d)
		}
		<-w.served
		<-looked
		w.open()
		w.cathy.connect().Want(strings.Repeat("x", 32<<10))
	})
}

func (c *client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed != nil
}

func TestCloseTwice(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.close()
		if err := w.srv.Close(context.Background()); err != nil {
			t.Error(err)
		}
		w.open()
	})
}

func TestSecondBrokerOnTheDirectory(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		if srv, err := New(w.cfg); err == nil || srv != nil {
			t.Error("two brokers on one directory")
		}
	})
}

func TestMetrics(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		alice.wantQueued(s)
		bob.Want("hi")
		alice.WantReceipt(s, protocol.StateDelivered, true)
		alice.wantNotQueued(alice.seal(crypto.GenerateKey().Public(), protocol.PriorityNext, "hi"), protocol.CodeUnknownRecipient)
		bob.leave()
		rec := httptest.NewRecorder()
		w.srv.MetricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, want := range []string{
			`claudemesh_broker_messages_total{priority="next"} 1`,
			`claudemesh_broker_messages_total{priority="low"} 0`,
			`claudemesh_broker_repeats_total 1`,
			`claudemesh_broker_pushes_total 2`, // and the receipt
			`claudemesh_broker_receipts_total{state="delivered"} 1`,
			`claudemesh_broker_refusals_total{reason="unknown_recipient"} 1`,
			`claudemesh_broker_refusals_total{reason="queue_full"} 0`,
			`claudemesh_broker_closes_total{reason="client"} 1`,
			`claudemesh_broker_closes_total{reason="slow"} 0`,
			`claudemesh_broker_connections{kind="control"} 1`,
			`claudemesh_broker_connections{kind="hello"} 0`,
			`claudemesh_broker_commit_seconds_count 1`,
			`claudemesh_broker_push_seconds_count 1`,
			`claudemesh_broker_committed_total 2`,
			`claudemesh_broker_meshes 1`,
		} {
			if !strings.Contains(rec.Body.String(), want+"\n") {
				t.Errorf("no %s in\n%s", want, grep(rec.Body.String(), strings.Split(want, "{")[0]))
			}
		}
	})
}

func grep(text, word string) (found string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found += line
		}
	}
	return found
}

// A proxy in front of the broker that drops the Upgrade header is told from one without a broker behind it.
func TestWebSocketWithoutUpgrade(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		if status, body := w.get("/ws"); status != http.StatusUpgradeRequired || !strings.Contains(body, string(protocol.CodeNoUpgrade)) {
			t.Errorf("%d %s", status, body)
		}
	})
}

// The broker's own paths and those of its public URL are the same routes: a proxy may take the prefix off or leave it.
func TestPublicPathPrefix(t *testing.T) {
	srv, err := New(Config{Dir: t.TempDir(), PublicURL: "wss://mesh.example/team/ws"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close(t.Context())
	for path, want := range map[string]int{
		"/health": http.StatusOK, "/team/health": http.StatusOK, "/ws": http.StatusUpgradeRequired, "/team/ws": http.StatusUpgradeRequired,
		"/team/api/v1/key": http.StatusUnauthorized, "/other/ws": http.StatusNotFound, "/team": http.StatusNotFound, "/teams/ws": http.StatusNotFound,
	} {
		rec := httptest.NewRecorder()
		srv.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want {
			t.Errorf("%s: %d %s, want %d", path, rec.Code, rec.Body, want)
		}
	}
}
