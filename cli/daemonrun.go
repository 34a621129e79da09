package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/service"
)

// runDaemon is the daemon itself: what service managers start, and what verbs start in the background.
func runDaemon(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	exe, err := service.Executable()
	if err != nil {
		return err
	}
	if isTerminal(c.stderr) {
		c.note("daemon on %s, log in %s", home.Dir(), home.LogFile())
	}
	err = c.serveDaemon(ctx, home, exe)
	if errors.Is(err, errUpgraded) {
		return become(exe)
	}
	return err
}

// serveDaemon runs the daemon until ctx ends, it is shut down, or its executable was replaced and nobody needs it: errUpgraded.
func (c *call) serveDaemon(ctx context.Context, home config.Home, exe string) error {
	life, end := context.WithCancelCause(ctx)
	cl := client.Dial(home)
	var helpers sync.WaitGroup
	defer func() {
		end(nil)
		helpers.Wait()
		cl.Close()
	}()
	helpers.Go(func() {
		if err := watchUpgrade(life, cl, exe); err != nil {
			end(err)
		}
	})
	helpers.Go(func() {
		service.Watch(life, func(ctx context.Context) bool {
			_, err := cl.Probe(ctx)
			return err == nil
		})
	})
	helpers.Go(func() {
		if <-life.Done(); ctx.Err() != nil { // and not to become the executable that replaced ours
			c.tellManager(service.Stopping)
		}
	})
	b := thisBuild()
	err := daemon.Run(life, daemon.Config{Home: home, Version: b.Version, Build: buildID(), LocalBroker: localBroker(b.Version), Recordings: recordings(), Composer: composer{},
		Ready: func() { c.tellManager(service.Ready, "STATUS=answers on "+home.SocketFile()) }})
	if cause := context.Cause(life); err == nil && errors.Is(cause, errUpgraded) {
		return cause
	}
	return err
}

// tellManager tells systemd about this process, where it started it.
func (c *call) tellManager(states ...string) {
	if err := service.Notify(states...); err != nil {
		c.note("claudemesh: tell systemd: %s", err)
	}
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
		return serveBroker(ctx, srv, ln, func() {})
	}
}
