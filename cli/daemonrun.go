package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/config"
)

// runDaemon is the daemon itself: what service managers start, and what verbs start in the background.
func runDaemon(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	b := thisBuild()
	c.note("daemon on %s, log in %s", home.Dir(), home.LogFile())
	return daemon.Run(ctx, daemon.Config{Home: home, Version: b.Version, Build: buildID(), LocalBroker: localBroker(b.Version)})
}

// localBroker runs a broker inside the daemon, for meshes made with --local.
func localBroker(version string) func(ctx context.Context, listen, dir string) error {
	return func(ctx context.Context, listen, dir string) error {
		srv, err := openBroker(broker.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler), Version: version})
		if err != nil {
			return err
		}
		ln, err := net.Listen("tcp", listen)
		if err != nil {
			return closeBroker(srv, fmt.Errorf("listen: %w", err))
		}
		return serveBroker(ctx, srv, ln)
	}
}
