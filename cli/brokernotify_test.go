//go:build unix

package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A broker that systemd starts says when it listens, that its disk writes, and when it drains.
func TestBrokerTellsItsManager(t *testing.T) {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	hears := func(want string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(10 * time.Second))
		for b := make([]byte, 512); ; {
			n, err := manager.Read(b)
			if err != nil {
				t.Fatalf("no %s: %v", want, err)
			}
			if first, _, _ := strings.Cut(string(b[:n]), "\n"); first == want {
				return
			}
		}
	}

	a := newApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
	l, err := arrange(a.root, []string{"broker", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.dispatch(ctx, l) }()
	hears("READY=1")
	hears("WATCHDOG=1")
	hears("WATCHDOG=1")
	stop()
	hears("STOPPING=1")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
