package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	way "github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

// What doctor finds worth a word.
const (
	skewWarning = 20 * time.Second // a third of what brokers refuse
	stuckAfter  = 10 * time.Minute // for a message on an open connection
)

// service compares the installed unit with what would be installed now, and asks its manager.
func (e *examination) service(ctx context.Context, home config.Home) {
	svc, err := daemonService(home)
	if err != nil {
		e.fails("service", "", err)
		return
	}
	current, err := svc.Current()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		e.ok("service", "none installed: verbs start the daemon")
		return
	case errors.Is(err, service.ErrForeign):
		e.warn("service", "if you do not use the original any more, take it out with its own uninstall", "%s; verbs start the daemon", err)
		return
	case err != nil:
		e.fails("service", "check the file", err)
		return
	case svc.Other():
		e.ok("service", "%s is for another directory: verbs start the daemon of this one", svc.Path())
		return
	}
	st, err := svc.Status(ctx)
	switch {
	case err != nil:
		e.fails("service", svc.StatusCommand(), err)
	case st.State == service.Failed || st.State == service.Stopped:
		e.problem("service", svc.LogCommand()+"; claudemesh daemon up", "%s says that it is %s: %s", svc.Manager(), st.State, st.Detail)
	case !current:
		e.warn("service", "claudemesh daemon install-service", "%s starts another executable than %s, or is of another version", svc.Path(), svc.Executable()).
			by(func(ctx context.Context) error {
				_, err := svc.Install(ctx, service.InstallOptions{Force: true})
				return err
			})
	default:
		e.ok("service", "%s: %s", svc.Manager(), st.Detail)
	}
}

// daemon asks the daemon, which is not started for that. The client is nil when none answers.
func (e *examination) daemon(ctx context.Context, home config.Home) (protocol.Health, *client.Client) {
	cl := client.Dial(home)
	h, err := cl.Probe(ctx)
	if err != nil {
		cl.Close()
		if protocol.CodeOf(err) == protocol.CodeUnavailable && managedBy(home) == "" {
			e.ok("daemon", "not running: the next verb starts it")
		} else {
			e.fails("daemon", "claudemesh daemon logs", err)
		}
		return h, nil
	}
	if !h.OK {
		e.problem("daemon", "claudemesh daemon logs", "it cannot do its work: %s", h.Error)
	} else {
		e.ok("daemon", "pid %d, version %s, up %s", h.PID, h.Version, span(time.Duration(h.Uptime*float64(time.Second))))
	}
	if mine := buildID(); mine != "" && h.Build != "" && mine != h.Build {
		e.warn("versions", "claudemesh daemon down, then up", "the running daemon (%s) is of another build than this executable", h.Version).
			by(func(ctx context.Context) error { return e.restartDaemon(ctx, home, h.PID) })
	}
	return h, cl
}

// restartDaemon puts this build in the place of the running one.
func (e *examination) restartDaemon(ctx context.Context, home config.Home, pid int) error {
	if managedBy(home) != "" {
		svc, err := daemonService(home)
		if err != nil {
			return err
		}
		return svc.Restart(ctx)
	}
	if err := stopDaemon(ctx, home, pid); err != nil {
		return err
	}
	cl, err := ensure(ctx, home, client.EnsureOptions{Now: true})
	if err == nil {
		cl.Close()
	}
	return err
}

// brokers judges every mesh by its connection and by a walk to its broker, and the clock by what the brokers say.
func (e *examination) brokers(cfg *config.Config, h protocol.Health, n way.Network) {
	skews := make(map[string]time.Duration) // by host of the broker
	for _, m := range cfg.Meshes {
		p := n.Ways[m.Slug]
		if cfg.LocalBroker != "" && cfg.LocalBroker == protocol.BrokerHost(m.BrokerURL) && e.localBroker("mesh "+m.Slug, cfg.LocalBroker, h) {
			continue
		}
		e.broker("mesh "+m.Slug, m.BrokerURL, h.Meshes[m.Slug], p)
		if p.OK || p.Cause == brokerhttp.CauseClock {
			skews[protocol.BrokerHost(m.BrokerURL)] = p.Skew()
		}
	}
	e.clock(skews)
}

// clock judges this machine's clock by those of the brokers. Where they do not agree with each other, it is not this one that is
// wrong.
func (e *examination) clock(skews map[string]time.Duration) {
	var worst time.Duration
	whose, agree := "", 0
	for _, host := range sortedKeys(skews) {
		if d := skews[host]; d.Abs() > worst.Abs() {
			worst, whose = d, host
		}
		if skews[host].Abs() <= protocol.ClockSkew {
			agree++
		}
	}
	switch {
	case len(skews) == 0:
	case worst.Abs() > protocol.ClockSkew && agree > 0:
		e.problem("clock", "tell the operator of "+whose, "the clock of the broker %s is %s off; this machine's agrees with the other brokers", whose, span(worst.Abs()))
	case worst.Abs() > protocol.ClockSkew:
		e.problem("clock", "set this machine's clock; messages are kept meanwhile, and it connects by itself then", "%s off a broker's; more than a minute is refused", span(worst.Abs()))
	case worst.Abs() > skewWarning:
		e.warn("clock", "set this machine's clock", "%s off a broker's; from a minute on, it is refused", span(worst.Abs()))
	default:
		e.ok("clock", "within %s of the brokers'", span(max(worst.Abs(), time.Second)))
	}
}

// localBroker judges the broker that the daemon itself runs, or is to run. False: nothing is wrong with it, and a daemon runs.
func (e *examination) localBroker(check, addr string, h protocol.Health) bool {
	_, port, _ := net.SplitHostPort(addr) // of our own making
	who := "ss -ltnp 'sport = :" + port + "'"
	if runtime.GOOS != "linux" {
		who = "lsof -nP -iTCP:" + port + " -sTCP:LISTEN"
	}
	switch {
	case h.PID == 0 && !vacant(addr):
		e.problem(check, "end that program: "+who+" names it", "another program listens on %s, where the daemon is to run the broker", addr)
	case h.PID == 0:
		e.ok(check, "its broker runs inside the daemon")
	case h.LocalBroker != nil && h.LocalBroker.Error != "" && !vacant(addr):
		e.problem(check, "end that program: "+who+" names it", "another program listens on %s, so the daemon cannot run the broker: %s", addr, h.LocalBroker.Error)
	case h.LocalBroker != nil && h.LocalBroker.Error != "":
		e.problem(check, "claudemesh daemon logs", "the daemon's broker on %s does not run: %s", addr, h.LocalBroker.Error)
	default:
		return false
	}
	return true
}

// vacant tells whether nobody listens on an address of this machine.
func vacant(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return !errors.Is(err, syscall.EADDRINUSE)
	}
	ln.Close()
	return true
}

// broker judges one mesh by its connection, where there is a daemon, and by the walk.
func (e *examination) broker(check, url string, h protocol.MeshHealth, p way.Report) {
	sentence, next, refused := refusedNow(h, p)
	switch {
	case h.State == protocol.ConnOpen:
		e.ok(check, "connected to %s%s", protocol.BrokerHost(url), away(h.RTTms))
	case h.State != "" && refused:
		e.problem(check, next, "%s: %s", protocol.BrokerHost(url), sentence)
	case !p.OK:
		e.problem(check, p.Next, "%s", p.Sentence)
	case h.State != "":
		e.warn(check, "wait for the next try, or: claudemesh daemon logs", "%s is reachable, and the daemon is still %s: %s", protocol.BrokerHost(url), h.State, h.LastError)
	default:
		e.ok(check, "%s is reachable", protocol.BrokerHost(url))
	}
}

// away says how far a broker is, once that was measured.
func away(ms float64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f ms away", ms)
}

func (e *examination) sessions(ctx context.Context, cl *client.Client) {
	all, err := cl.Sessions(ctx)
	if err != nil {
		e.fails("sessions", "claudemesh daemon logs", err)
		return
	}
	var off []string
	for _, s := range all {
		for _, state := range s.Meshes {
			if state != protocol.ConnOpen {
				off = append(off, s.Label)
				break
			}
		}
	}
	if len(off) > 0 {
		e.warn("sessions", "see the mesh above, or: claudemesh daemon logs", "not connected everywhere: %s", listAnd(off))
		return
	}
	e.ok("sessions", "%d live", len(all))
}

// outbox looks for messages that were given up, and for those that do not leave although the connection is open.
func (e *examination) outbox(ctx context.Context, cl *client.Client, h protocol.Health) {
	rows, err := cl.Outbox(ctx, "")
	if err != nil {
		e.fails("outbox", "claudemesh daemon logs", err)
		return
	}
	dead, stuck, waiting := 0, 0, 0
	for _, r := range rows {
		switch {
		case r.State == protocol.StateDead:
			dead++
		case r.State != protocol.StateAccepted:
		case h.Meshes[r.Mesh].State == protocol.ConnOpen && time.Since(r.CreatedAt) > stuckAfter:
			stuck++
		default:
			waiting++
		}
	}
	if dead > 0 {
		e.warn("outbox", "claudemesh daemon outbox list says why; daemon outbox requeue <id> tries again", "%s given up", plural(dead, "message"))
	}
	if stuck > 0 {
		e.problem("outbox", "claudemesh daemon outbox list; claudemesh daemon logs", "%s older than %s did not leave although the broker is connected", plural(stuck, "message"), span(stuckAfter))
	}
	if dead+stuck == 0 {
		e.ok("outbox", "%s waiting to leave", plural(waiting, "message"))
	}
}

func (e *examination) gaps(ctx context.Context, cl *client.Client) {
	all, err := cl.Gaps(ctx, "")
	if err != nil {
		e.fails("numbers", "claudemesh daemon logs", err)
		return
	}
	now := time.Now()
	for _, g := range all {
		e.warn("numbers", "ask "+g.Name+" to send again", "%s from %s in %s did not arrive, the oldest %s: withheld, expired or given up", plural(int(g.Missing), "message"), g.Name, g.Mesh, ago(g.Since, now))
	}
	if len(all) == 0 {
		e.ok("numbers", "nothing is missing")
	}
}
