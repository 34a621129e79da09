package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/localsocket"
)

const (
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 3 * time.Second // for requests under way when the daemon stops
)

// serve answers the socket until the daemon's life ends.
func (d *Daemon) serve(ln *localsocket.Listener) error {
	server := &http.Server{
		Handler:           d.api.Routes(),
		BaseContext:       func(net.Listener) context.Context { return d.Life }, // ends streams and waits when the daemon stops
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(d.Log.Handler(), slog.LevelWarn),
		ConnContext:       d.give.Leases.Opened,
		ConnState:         d.give.Leases.Changed,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	if d.cfg.Ready != nil {
		d.cfg.Ready()
	}
	if d.cfg.started != nil {
		d.cfg.started(d)
	}
	var err error
	select {
	case err = <-served:
	case <-d.Life.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(d.Life), stopTimeout)
		defer cancel()
		if server.Shutdown(stop) != nil {
			server.Close()
		}
		<-served
	}
	return errors.Join(err, ln.Remove())
}
