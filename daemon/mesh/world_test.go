package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/pipetest"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

const testURL = "ws://broker.example/ws"

// world is a broker and the daemons' meshes of alice, who is the admin, bob and cathy.
type world struct {
	testing.TB
	brokerDir string
	limits    broker.Limits // of the broker that is opened next
	off       atomic.Int64  // how wrong the clock on the broker's wall is, in ns
	srv       *broker.Server
	listener  atomic.Pointer[pipetest.Listener]
	served    chan error
	log       *slog.Logger
	owner     *crypto.PrivateKey
	charter   *protocol.Statement
	nodes     []*node
	evils     []*evil // brokers that lie

	alice, bob, cathy *node
}

// node is one daemon's side of the mesh.
type node struct {
	*world
	name   string
	cfg    config.Membership
	dir    string
	life   int // counts kills: each goes on with a copy of the file
	skew   time.Duration
	hurt   bool         // rows were damaged: what they counted is not known any more
	off    atomic.Int64 // what setClock says, in ns
	clock  *wallclock.Clock
	db     *store.DB
	m      *Mesh
	events *recorder
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	owned *config.OwnerKey   // on this machine; nil: elsewhere
	via   *pipetest.Listener // an evil broker between this node and the real one; nil: none
	cut   bool               // no connection opens
	conns []net.Conn
	fuse  int64        // bytes after which a connection is cut, either way; 0: never
	cuts  atomic.Int64 // that the fuse made
}

// fused is a connection that is cut after so many bytes.
type fused struct {
	net.Conn
	mu   sync.Mutex
	left int64
	cut  *atomic.Int64
}

func (f *fused) burn(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 && f.left <= int64(n) {
		f.cut.Add(1)
		f.Conn.Close()
	}
	f.left -= int64(n)
}

func (f *fused) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	f.burn(n)
	return n, err
}

func (f *fused) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p)
	f.burn(n)
	return n, err
}

// recorder reads the events that a node's own hub kept: what cannot be encoded there is missing here, too.
type recorder struct{ n *node }

func (r *recorder) of(kind string) (events []protocol.Event) {
	r.n.Helper()
	for cursor := uint64(0); ; {
		page, next, err := r.n.m.env.Events.Read(cursor, inbox.Audience{})
		if err != nil {
			r.n.Fatal(err)
		}
		for _, ev := range page {
			if ev.Type == kind {
				events = append(events, ev)
			}
		}
		if next == cursor {
			return events
		}
		cursor = next
	}
}

// story runs f with alice, bob and cathy connected, in a bubble where time passes only when everybody waits.
func story(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		for _, n := range w.nodes {
			n.start() // alice first: she tells the broker of the others
			synctest.Wait()
		}
		f(w)
	})
}

// newWorld makes the broker and the mesh, with alice alone in it and not yet started.
func newWorld(t testing.TB) *world { return newWorldWith(t, crypto.PublicKey{}) }

// newWorldWith makes it with a recovery key.
func newWorldWith(t testing.TB, recovery crypto.PublicKey) *world {
	w := &world{TB: t, brokerDir: t.TempDir(), owner: crypto.GenerateKey(), log: slog.New(slog.DiscardHandler)}
	if os.Getenv("DAEMON_TEST_LOG") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.openBroker()
	w.charter = w.sign(&protocol.Charter{Owner: w.owner.Public(), Recovery: recovery, Created: time.Now().Unix(), Slug: "acme"}, w.owner)
	key := crypto.GenerateKey()
	cert := w.certify(key.Public(), "alice", protocol.RoleAdmin)
	w.post("/api/v1/meshes", protocol.CreateRequest{Statements: []string{w.charter.Text(), cert.Text()}}, new(protocol.CreateReply))
	w.alice = w.node("alice", config.Membership{Key: key, Cert: cert.Text()})
	return w
}

func (w *world) openBroker() {
	w.Helper()
	srv, err := broker.New(broker.Config{Dir: w.brokerDir, PublicURL: testURL, Logger: w.log.With("at", "broker"), Now: w.now, Limits: w.limits})
	if err != nil {
		w.Fatal(err)
	}
	l := pipetest.New()
	w.srv, w.served = srv, make(chan error, 1)
	w.listener.Store(l)
	go func(served chan error) { served <- srv.Serve(l) }(w.served)
}

// now is the clock on the broker's wall.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.off.Load())).Round(0) }

func (w *world) closeBroker() {
	w.Helper()
	if err := w.srv.Close(context.Background()); err != nil {
		w.Errorf("close the broker: %v", err)
	}
	<-w.served
}

func (w *world) close() {
	w.Helper()
	for _, n := range w.nodes {
		n.stop()
		n.wantCounted()
		if err := n.db.Check(); err != nil {
			w.Errorf("%s: %v", n.name, err)
		}
		n.db.Close()
	}
	for _, e := range w.evils {
		e.end()
	}
	w.closeBroker()
}

func (w *world) sign(b protocol.Body, keys ...*crypto.PrivateKey) *protocol.Statement {
	w.Helper()
	s, err := protocol.Sign(b, keys...)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) certify(key crypto.PublicKey, name, role string) *protocol.Statement {
	w.Helper()
	return w.sign(&protocol.Cert{
		Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Member: key, Name: name, Role: role, Issued: time.Now().Unix(),
	}, w.owner)
}

func (w *world) post(path string, body, reply any) {
	w.Helper()
	rec := w.answer(path, body)
	if rec.Code >= 300 {
		w.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), reply); err != nil {
		w.Fatal(err)
	}
}

func (w *world) answer(path string, body any) *httptest.ResponseRecorder {
	w.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(b))
	r.Header.Set("Authorization", "Bearer "+w.srv.AdminToken())
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, r)
	return rec
}

// node makes a daemon for a membership.
func (w *world) node(name string, cfg config.Membership) *node {
	w.Helper()
	cfg.Slug, cfg.MeshID, cfg.Name, cfg.BrokerURL, cfg.Charter = "acme", w.charter.Mesh(), name, testURL, w.charter.Text()
	if w.alice != nil {
		cfg.Log = append(cfg.Log, w.alice.cfg.Cert)
	}
	n := &node{world: w, name: name, cfg: cfg, dir: w.TempDir()}
	n.open()
	w.nodes = append(w.nodes, n)
	return n
}

// admitted makes a member whom the owner certified, and whom everybody but the broker knows.
func (w *world) admitted(name string) *node {
	w.Helper()
	key := crypto.GenerateKey()
	cert := w.certify(key.Public(), name, protocol.RoleMember)
	n := w.node(name, config.Membership{Key: key, Cert: cert.Text()})
	for _, other := range w.nodes {
		other.learn(cert)
		n.learn(w.cert(other))
	}
	return n
}

// cert returns the certificate of a member as it is in config.json.
func (w *world) cert(n *node) *protocol.Statement {
	w.Helper()
	s, err := protocol.ParseText(n.cfg.Cert)
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// joined makes somebody who came by a link, with the broker's answer to it.
func (w *world) joined(name, link string) *node {
	w.Helper()
	l, err := protocol.ParseLink(link)
	if err != nil {
		w.Fatal(err)
	}
	key := crypto.GenerateKey()
	enrol := w.sign(&protocol.Enrol{Mesh: w.charter.Mesh(), Link: l.Key.Public(), Member: key.Public(), Name: name, At: time.Now().Unix()}, l.Key, key)
	var reply protocol.JoinReply
	w.post("/join", protocol.JoinRequest{Invite: l.Invite.Text(), Enrol: enrol.Text()}, &reply)
	return w.node(name, config.Membership{Key: key, Invite: l.Invite.Text(), Enrol: enrol.Text(), Log: reply.Statements})
}

func (n *node) path() string { return filepath.Join(n.dir, fmt.Sprintf("daemon-%d.db", n.life)) }

// now is the clock on the node's wall. Setting it does not touch what time.Now measures.
func (n *node) now() time.Time { return time.Now().Add(n.skew + time.Duration(n.off.Load())).Round(0) }

func (n *node) open() {
	n.Helper()
	db, err := table.Open(n.path())
	if err != nil {
		n.Fatal(err)
	}
	n.db, n.events, n.clock = db, &recorder{n}, wallclock.New(n.now)
	log := n.log.With("at", n.name)
	mail := inbox.NewMailbox(db, n.now, log, PassNumber)
	e := &Env{DB: db, Log: log, Clock: n.clock, Broker: brokerhttp.For(n.dial, n.now), Events: inbox.NewHub(db, mail, n.now, log), Mail: mail, OwnerKey: n.ownerKey}
	if e.Files, err = spool.Open(db, filepath.Join(n.dir, "files"), n.now, log); err != nil {
		n.Fatal(err)
	}
	if n.m, err = New(e, n.cfg); err != nil {
		n.Fatal(err)
	}
}

// ownerKey is the owner key file of the node's machine, if it has one.
func (n *node) ownerKey(protocol.MeshID, crypto.PublicKey) (*config.OwnerKey, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.owned == nil {
		return nil, fs.ErrNotExist
	}
	return n.owned, nil
}

func (n *node) learn(statements ...*protocol.Statement) {
	n.Helper()
	if err := n.m.learnStatements(statements); err != nil {
		n.Fatal(err)
	}
}

func (n *node) dial(context.Context, string, string) (net.Conn, error) {
	n.mu.Lock()
	cut, l := n.cut, n.listener.Load()
	if n.via != nil {
		l = n.via
	}
	n.mu.Unlock()
	if cut {
		return nil, errors.New("network is unreachable")
	}
	c, err := l.Dial("10.0.0.2:1")
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	if n.fuse > 0 {
		return &fused{Conn: c, left: n.fuse, cut: &n.cuts}, nil
	}
	return c, nil
}

// unplug cuts the network; plug mends it.
func (n *node) unplug() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

func (n *node) plug() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = false
}

func (n *node) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan struct{})
	go func(m *Mesh, done chan struct{}) {
		defer close(done)
		m.Run(ctx)
	}(n.m, n.done)
}

func (n *node) stop() {
	if n.cancel == nil {
		return
	}
	n.cancel()
	<-n.done
	n.cancel = nil
}

// restart is an orderly stop and start.
func (n *node) restart() {
	n.Helper()
	n.stop()
	n.db.Close()
	n.open()
	n.start()
}

// kill ends the daemon as kill -9 does: the network goes first, then a new one runs on what is on disk at that moment.
func (n *node) kill() {
	n.Helper()
	n.unplug()
	old := n.db
	n.life++
	f, err := os.OpenFile(n.path(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		n.Fatal(err)
	}
	if _, err := old.WriteTo(f); err != nil {
		n.Fatal(err)
	}
	f.Close()
	n.stop()
	old.Close()
	n.plug()
	n.open()
	n.start()
}

// session puts a live session on the node.
func (n *node) session(label string, groups ...string) *keyring.Session {
	n.Helper()
	id := "id-of-" + n.name + "-" + label
	key, err := keyring.SessionKey(n.db, id)
	if err != nil {
		n.Fatal(err)
	}
	s := &keyring.Session{ID: id, Label: label, Key: key, Groups: groups, Status: protocol.StatusIdle, Cwd: "/src/" + label}
	if err := n.m.AddSession(s); err != nil {
		n.Fatal(err)
	}
	return s
}

// send accepts a message and returns its id.
func (n *node) send(to, body string) string {
	n.Helper()
	return n.sendAs(nil, protocol.SendRequest{To: to, Body: body})
}

func (n *node) sendAs(acting *keyring.Session, req protocol.SendRequest) string {
	n.Helper()
	res, err := n.m.Send(context.Background(), req, acting)
	if err != nil {
		n.Fatalf("%s sends to %s: %v", n.name, req.To, err)
	}
	if res.State != protocol.StateAccepted {
		n.Errorf("accepted message is %s", res.State)
	}
	return res.ID
}

// inbox lists what acting sees, oldest first: "name: body", or "!reason" of an alarm.
func (n *node) inbox(acting *keyring.Session) (bodies []string) {
	n.Helper()
	for _, msg := range n.messages(acting) {
		if msg.Alarm != "" {
			bodies = append(bodies, "!"+msg.Alarm)
			continue
		}
		bodies = append(bodies, msg.From.Name+": "+msg.Body)
	}
	return bodies
}

func (n *node) messages(acting *keyring.Session) []protocol.InboxMessage {
	n.Helper()
	var v *inbox.Viewer
	if acting != nil {
		owner := make(map[crypto.PublicKey]string)
		for _, s := range n.m.ring.Sessions(true) {
			owner[s.Public()] = s.ID
		}
		v = &inbox.Viewer{ID: acting.ID, Key: acting.Public(), Label: acting.Label, Heir: func(own crypto.PublicKey, _ string) bool {
			return owner[own] == "" || owner[own] == acting.ID
		}}
	}
	q := protocol.InboxQuery{All: true, Limit: 100_000}
	var all []protocol.InboxMessage
	for {
		page, err := n.m.env.Mail.Page(q, v)
		if err != nil {
			n.Fatal(err)
		}
		all = append(all, page.Messages...)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	slices.Reverse(all)
	return all
}

// want fails unless the inbox holds these messages, in this order.
func (n *node) want(bodies ...string) {
	n.Helper()
	synctest.Wait()
	if got := n.inbox(nil); !slices.Equal(got, bodies) {
		n.Errorf("inbox of %s: %q, want %q", n.name, got, bodies)
	}
}

// wantState fails unless a message of the node is in a state, for its first recipient with this proof.
func (n *node) wantState(id string, state protocol.State, proof string) protocol.SendResult {
	n.Helper()
	synctest.Wait()
	res, err := n.m.Message(id)
	if err != nil {
		n.Fatal(err)
	}
	if res.State != state {
		n.Errorf("message of %s is %s, want %s: %+v", n.name, res.State, state, res.Recipients)
	} else if len(res.Recipients) > 0 && res.Recipients[0].Proof != proof {
		n.Errorf("state %s of %s by proof %s, want %s", state, n.name, res.Recipients[0].Proof, proof)
	}
	return res
}

// pass lets time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func wantRefusal(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	daemontest.WantRefusal(t, err, code)
}

// copyOf takes a copy of a daemon's home, for another to run on.
func (w *world) copyOf(n *node) (restore func(*node), err error) {
	var b bytes.Buffer
	if _, err := n.db.WriteTo(&b); err != nil {
		return nil, err
	}
	return func(to *node) {
		if err := os.WriteFile(to.path(), b.Bytes(), 0o600); err != nil {
			w.Fatal(err)
		}
	}, nil
}
