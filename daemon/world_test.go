package daemon

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

func newHome(t *testing.T) config.Home { t.Helper(); return daemontest.NewHome(t) }

func wantNothing(t *testing.T, home config.Home) { t.Helper(); daemontest.WantNothing(t, home) }

func wantCode(t *testing.T, what string, err error, want protocol.Code) *protocol.Error {
	t.Helper()
	return daemontest.WantCode(t, what, err, want)
}

// testBroker is a real broker on loopback.
type testBroker struct {
	*broker.Server
	addr string // host:port
}

func newBroker(t *testing.T) *testBroker {
	t.Helper()
	server, err := broker.New(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Close(ctx)
		<-served
	})
	return &testBroker{Server: server, addr: ln.Addr().String()}
}

// testDaemon is a daemon that runs.
type testDaemon struct {
	t    *testing.T
	home config.Home
	*Daemon
	*client.Client
	cancel context.CancelFunc
	ended  chan error
}

// startDaemon returns when its socket answers.
func startDaemon(t *testing.T, home config.Home, more ...func(*Config)) *testDaemon {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &testDaemon{t: t, home: home, Client: client.Dial(home), cancel: cancel, ended: make(chan error, 1)}
	started := make(chan *Daemon, 1)
	cfg := Config{Home: home, Version: "test", Logger: discard(), watchEvery: time.Millisecond, started: func(d *Daemon) { started <- d }}
	for _, f := range more {
		f(&cfg)
	}
	go func() { d.ended <- Run(ctx, cfg) }()
	select {
	case d.Daemon = <-started:
	case err := <-d.ended:
		cancel()
		t.Fatalf("the daemon ended at once: %v", err)
	}
	t.Cleanup(d.end)
	return d
}

// end stops the daemon; later calls do nothing.
func (d *testDaemon) end() {
	d.t.Helper()
	if d.cancel == nil {
		return
	}
	d.cancel()
	d.cancel = nil
	d.Close()
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Errorf("the daemon ended with: %v", err)
		}
	case <-time.After(20 * time.Second):
		buf := make([]byte, 1<<20)
		d.t.Fatalf("the daemon does not stop:\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// until polls a condition: for what has no event of its own.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// state is the state of a mesh's connection as health tells it, "" while the mesh is not there.
func (d *testDaemon) state(slug string) string {
	h, err := d.Health(context.Background())
	if err != nil {
		d.t.Fatal(err)
	}
	return h.Meshes[slug].State
}

func (d *testDaemon) wantState(slug, want string) {
	d.t.Helper()
	until(d.t, slug+" is "+want, func() bool { return d.state(slug) == want })
}

// create founds a mesh on the broker.
func create(t *testing.T, home config.Home, b *testBroker, slug, name string) *enrol.Created {
	t.Helper()
	c, err := enrol.Create(context.Background(), enrol.CreateOptions{Home: home, Slug: slug, BrokerURL: b.addr, Name: name, AdminToken: b.AdminToken()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// link makes a link with a daemon that is in the mesh.
func (d *testDaemon) link(slug string, uses int) protocol.InviteInfo {
	d.t.Helper()
	info, err := d.CreateInvite(context.Background(), protocol.InviteRequest{Mesh: slug, Uses: uses, Expires: time.Now().Add(time.Hour).Unix()})
	if err != nil {
		d.t.Fatal(err)
	}
	return info
}

func exists(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
