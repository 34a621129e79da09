package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/pipetest"
	"github.com/claudemesh/claudemesh/protocol"
)

const testHost = "broker.example"

// world is a broker with one mesh and the people in it. Alice is the admin; she and all who are named hold certificates.
type world struct {
	testing.TB
	cfg      Config
	log      *syncBuffer
	srv      *Server
	listener *pipetest.Listener
	served   chan error
	owner    *crypto.PrivateKey
	charter  *protocol.Statement
	mesh     protocol.MeshID
	people   map[string]*person
	remote   string // address that post comes from, when set
	link     *sharedLink
	off      *atomic.Int64 // how wrong the broker's clock is, in ns

	alice, bob, cathy *person
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// story runs f in a bubble with alice, bob and cathy, where time passes only when everybody waits.
func story(t *testing.T, limits Limits, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, limits)
		defer w.close()
		f(w)
		w.wantCounted()
	})
}

func newWorld(t testing.TB, limits Limits) *world {
	log := new(syncBuffer)
	w := &world{
		TB: t, log: log, off: new(atomic.Int64), owner: crypto.GenerateKey(), people: make(map[string]*person),
		cfg: Config{
			Dir: t.TempDir(), PublicURL: "wss://" + testHost + "/ws", Limits: limits,
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		},
	}
	w.cfg.Now = func() time.Time { return time.Now().Add(time.Duration(w.off.Load())).Round(0) }
	w.open()
	now := time.Now().Unix()
	w.charter = w.sign(&protocol.Charter{Owner: w.owner.Public(), Created: now, Slug: "acme"}, w.owner)
	w.mesh = w.charter.Mesh()
	w.alice, w.bob, w.cathy = w.stranger("alice"), w.stranger("bob"), w.stranger("cathy")
	req := protocol.CreateRequest{Statements: []string{
		w.charter.Text(), w.certify(w.alice, protocol.RoleAdmin).Text(),
		w.certify(w.bob, protocol.RoleMember).Text(), w.certify(w.cathy, protocol.RoleMember).Text(),
	}}
	if status, body := w.post("/api/v1/meshes", w.srv.AdminToken(), req); status != http.StatusCreated {
		t.Fatalf("create: %d %s", status, body)
	}
	return w
}

func (w *world) open() {
	w.Helper()
	srv, err := New(w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.serve(srv)
}

func (w *world) serve(srv *Server) {
	w.srv, w.listener, w.served = srv, pipetest.New(), make(chan error, 1)
	go func(l *pipetest.Listener, served chan error) { served <- srv.Serve(l) }(w.listener, w.served)
}

// overLoopback has the broker listen on a TCP port, and returns what dials there.
func (w *world) overLoopback() (dial func(*person) *client) {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	go w.srv.Serve(l) // until w.close
	return func(p *person) *client {
		w.Helper()
		c := &client{person: p, changed: make(chan struct{})}
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			w.Fatal(err)
		}
		c.ws, _, err = websocket.NewClient(conn, mustURL("ws://"+testHost+"/ws"), nil, 4096, 4096)
		if err != nil {
			w.Fatal(err)
		}
		return c
	}
}

func (w *world) close() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.srv.Close(ctx); err != nil {
		w.Errorf("close: %v", err)
	}
	if err := <-w.served; err != nil {
		w.Errorf("serve: %v", err)
	}
}

func (w *world) restart() {
	w.Helper()
	w.close()
	w.open()
}

func (w *world) post(path, token string, body any) (int, string) {
	w.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if w.remote != "" {
		r.RemoteAddr = w.remote
	}
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func (w *world) sign(b protocol.Body, keys ...*crypto.PrivateKey) *protocol.Statement {
	w.Helper()
	st, err := protocol.Sign(b, keys...)
	if err != nil {
		w.Fatal(err)
	}
	return st
}

// certify signs the certificate of p with the owner key.
func (w *world) certify(p *person, role string) *protocol.Statement {
	return w.sign(&protocol.Cert{
		Mesh: w.mesh, Issuer: w.owner.Public(), Member: p.key.Public(), Name: p.name, Role: role, Issued: time.Now().Unix(),
	}, w.owner)
}

// view is the mesh as an honest reader sees it.
func (w *world) view() *protocol.View {
	m := w.srv.mesh(w.mesh)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.view
}

// person is a member with the machine he sits at.
type person struct {
	w        *world
	name     string
	key      *crypto.PrivateKey
	instance [8]byte
	addr     string
	sessions map[string]*crypto.PrivateKey
}

// stranger makes a person whom nobody has certified yet.
func (w *world) stranger(name string) *person {
	p := &person{
		w: w, name: name, key: crypto.GenerateKey(), instance: [8]byte(crypto.RandomBytes(8)), addr: "10.0.0.2:1",
		sessions: make(map[string]*crypto.PrivateKey),
	}
	w.people[name] = p
	return p
}

// invite makes a link of alice's and enrols p with it.
func (w *world) invite(p *person, lifetime time.Duration) (invite, enrol *protocol.Statement) {
	link := crypto.GenerateKey()
	invite = w.sign(&protocol.Invite{
		Mesh: w.mesh, Issuer: w.alice.key.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 1,
		Expires: time.Now().Add(lifetime).Unix(), URL: "wss://" + testHost + "/ws", Owner: w.owner.Public(),
	}, w.alice.key)
	return invite, w.enrol(p, link)
}

func (w *world) enrol(p *person, link *crypto.PrivateKey) *protocol.Statement {
	return w.sign(&protocol.Enrol{
		Mesh: w.mesh, Link: link.Public(), Member: p.key.Public(), Name: p.name, At: time.Now().Unix(),
	}, link, p.key)
}

// revoke has the owner revoke key.
func (w *world) revoke(key crypto.PublicKey) *protocol.Statement {
	return w.sign(&protocol.Revoke{
		Mesh: w.mesh, Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: key, At: time.Now().Unix(), Reason: "lost laptop",
	}, w.owner)
}

func (p *person) sessionKey(label string) *crypto.PrivateKey {
	if p.sessions[label] == nil {
		p.sessions[label] = crypto.GenerateKey()
	}
	return p.sessions[label]
}

// sessionStatement is the one for a key of p's, the member key included.
func (p *person) sessionStatement(key *crypto.PrivateKey, label string) *protocol.Statement {
	return p.w.sign(&protocol.Session{
		Mesh: p.w.mesh, Member: p.key.Public(), Session: key.Public(), Label: label, Groups: []string{"backend"},
		Issued: time.Now().UnixMilli(), Expires: time.Now().Add(protocol.SessionLifetime).UnixMilli(),
	}, p.key, key)
}
