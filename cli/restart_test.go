//go:build unix

package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// A daemon gives way to a newer executable only when nobody would notice.
func TestIdle(t *testing.T) {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home, err := config.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", home.SocketFile())
	if err != nil {
		t.Fatal(err)
	}
	var health protocol.Health
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(health) })}
	go srv.Serve(ln) // ends with Close
	cl := client.Dial(home)
	defer cl.Close()
	for _, c := range []struct {
		sessions, queued int
		want             bool
	}{{0, 0, true}, {1, 0, false}, {0, 1, false}} {
		health = protocol.Health{OK: true, Sessions: c.sessions, Meshes: map[string]protocol.MeshHealth{"acme": {}, "other": {Queued: c.queued}}}
		if got := idle(t.Context(), cl); got != c.want {
			t.Errorf("%d sessions, %d queued: idle %v", c.sessions, c.queued, got)
		}
	}
	srv.Close()
	if idle(t.Context(), cl) {
		t.Error("a daemon that does not answer is idle")
	}
}

func TestWorks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	for text, want := range map[string]bool{"#!/bin/sh\ntest \"$1\" = --version\n": true, "#!/bin/sh\nexit 1\n": false, "half a pro": false} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		if got := works(t.Context(), path); got != want {
			t.Errorf("%q works: %v", text, got)
		}
	}
}
