package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
)

const restRetry = 5 * time.Second // between tries to listen

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
		d.Log.Info("REST stopped", "listen", old.listen)
	}
	if listen == "" {
		return
	}
	ctx, cancel := context.WithCancel(d.Life)
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
		d.Log.Error("REST failed", "listen", listen, "err", err)
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
	token, err := d.Home.RESTToken()
	if err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	d.Log.Info("REST started", "listen", ln.Addr().String())
	server := &http.Server{
		Handler:           d.api.RESTRoutes(ln.Addr().String(), token),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn),
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
