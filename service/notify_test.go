//go:build unix

package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// manager listens where systemd would.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

func wantNotice(t *testing.T, c *net.UnixConn, want string) {
	t.Helper()
	b := make([]byte, 256)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := c.Read(b)
	if err != nil || string(b[:n]) != want {
		t.Errorf("told %q, %v; want %q", b[:n], err, want)
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	c := notifySocket(t)
	if err := Notify(Ready, "STATUS=serving"); err != nil {
		t.Fatal(err)
	}
	wantNotice(t, c, "READY=1\nSTATUS=serving")
	c.Close()
	if err := Notify(Stopping); err == nil {
		t.Error("a manager that is gone makes no error")
	}
}

func TestWatch(t *testing.T) {
	c := notifySocket(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, func(context.Context) bool { asked++; return asked != 1 })
	}()
	wantNotice(t, c, "WATCHDOG=1")
	wantNotice(t, c, "WATCHDOG=1")
	cancel()
	<-done
	if asked < 3 {
		t.Errorf("asked %d times: one that did not work counts as alive", asked)
	}
	t.Setenv("WATCHDOG_PID", "1")
	Watch(t.Context(), nil) // another process is watched: returns at once
}
