package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

// lockPatience is how long an installation waits for verbs that are starting a daemon at this moment.
const lockPatience = 10 * time.Second

func daemonServiceVerbs() []*verb {
	return []*verb{
		{
			name: "install-service", usage: "have systemd or launchd run it: now, at every login, and after a crash",
			flags: []urfave.Flag{
				&urfave.BoolFlag{Name: "linger", Usage: "keep it running when you are logged out, too (systemd)"},
				&urfave.BoolFlag{Name: "require-broker", Usage: "fail when a mesh is not connected within 15 s"},
				&urfave.BoolFlag{Name: "force", Usage: "also in a CI environment or a container"},
				jsonFlag(),
			},
			about: `The service is told the proxies and certificate authorities of this shell: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY,
SSL_CERT_FILE and SSL_CERT_DIR. Then the daemon tries its brokers, and you hear what is in the way. Repeat it after an
upgrade or a move of the binary, whose place the unit names, and when one of these variables changes.`,
			examples: []string{"claudemesh daemon install-service", "claudemesh daemon install-service --linger"},
			run:      runInstallService,
		},
		{
			name: "uninstall-service", usage: "take that back: the unit is stopped and nothing of it is left",
			flags: []urfave.Flag{jsonFlag()}, examples: []string{"claudemesh daemon uninstall-service"},
			run: func(ctx context.Context, c *call) error {
				home, err := config.DefaultHome()
				if err != nil {
					return err
				}
				svc, err := daemonService(home)
				if err != nil {
					return err
				}
				return c.uninstallService(ctx, svc)
			},
		},
	}
}

// serviceInstalled is what `install-service --json` prints.
type serviceInstalled struct {
	OK         bool        `json:"ok"`
	Manager    string      `json:"manager"`
	Path       string      `json:"path"`
	Executable string      `json:"executable"`
	Replaced   bool        `json:"replaced"`
	Lingers    bool        `json:"lingers"`
	State      string      `json:"state"`
	PID        int         `json:"pid"`
	Warnings   []string    `json:"warnings"`
	Meshes     []meshReach `json:"meshes"`

	Environment []brokerhttp.Variable `json:"environment"` // of the service, without passwords
}

func runInstallService(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	svc, err := daemonService(home)
	if err != nil {
		return err
	}
	if svc.Other() {
		return protocol.Refuse(protocol.CodeExists, "%s runs the daemon of another directory than %s", svc.Path(), home.Dir()).
			WithHint("there is one service for each user: claudemesh daemon uninstall-service first")
	}
	before, err := svc.Environment()
	if err != nil && !errors.Is(err, service.ErrNotInstalled) {
		return refusedService(err)
	}
	done, err := c.placeDaemonService(ctx, home, svc)
	if err != nil {
		return err
	}
	env, err := svc.Environment()
	if err != nil {
		return err
	}
	cl, err := ensure(ctx, home, client.EnsureOptions{})
	if err != nil {
		return err
	}
	out, err := describeInstalled(ctx, svc, done)
	if err != nil {
		return err
	}
	out.Environment = list(brokerhttp.Environment(env).Shown())
	if !c.json {
		c.printInstalled(svc, out)
		c.sayRecorded(before, env)
		c.offerLinger(svc, out.Lingers)
	}
	out.Meshes, err = c.reachBrokers(ctx, cl)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(out)
	}
	return c.requireBrokers(out.Meshes)
}

// placeDaemonService installs and starts the service. A daemon that runs without one makes room first, and no verb starts
// another one meanwhile.
func (c *call) placeDaemonService(ctx context.Context, home config.Home, svc *service.Service) (service.Installed, error) {
	if r := svc.Obstacle(ctx, c.yes("force")); r != nil {
		return service.Installed{}, refusedService(r)
	}
	env, err := environmentToRecord()
	if err != nil {
		return service.Installed{}, err
	}
	lock, err := lockSpawn(ctx, home)
	if err != nil {
		return service.Installed{}, err
	}
	defer lock.Unlock()
	managed, err := svc.Status(ctx)
	if err != nil {
		return service.Installed{}, err
	}
	stopped := false
	if st, err := probe(ctx, home); err == nil && st.PID != managed.PID {
		if err := stopDaemon(ctx, home, st.PID); err != nil {
			return service.Installed{}, err
		}
		stopped = true
		c.note("the daemon that ran (pid %d) made room for the service", st.PID)
	}
	done, err := svc.Install(ctx, service.InstallOptions{Force: c.yes("force"), Linger: c.yes("linger"), Environment: env})
	if err != nil && stopped {
		c.daemonBack(ctx, home, lock)
	}
	return done, notStarted(svc, err)
}

// daemonBack starts the daemon again that made room for a service which is not there now.
func (c *call) daemonBack(ctx context.Context, home config.Home, lock *config.Lock) {
	lock.Unlock() // ensure takes it
	cl, err := ensure(context.WithoutCancel(ctx), home, client.EnsureOptions{Now: true})
	if err != nil {
		c.note("the daemon that made room does not run again: %s", err)
		return
	}
	cl.Close()
	c.note("the daemon runs again, without a service")
}

// notStarted explains a service that did not start and was taken back.
func notStarted(svc *service.Service, err error) error {
	start, ok := errors.AsType[*service.StartError](err)
	if !ok {
		return refusedService(err)
	}
	e := protocol.Refuse(protocol.CodeServiceNotReady, "service-not-ready: the service did not start, and everything is as before: %s", start.Err).
		WithHint("%s says more", svc.LogCommand())
	if start.Back != nil {
		e.Message = fmt.Sprintf("service-not-ready: the service did not start: %s; taking it back: %s", start.Err, start.Back)
	}
	return e
}

// lockSpawn takes the lock under which verbs start daemons.
func lockSpawn(ctx context.Context, home config.Home) (*config.Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		lock, err := home.TryLock("spawn")
		if err == nil || !errors.Is(err, config.ErrLocked) {
			return lock, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, protocol.Refuse(protocol.CodeTimeout, "another command is starting the daemon, and takes too long").WithHint("claudemesh daemon down, then try again")
		}
	}
}

func describeInstalled(ctx context.Context, svc *service.Service, done service.Installed) (serviceInstalled, error) {
	out := serviceInstalled{OK: true, Manager: svc.Manager(), Path: svc.Path(), Executable: svc.Executable(), Replaced: done.Replaced,
		Lingers: done.Lingers, Warnings: list(done.Warnings), Meshes: []meshReach{}, Environment: []brokerhttp.Variable{}}
	st, err := svc.Status(ctx)
	out.State, out.PID = string(st.State), st.PID
	return out, err
}

func (c *call) printInstalled(svc *service.Service, out serviceInstalled) {
	word := "installed"
	if out.Replaced {
		word = "replaced"
	}
	c.say("service %s: %s runs the %s (pid %d), and again %s", word, out.Manager, svc.Verb(), out.PID, svc.Returns())
	c.say("    file    %s", out.Path)
	c.say("    binary  %s", out.Executable)
	c.say("    status  %s", svc.StatusCommand())
	for _, w := range out.Warnings {
		c.note("warning: %s", w)
	}
}

// offerLinger tells what lingering is good for, where it is off and can be turned on.
func (c *call) offerLinger(svc *service.Service, lingers bool) {
	if svc.Manager() == "systemd" && !lingers {
		c.note("note: %s", service.LingerReason)
		c.note("    claudemesh daemon install-service --linger keeps it running")
	}
}

func (c *call) uninstallService(ctx context.Context, svc *service.Service) error {
	path := svc.Path()
	kept, err := svc.Uninstall(ctx)
	if kept != "" {
		c.note("the file was changed by hand; a copy is at %s", kept)
	}
	if errors.Is(err, service.ErrNotInstalled) {
		return c.done("no service was installed")
	}
	if err != nil {
		return refusedService(err)
	}
	return c.done("service stopped and removed (%s)", path)
}

// startService has the manager start the daemon's service, and returns when it runs.
func startService(ctx context.Context, home config.Home) error {
	svc, err := daemonService(home)
	if err != nil {
		return err
	}
	if err := svc.Start(ctx); err != nil {
		return protocol.Refuse(protocol.CodeServiceNotReady, "service-not-ready: %s", err).WithHint("%s says more", svc.StatusCommand())
	}
	return nil
}

// serviceDown stops the daemon's service and says when it will be back.
func (c *call) serviceDown(ctx context.Context, home config.Home) error {
	svc, err := daemonService(home)
	if err != nil {
		return err
	}
	st, err := svc.Status(ctx)
	if err != nil {
		return err
	}
	if err := svc.Stop(ctx); err != nil {
		return err
	}
	word := "was not running"
	if st.PID != 0 {
		word = "stopped"
	}
	c.note("daemon %s; %s starts it again %s, claudemesh daemon up at once", word, svc.Manager(), svc.Returns())
	return nil
}
