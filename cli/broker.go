package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
	"github.com/claudemesh/claudemesh/store"
)

const (
	defaultListen = "127.0.0.1:7900"
	drainTimeout  = 15 * time.Second
)

func brokerVerb() *verb {
	return &verb{
		name: "broker", heading: headRun, usage: "run the relay: it stores and forwards what it cannot read",
		flags: brokerFlags(),
		about: `SIGTERM and Ctrl-C drain: clients are told to come back, and nothing acknowledged is lost. Each flag may also be set in the
environment, as CLAUDEMESH_BROKER_ and its name in capitals, or in the file of --config; the flag itself counts most.`,
		examples: []string{
			"claudemesh broker",
			"claudemesh broker --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem --data /var/lib/claudemesh",
		},
		run:  runBroker,
		subs: append(brokerAdminVerbs(), brokerServiceVerbs()...),
	}
}

func runBroker(ctx context.Context, c *call) error {
	set, err := c.settings()
	if err != nil {
		return err
	}
	cfg, err := set.config()
	if err != nil {
		return err
	}
	if set.str(dataSetting) == "" { // the home is made, and closed to others
		if _, err := config.DefaultHome(); err != nil {
			return err
		}
	}
	security, plain, err := set.tls(cfg.Dir)
	if err != nil {
		return err
	}
	keepSmall()
	cfg.Logger, cfg.Version = newLogger(c.stderr), thisBuild().Version
	srv, err := openBroker(cfg)
	if err != nil {
		return err
	}
	// Once New succeeded the store is open: whatever happens, Close.
	ln, err := net.Listen("tcp", set.str("listen"))
	if err != nil {
		return closeBroker(srv, fmt.Errorf("listen: %w", err))
	}
	if security != nil {
		ln = tls.NewListener(ln, security)
	}
	metrics, stopMetrics, err := serveMetrics(srv, set.str("metrics"))
	if err != nil {
		return closeBroker(srv, err)
	}
	defer stopMetrics()
	defer serveAdmin(srv, cfg.Dir, cfg.Logger)()
	defer servePlain(plain, c.note)()
	c.announceBroker(ln.Addr(), security != nil, cfg.Dir, cfg.PublicURL)
	if metrics != "" {
		c.say("    metrics      http://%s/metrics", metrics)
	}
	c.tellManager(service.Ready, "STATUS=listens on "+ln.Addr().String())
	defer watchBroker(srv)()
	return serveBroker(ctx, srv, ln, func() { c.tellManager(service.Stopping, "STATUS=drains") })
}

// watchBroker has systemd's watchdog restart a broker whose disk does not answer, or refused a sync: then only a fresh start
// writes again. A full disk is for its owner; a restart would only scatter the connections.
func watchBroker(srv *broker.Server) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		service.Watch(ctx, func(ctx context.Context) bool {
			err := srv.Ready(ctx)
			return err == nil || errors.Is(err, store.ErrFull)
		})
	}()
	return func() {
		cancel()
		<-done
	}
}

// openBroker opens a broker; what is wrong with its directory gets a code.
func openBroker(cfg broker.Config) (*broker.Server, error) {
	if err := config.CheckDataOwner(cfg.Dir); err != nil {
		return nil, err
	}
	srv, err := broker.New(cfg)
	switch {
	case errors.Is(err, store.ErrLocked):
		return nil, protocol.Refuse(protocol.CodeExists, "another broker runs on %s", cfg.Dir).WithHint("stop that one, or give this one a --data of its own")
	case errors.Is(err, store.ErrNoLocks):
		return nil, protocol.Refuse(protocol.CodeNotSupported, "the file system of %s has no file locks, without which two brokers would write one store", cfg.Dir).
			WithHint("give the broker a --data on a local disk, or mount an NFS with local_lock=flock")
	case errors.Is(err, store.ErrNewer):
		return nil, protocol.Refuse(protocol.CodeNotSupported, "%s", err).WithHint("install the newer claudemesh again; this one leaves the files alone")
	case errors.Is(err, store.ErrFull):
		return nil, protocol.Refuse(protocol.CodeStoreFull, "%s", err)
	}
	return srv, err
}

// serveBroker serves until ctx ends, then says so and drains.
func serveBroker(ctx context.Context, srv *broker.Server, ln net.Listener, drains func()) error {
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }() // ends with Close
	select {
	case err := <-done:
		return closeBroker(srv, err)
	case <-ctx.Done():
		drains()
		return closeBroker(srv, nil)
	}
}

// closeBroker drains and closes, and returns the first thing that went wrong.
func closeBroker(srv *broker.Server, err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return cmp.Or(err, srv.Close(ctx))
}

// brokerDir is where the broker keeps everything. Nothing is made there yet.
func (c *call) brokerDir() (string, error) {
	if dir := c.str("data"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := config.DefaultDir()
	if err != nil {
		return "", err
	}
	return config.BrokerDir(dir), nil
}

// tlsFromFiles loads the certificate, and again when its file changes: certificates are renewed while the broker runs.
func tlsFromFiles(cert, key string) (*tls.Config, error) {
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, protocol.Refuse(protocol.CodeInvalid, "--tls-cert and --tls-key belong together")
	}
	pair := &certFile{cert: cert, key: key}
	if _, err := pair.get(nil); err != nil {
		return nil, fmt.Errorf("load the TLS certificate: %w", err)
	}
	return &tls.Config{GetCertificate: pair.get, MinVersion: tls.VersionTLS12}, nil
}

// announceBroker says where the broker listens and what to do next.
func (c *call) announceBroker(addr net.Addr, secure bool, dir, public string) {
	scheme, ws := "", "ws://"
	if secure {
		scheme, ws = "https://", "wss://"
	}
	dial := scheme + reachable(addr)
	if public != "" {
		dial = public
	}
	c.say("broker listening on %s%s/ws", ws, addr)
	c.say("    data         %s", dir)
	token := filepath.Join(dir, "admin-token")
	c.say("    admin token  %s", token)
	c.say("    next         claudemesh create <slug> --broker %s --token-file %s", dial, token)
	if host, _, err := net.SplitHostPort(addr.String()); err == nil && !secure && !net.ParseIP(host).IsLoopback() {
		c.note("note: no TLS here; clients elsewhere need it: --tls-cert and --tls-key, or a proxy and --public-url")
	}
}

// reachable is how this machine dials an address on which it listens: every address is no address to dial.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// serveMetrics serves metrics on a listener of their own and returns its address; stop ends that.
func serveMetrics(srv *broker.Server, addr string) (at string, stop func(), err error) {
	if addr == "" {
		return "", func() {}, nil
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", srv.MetricsHandler())
	hs := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(ln) // ends with Close
	}()
	return ln.Addr().String(), func() {
		_ = hs.Close()
		<-done
	}, nil
}

// newLogger writes text logs; CLAUDEMESH_DEBUG adds what is said per message.
func newLogger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if os.Getenv("CLAUDEMESH_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
