package daemon

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	restRetry  = 5 * time.Second // between tries to listen
	restEvents = "GET /api/v1/events"
)

// restTable lists the routes of the REST interface, which are on the socket too.
func (d *Daemon) restTable() map[string]route {
	return map[string]route{
		"GET /api/v1/peers":                d.restPeers,
		"GET /api/v1/members":              d.restMembers,
		"POST /api/v1/messages":            d.handleSend,
		"GET /api/v1/messages":             d.restMessages,
		"GET /api/v1/messages/{id}":        d.restMessage,
		"GET /api/v1/messages/{id}/status": d.handleMessage,
		"POST /api/v1/messages/read":       d.handleRead,
		restEvents:                         d.handleEvents,
	}
}

// handlePortEvents is handleEvents for the port: there are fewer places.
func (d *Daemon) handlePortEvents(w http.ResponseWriter, r *http.Request) error {
	leave, err := d.onPort.enter()
	if err != nil {
		return err
	}
	defer leave()
	return d.handleEvents(w, r)
}

func (d *Daemon) restPeers(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	out := protocol.PlainPeers{Peers: []protocol.PlainPeer{}}
	for _, m := range meshes {
		for _, p := range m.Peers() {
			out.Peers = append(out.Peers, protocol.PlainPeer{PeerInfo: p, DisplayName: p.Name, Via: "ws"})
		}
	}
	return reply(w, out)
}

func (d *Daemon) restMembers(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	out := protocol.PlainMembers{Members: []protocol.PlainMember{}}
	for _, m := range meshes {
		for _, p := range m.Members() {
			out.Members = append(out.Members, protocol.PlainMember{MemberInfo: p, DisplayName: p.Name, IsHuman: true})
		}
	}
	return reply(w, out)
}

func (d *Daemon) restMessages(w http.ResponseWriter, r *http.Request) error {
	page, err := d.listInbox(r)
	if err != nil {
		return err
	}
	return reply(w, page)
}

func (d *Daemon) restMessage(w http.ResponseWriter, r *http.Request) error {
	msg, err := d.mail.Find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, msg)
}

// restServer is the REST interface on loopback that config.json asked for.
type restServer struct {
	listen string
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (s *restServer) close() {
	s.cancel()
	s.done.Wait()
}

// reloadREST makes the running REST listener the one that is asked for; an empty address means none.
func (d *Daemon) reloadREST(listen string) {
	d.mu.Lock()
	old := d.rest
	if old != nil && old.listen == listen || old == nil && listen == "" {
		d.mu.Unlock()
		return
	}
	d.rest = nil
	d.mu.Unlock()
	if old != nil {
		old.close()
		d.log.Info("REST stopped", "listen", old.listen)
	}
	if listen == "" {
		return
	}
	ctx, cancel := context.WithCancel(d.life)
	s := &restServer{listen: listen, cancel: cancel}
	s.done.Go(func() { d.runREST(ctx, listen) })
	d.mu.Lock()
	d.rest = s
	d.mu.Unlock()
}

// runREST serves, and tries again while it cannot, until ctx ends.
func (d *Daemon) runREST(ctx context.Context, listen string) {
	for {
		err := d.serveREST(ctx, listen)
		if ctx.Err() != nil {
			return
		}
		d.log.Error("REST does not run", "listen", listen, "reason", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(restRetry):
		}
	}
}

func (d *Daemon) serveREST(ctx context.Context, listen string) error {
	if err := config.CheckLoopback(listen); err != nil {
		return err
	}
	token, err := d.home.RESTToken()
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	d.log.Info("REST starts", "listen", ln.Addr().String())
	server := &http.Server{
		Handler:           d.restRoutes(ln.Addr().String(), token),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if server.Shutdown(stop) != nil {
		server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// restRoutes guards the routes on a port, where every program of every user, and every page in a browser, can knock.
func (d *Daemon) restRoutes(addr, token string) http.Handler {
	mux := http.NewServeMux()
	handler := func(handle route) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := handle(w, r); err != nil {
				d.refuse(w, r, err)
			}
		})
	}
	table := d.restTable()
	table[restEvents] = d.handlePortEvents
	for pattern, handle := range table {
		mux.Handle(pattern, handler(handle))
	}
	mux.Handle("/", handler(func(_ http.ResponseWriter, r *http.Request) error {
		return protocol.Refuse(protocol.CodeNotFound, "no route %s %s", r.Method, r.URL.Path)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		boundBody(r)
		err := checkPage(r, addr)
		if err == nil {
			err = checkToken(r, token)
		}
		if err != nil {
			d.refuse(w, r, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// checkPage refuses what a page in a browser sends: it names its origin, or, where a name was bent to this machine, that name.
func checkPage(r *http.Request, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil && r.Header.Get("Origin") == "" && (r.Host == addr || r.Host == net.JoinHostPort("localhost", port)) {
		return nil
	}
	return protocol.Refuse(protocol.CodeForbidden, "this port does not serve web pages")
}

// checkToken compares in constant time, also of the lengths.
func checkToken(r *http.Request, token string) error {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	got, want := crypto.Hash([]byte(bearer)), crypto.Hash([]byte(token))
	if ok && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
		return nil
	}
	return protocol.Refuse(protocol.CodeUnauthorized, "no or a wrong token: Authorization: Bearer …").WithHint("claudemesh daemon rest token")
}
