//go:build unix

package cli

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// A verb asks the daemon once how it is, however many of its steps want to know.
func TestVerbAsksForHealthOnce(t *testing.T) {
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
	var asked atomic.Int32
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/health":
			asked.Add(1)
			_ = json.NewEncoder(w).Encode(protocol.Health{OK: true, Meshes: map[string]protocol.MeshHealth{"acme": {State: protocol.ConnOpen}}})
		case "/v1/send":
			_ = json.NewEncoder(w).Encode(protocol.SendResult{OK: true, ID: "AAAAAAAAAAAAAAAAAAAAAA", State: protocol.StateAccepted})
		case "/v1/meshes":
			_ = json.NewEncoder(w).Encode([]protocol.MeshInfo{{Mesh: "acme", State: protocol.ConnOpen}})
		case "/v1/inbox":
			_ = json.NewEncoder(w).Encode(protocol.InboxPage{})
		default:
			_, _ = w.Write([]byte("[]"))
		}
	})}
	go srv.Serve(ln) // ends with Close
	defer srv.Close()
	env := []string{"CLAUDEMESH_CONFIG_DIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	for _, args := range [][]string{{"peers"}, {"members"}, {"whoami"}, {"inbox"}, {"send", "bob", "hello"}, {"mesh", "list"}, {"daemon", "outbox", "list"}} {
		asked.Store(0)
		if out, code := command(t, env, "", args...); code != 0 {
			t.Errorf("%q: exit %d %s", args, code, out)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%q asks %d times", args, n)
		}
	}
}
