package daemon

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// A daemon without a mesh is healthy and idle.
func TestIdle(t *testing.T) {
	d := startDaemon(t, newHome(t))
	h, err := d.Health(context.Background())
	if err != nil || !h.OK || h.PID != os.Getpid() || h.Version != "test" || len(h.Meshes) != 0 {
		t.Errorf("health %+v, %v", h, err)
	}
	if list, err := d.Meshes(context.Background()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("meshes %v, %v", list, err)
	}
	_, err = d.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hi"})
	wantCode(t, "send", err, protocol.CodeNotFound)
}

// A second daemon ends, says whose pid it met, and disturbs nothing.
func TestOnlyOneDaemon(t *testing.T) {
	home := newHome(t)
	first := startDaemon(t, home)
	err := Run(context.Background(), Config{Home: home, Logger: discard()})
	if e := wantCode(t, "the second", err, protocol.CodeExists); !strings.Contains(e.Message, "another daemon runs (pid ") {
		t.Errorf("message %q", e.Message)
	}
	if _, err := first.Health(context.Background()); err != nil {
		t.Errorf("the first: %v", err)
	}
}

// A daemon that starts while another one is ending waits for it.
func TestStartsAfterOneThatEnds(t *testing.T) {
	home := newHome(t)
	db, err := table.Open(home.DBFile())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = openHome(ctx, home)
	wantCode(t, "told to stop while it waits", err, protocol.CodeExists)
	ending := time.AfterFunc(1200*time.Millisecond, func() { db.Close() }) // beyond the second that the store waits itself
	defer ending.Stop()
	startDaemon(t, home)
}

// What a daemon that died left is no obstacle: its socket, its pid file, and half of a new socket.
func TestLeftovers(t *testing.T) {
	home := newHome(t)
	for _, path := range []string{home.SocketFile(), filepath.Join(home.Dir(), "d.new")} {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
	}
	if err := config.WriteFile(pidFile(home), []byte("1\n")); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, home)
	if _, err := d.Health(context.Background()); err != nil {
		t.Error(err)
	}
	d.end()
	for _, path := range []string{home.SocketFile(), pidFile(home)} {
		if exists(path) {
			t.Errorf("%s is left behind", path)
		}
	}
}

// A home whose path is too long for a socket has it elsewhere, and clients find it. It comes back when it vanishes.
func TestLongHome(t *testing.T) {
	home, err := config.OpenHome(filepath.Join(newHome(t).Dir(), strings.Repeat("x", localsocket.MaxPath)))
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, home)
	for range 2 {
		if _, err := d.Health(context.Background()); err != nil {
			t.Fatal(err)
		}
		path, err := localsocket.Find(home.SocketFile())
		if err != nil || path == home.SocketFile() || len(path) > localsocket.MaxPath {
			t.Fatalf("socket at %s, %v", path, err)
		}
		wantPrivate(t, filepath.Dir(path), 0o700)
		wantPrivate(t, path, 0o600)
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		until(t, "the socket is back", func() bool {
			again, err := localsocket.Find(home.SocketFile())
			return err == nil && again != path && exists(again)
		})
	}
	path, err := localsocket.Find(home.SocketFile())
	d.end()
	if err != nil || exists(filepath.Dir(path)) {
		t.Errorf("%s is left behind, %v", path, err)
	}
}

func wantPrivate(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want && runtime.GOOS != "windows" {
		t.Errorf("%s has mode %04o, want %04o", path, got, want)
	}
}

// Everything that a daemon makes is its user's alone, its log included.
func TestModes(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	create(t, home, b, "acme", "alice")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Run(ctx, Config{Home: home, started: func(*Daemon) { close(ready) }}) }()
	<-ready
	wantPrivate(t, home.Dir(), 0o700)
	entries, err := os.ReadDir(home.Dir())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.Name()] = true
		mode := os.FileMode(0o600)
		if e.IsDir() {
			mode = 0o700
		}
		wantPrivate(t, filepath.Join(home.Dir(), e.Name()), mode)
	}
	for _, name := range []string{"config.json", "owner-acme.key", "daemon.db", "daemon.sock", "daemon.log", "daemon.pid"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestShutdown(t *testing.T) {
	d := startDaemon(t, newHome(t))
	if err := d.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; err != nil {
		t.Error(err)
	}
	d.ended <- nil
}

// A store of a later version is left alone.
func TestNewerStore(t *testing.T) {
	home := newHome(t)
	nothing := func(*bolt.Tx) error { return nil }
	db, err := store.Open(home.DBFile(), store.Options{Migrations: slices.Repeat([]func(*bolt.Tx) error{nothing}, 100)})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	err = Run(context.Background(), Config{Home: home, Logger: discard()})
	wantCode(t, "run", err, protocol.CodeNotSupported)
}

func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "daemon.log")
	l, err := openLogFile(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 59) + "\n"
	for range 3 {
		if n, err := l.Write([]byte(line)); n != 60 || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		if b, err := os.ReadFile(p); err != nil || string(b) != line {
			t.Errorf("%s: %d bytes, %v", p, len(b), err)
		}
		wantPrivate(t, p, 0o600)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Write([]byte("x")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	again, err := openLogFile(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	again.Write([]byte(line))
	if b, _ := os.ReadFile(path); string(b) != line {
		t.Errorf("the size of an older run is not counted: %d bytes", len(b))
	}
}
