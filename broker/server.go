package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/broker/blobs"
	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// How long a refused client is told to wait.
const (
	drainRetry    = 2 * time.Second // a restart takes less
	storeRetry    = 2 * time.Second
	capacityRetry = time.Minute
)

// requestTimeout is for the body of a request, and again for its answer. Connections leave it behind when they are upgraded.
const requestTimeout = 30 * time.Second

// drainStep is the longest pause between two ends of a drain: a few clients need no spreading.
const drainStep = 10 * time.Millisecond

// Server is one broker. New makes it, Serve runs it, Close ends it.
type Server struct {
	// fixed at construction
	cfg         Config
	limits      Limits
	log         *slog.Logger
	now         func() time.Time
	clock       *wallclock.Clock // of the sweeper: looked at once a minute
	db          *store.DB
	queue       *queue.Disk
	metrics     *metrics
	handler     http.Handler
	http        *http.Server
	adminToken  string
	started     time.Time
	visits      *visits // of unauthenticated HTTP requests
	refusedKeys *visits // requests with a wrong API key
	ready       readiness
	closed      closedLog

	draining    atomic.Bool
	storeLogged atomic.Int64   // Unix s of the last line about the disk
	running     sync.WaitGroup // connections and the sweeper
	stop        context.CancelFunc
	stopping    <-chan struct{} // closed by stop
	streams     streams
	blobs       *blobs.Store
	transfers   transfers
	parking     parking
	closeOnce   sync.Once
	closeErr    error

	mu         sync.Mutex
	meshes     map[protocol.MeshID]*mesh
	conns      map[*conn]struct{}
	bearers    map[[32]byte]*apiKey // by the hash of the bearer
	perAddress map[string]int       // WebSocket connections
	sockets    map[string]int       // by address, that have not become one
	closing    bool
}

// New opens the data directory and brings the broker to where it was. Errors: store.ErrLocked when another broker holds the
// directory, store.ErrNewer, or what the disk says.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	s := &Server{
		cfg: cfg, limits: cfg.Limits, log: cfg.Logger, now: cfg.Now, metrics: newMetrics(), started: time.Now(), clock: wallclock.New(cfg.Now),
		visits: newVisits(cfg.Limits.HTTPPerAddress), refusedKeys: newVisits(refusedKeysPerMinute),
		meshes: make(map[protocol.MeshID]*mesh), conns: make(map[*conn]struct{}), bearers: make(map[[32]byte]*apiKey),
		perAddress: make(map[string]int), sockets: make(map[string]int),
		parking: parking{read: (*conn).readLoop},
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	var err error
	if s.db, err = store.Open(filepath.Join(cfg.Dir, "broker.db"), store.Options{Buckets: buckets}); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// open loads everything behind the data base and starts the sweeper.
func (s *Server) open() error {
	var err error
	if s.adminToken, err = loadAdminToken(filepath.Join(s.cfg.Dir, adminTokenFile)); err != nil {
		return err
	}
	if err := s.loadMeshes(); err != nil {
		return err
	}
	s.queue, err = queue.Open(s.db, filepath.Join(s.cfg.Dir, "journal"), queue.Options{FS: s.cfg.disk, Now: s.cfg.Now, Logger: s.log})
	if err != nil {
		return err
	}
	if err := s.recollect(); err != nil {
		return errors.Join(fmt.Errorf("read what waits: %w", err), s.queue.Close())
	}
	if err := s.openBlobs(); err != nil {
		return errors.Join(err, s.queue.Close())
	}
	s.watchQueue()
	s.handler = s.routes()
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.limits.HelloTimeout, // who has not finished his headers has not said hello either
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout + s.limits.JoinWait,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    int(s.limits.PreHello),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnState:         s.countSocket,
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.stopping = ctx.Done()
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.sweep(ctx)
	}()
	return nil
}

// Handler serves HTTP and WebSocket for a server of the caller's. Serve uses it too.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve accepts connections from l until Close, then returns nil. It may be called for several listeners; TLS is the
// listener's matter.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// AdminToken is the secret that lets its bearer create meshes. It lies in the data directory for the owner of the process.
func (s *Server) AdminToken() string { return s.adminToken }

// Close drains: new sends and connections are refused as draining, connections end spread over Limits.Drain, then queue and
// data base are closed. When ctx ends earlier, the rest is cut. What was acknowledged is on disk either way. Later calls wait
// for the first and return its error.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() { s.closeErr = s.close(ctx) })
	return s.closeErr
}

func (s *Server) close(ctx context.Context) error {
	s.draining.Store(true)
	s.mu.Lock()
	s.closing = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	s.stop()

	httpDone := make(chan struct{})
	go func() {
		defer close(httpDone)
		if s.http.Shutdown(ctx) != nil {
			s.http.Close()
		}
	}()
	s.endAll(ctx, conns)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.running.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		for _, c := range conns {
			c.net.Close()
		}
		<-ended
	}
	<-httpDone
	s.parking.close()
	s.stopLeases()
	for _, m := range s.allMeshes() {
		m.noteLeftOut(true)
	}
	return errors.Join(s.queue.Close(), s.db.Close())
}

// endAll ends the connections one after the other over Limits.Drain, so that their clients do not return all at once.
func (s *Server) endAll(ctx context.Context, conns []*conn) {
	if len(conns) == 0 {
		return
	}
	tick := time.NewTicker(max(min(s.limits.Drain/time.Duration(len(conns)), drainStep), time.Microsecond))
	defer tick.Stop()
	for _, c := range conns {
		c.end(ending{code: websocket.CloseGoingAway, text: "shutting down", reason: endDraining})
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// stopLeases stops the timers of those who are away: a broker that ends takes nobody's presence.
func (s *Server) stopLeases() {
	for _, m := range s.allMeshes() {
		m.mu.Lock()
		for _, p := range m.presences {
			if p.until != nil {
				p.until.Stop()
			}
		}
		m.mu.Unlock()
	}
}

// mesh returns the mesh of that id, or nil.
func (s *Server) mesh(id protocol.MeshID) *mesh {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meshes[id]
}

func (s *Server) allMeshes() []*mesh {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*mesh, 0, len(s.meshes))
	for _, m := range s.meshes {
		all = append(all, m)
	}
	return all
}
