//go:build !windows

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

const envRole = "CM_TEST_ROLE"

// TestMain lets the test binary be the daemon that Ensure starts.
func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "daemon":
		os.Exit(runDaemon())
	case "broken":
		fmt.Fprintln(os.Stderr, "claudemesh: the disk is full of herring")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runDaemon is the daemon verb: its process writes one line a start, so that a test can count them.
func runDaemon() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	home, err := config.DefaultHome()
	if err == nil {
		err = noteStart(home)
	}
	if err == nil {
		err = daemon.Run(ctx, daemon.Config{Home: home, Version: "test"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "claudemesh:", err)
	}
	switch {
	case protocol.CodeOf(err) == protocol.CodeExists:
		return 6
	case err != nil:
		return 1
	}
	return 0
}

func startsFile(home config.Home) string { return filepath.Join(home.Dir(), "starts") }

func noteStart(home config.Home) error {
	f, err := os.OpenFile(startsFile(home), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return errors.Join(err, f.Close())
}

func starts(home config.Home) []string {
	b, _ := os.ReadFile(startsFile(home))
	return strings.Fields(string(b))
}

// newHome is a home whose daemons are stopped and gone when the test ends.
func newHome(t *testing.T) config.Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	home, err := config.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range starts(home) {
			if pid, err := strconv.Atoi(s); err == nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		os.RemoveAll(dir)
	})
	return home
}

// self is the command line of this test binary in a role.
func self(t *testing.T, role string) client.EnsureOptions {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(envRole, role)
	return client.EnsureOptions{Command: []string{exe}}
}

// Twenty verbs at once start one daemon and all of them reach it.
func TestEnsureStartsOneDaemon(t *testing.T) {
	home, options := newHome(t), self(t, "daemon")
	var mu sync.Mutex
	var told []int
	options.Started = func(pid int) { mu.Lock(); defer mu.Unlock(); told = append(told, pid) }
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := client.Ensure(context.Background(), home, options)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if h, err := c.Health(context.Background()); err != nil || !h.OK {
				t.Errorf("health %+v, %v", h, err)
			}
		})
	}
	wg.Wait()
	if n := starts(home); len(n) != 1 || len(told) != 1 || strconv.Itoa(told[0]) != n[0] {
		t.Errorf("started %v, told %v", n, told)
	}
}

// A daemon that was killed leaves its socket: that is no daemon.
func TestEnsureAfterAKill(t *testing.T) {
	home, options := newHome(t), self(t, "daemon")
	c, err := client.Ensure(context.Background(), home, options)
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Health(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(h.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for err = nil; protocol.CodeOf(err) != protocol.CodeUnavailable; _, err = c.Probe(context.Background()) {
	}
	if _, err := os.Stat(home.SocketFile()); err != nil {
		t.Fatalf("no socket was left: %v", err)
	}
	c, err = client.Ensure(context.Background(), home, options)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Health(context.Background())
	if err != nil || again.PID == h.PID {
		t.Errorf("health %+v, %v", again, err)
	}
}

// A daemon that does not start says why, once; the next callers hear it without another start, until a person insists.
func TestEnsureBacksOff(t *testing.T) {
	home, options := newHome(t), self(t, "broken")
	_, err := client.Ensure(context.Background(), home, options)
	if protocol.CodeOf(err) != protocol.CodeSpawnFailed || !strings.Contains(err.Error(), "herring") {
		t.Fatalf("first: %v", err)
	}
	good := self(t, "daemon")
	_, err = client.Ensure(context.Background(), home, good)
	if protocol.CodeOf(err) != protocol.CodeSpawnFailed || !strings.Contains(err.Error(), "herring") || len(starts(home)) != 0 {
		t.Fatalf("second: %v, started %v", err, starts(home))
	}
	good.Now = true
	if _, err = client.Ensure(context.Background(), home, good); err != nil {
		t.Fatal(err)
	}
}

// A daemon that is slow to answer is not replaced, and its socket stays.
func TestEnsureLeavesASlowDaemonAlone(t *testing.T) {
	home, options := newHome(t), self(t, "daemon")
	ln, err := net.Listen("unix", home.SocketFile())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Ensure(ctx, home, options)
	if protocol.CodeOf(err) != protocol.CodeTimeout {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(home.SocketFile()); err != nil || len(starts(home)) != 0 {
		t.Errorf("socket: %v, started %v", err, starts(home))
	}
}

// Under a service manager nothing is spawned.
func TestEnsureWaitsForTheService(t *testing.T) {
	home, options := newHome(t), self(t, "daemon")
	options.Managed = func(context.Context) string { return "systemd" }
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := client.Ensure(ctx, home, options)
	if protocol.CodeOf(err) != protocol.CodeServiceNotReady || !strings.Contains(err.Error(), "service-not-ready") || len(starts(home)) != 0 {
		t.Errorf("error %v, started %v", err, starts(home))
	}
}

// A daemon that another program starts while ours is on its way is as good: ours ends, and the caller hears nothing of it.
func TestEnsureAcceptsAnotherDaemon(t *testing.T) {
	home := newHome(t)
	exe := self(t, "daemon").Command[0]
	ended := filepath.Join(home.Dir(), "ended")
	script := fmt.Sprintf(`"%s" & n=0; while ! [ -S "%s" ] && [ $n -lt 400 ]; do n=$((n+1)); sleep 0.05; done; "%s"; s=$?; echo $s >"%s"; exit $s`,
		exe, home.SocketFile(), exe, ended)
	c, err := client.Ensure(context.Background(), home, client.EnsureOptions{Command: []string{"/bin/sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Health(context.Background()); err != nil {
		t.Error(err)
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // else it would be the daemon of a home that is gone
		if _, err := os.Stat(ended); err == nil || time.Now().After(until) {
			break
		}
	}
}
