package cli

import (
	"context"
	"errors"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// stopTimeout is how long `daemon down` waits for the daemon to be gone.
const stopTimeout = 10 * time.Second

func daemonVerb() *verb {
	return &verb{
		name: "daemon", heading: headRun, usage: "run this machine's daemon in the foreground, or manage it",
		about:    "Verbs start the daemon by themselves; it holds your keys, outbox and inbox, and stays connected.",
		examples: []string{"claudemesh daemon", "claudemesh daemon up", "claudemesh daemon status --json", "claudemesh daemon logs --follow"},
		run:      runDaemon,
		subs: append([]*verb{
			{name: "up", usage: "start it in the background; returns when it answers", flags: []urfave.Flag{jsonFlag()}, run: runDaemonUp},
			{name: "down", usage: "stop it; returns when it is gone", flags: []urfave.Flag{jsonFlag()}, run: runDaemonDown},
			{name: "status", usage: "what it is and how it is connected", flags: []urfave.Flag{jsonFlag()}, run: runDaemonStatus},
			logsVerb(),
			outboxVerb(),
			acceptHostVerb(),
			restVerb(),
		}, daemonServiceVerbs()...),
	}
}

// daemonStatus is what `daemon status --json` prints.
type daemonStatus struct {
	Running   bool             `json:"running"`
	Socket    string           `json:"socket,omitempty"` // where it answers
	PID       int              `json:"pid"`
	Version   string           `json:"version"`
	ManagedBy string           `json:"managed_by"` // systemd, launchd, or empty
	Health    *protocol.Health `json:"health"`
}

// probe asks the daemon how it is and never starts one.
func probe(ctx context.Context, home config.Home) (daemonStatus, error) {
	cl := client.Dial(home)
	defer cl.Close()
	h, err := cl.Probe(ctx)
	if err != nil {
		return daemonStatus{ManagedBy: managedBy(home)}, err
	}
	return daemonStatus{Running: true, Socket: socketOf(home), PID: h.PID, Version: h.Version, ManagedBy: managedBy(home), Health: &h}, nil
}

// socketOf is where the home's daemon is found, for programs that are not ours.
func socketOf(home config.Home) string {
	path, err := localsocket.Find(home.SocketFile())
	if err != nil {
		return ""
	}
	return path
}

func runDaemonUp(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	before, _ := probe(ctx, home) // where none answers, there was none
	by := managedBy(home)
	if by != "" && !before.Running {
		if err := startService(ctx, home); err != nil {
			return err
		}
	}
	started := 0
	cl, err := ensure(ctx, home, client.EnsureOptions{Now: true, Started: func(pid int) { started = pid }})
	if err != nil {
		return err
	}
	h := cl.Found()
	if c.json {
		c.printJSON(daemonStatus{Running: true, Socket: socketOf(home), PID: h.PID, Version: h.Version, ManagedBy: by, Health: &h})
		return nil
	}
	word := "already running"
	if started == h.PID || by != "" && before.PID != h.PID {
		word = "running"
	}
	if by != "" {
		word += " under " + by
	}
	c.say("daemon %s (pid %d)", word, h.PID)
	c.say("    log   %s", home.LogFile())
	c.say("    stop  claudemesh daemon down")
	return nil
}

func runDaemonDown(ctx context.Context, c *call) error {
	home, err := config.FindHome()
	if err != nil {
		return err
	}
	by := managedBy(home)
	if by != "" {
		if err := c.serviceDown(ctx, home); err != nil {
			return err
		}
	}
	st, err := probe(ctx, home)
	switch {
	case protocol.CodeOf(err) == protocol.CodeUnavailable && by != "": // said already
	case protocol.CodeOf(err) == protocol.CodeUnavailable:
		if pid, held := daemon.Holder(home); held {
			return protocol.Refuse(protocol.CodeUnavailable, "process %d has the daemon's store open and does not answer", pid).
				WithHint("kill %d ends it; nothing that was accepted is lost", pid)
		}
		c.note("no daemon was running")
	case err != nil:
		return err
	default:
		if err := stopDaemon(ctx, home, st.PID); err != nil {
			return err
		}
		c.note("daemon stopped (pid %d)", st.PID)
	}
	if c.json {
		c.printJSON(daemonStatus{ManagedBy: by})
	}
	return nil
}

// stopDaemon asks the daemon to stop and returns when its process is gone, so that another one may start at once.
func stopDaemon(ctx context.Context, home config.Home, pid int) error {
	process, err := registry.Identify(pid)
	if err != nil {
		return nil // gone already
	}
	cl := client.Dial(home)
	defer cl.Close()
	if err := cl.Shutdown(ctx); err != nil && protocol.CodeOf(err) != protocol.CodeUnavailable {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for !ended(process) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return protocol.Refuse(protocol.CodeTimeout, "the daemon (pid %d) is not gone after %s", pid, span(stopTimeout)).
				WithHint("claudemesh daemon logs tells what it does")
		}
	}
	return nil
}

// ended counts a process that its parent has not reaped yet as ended: all that it held is free.
func ended(p registry.Process) bool {
	_, err := registry.Identify(p.PID)
	return err != nil || registry.Check(p) == registry.Dead
}

func runDaemonStatus(ctx context.Context, c *call) error {
	home, err := config.FindHome()
	if err != nil {
		return err
	}
	st, err := probe(ctx, home)
	if c.json {
		c.printJSON(st)
	} else if st.Running {
		c.printDaemon(st)
	} else if e, ok := errors.AsType[*protocol.Error](err); ok && st.ManagedBy != "" {
		explainService(ctx, home, e)
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok && c.json {
		return saidError{e}
	}
	return err
}

// printDaemon says what the daemon is and what each mesh's connection is.
func (c *call) printDaemon(st daemonStatus) {
	under := ""
	if st.ManagedBy != "" {
		under = " under " + st.ManagedBy
	}
	c.say("daemon %s%s, pid %d, up %s", st.Version, under, st.PID, span(time.Duration(st.Health.Uptime*float64(time.Second))))
	for _, slug := range sortedKeys(st.Health.Meshes) {
		m := st.Health.Meshes[slug]
		c.say("    %s: %s", slug, c.connection(m))
	}
}

// connection says a mesh's connection in words.
func (c *call) connection(m protocol.MeshHealth) string {
	since := time.Since(m.Since).Truncate(time.Second)
	words := m.State + " for " + span(since)
	if since < time.Second {
		words = m.State + " just now"
	}
	if m.State == protocol.ConnOpen {
		words = c.paint(green, words)
	} else {
		words = c.paint(yellow, words)
	}
	if m.LastError != "" {
		words += ": " + clean(m.LastError)
	}
	if m.Queued > 0 {
		words += ", " + plural(m.Queued, "message") + " waiting to leave"
	}
	return words
}
