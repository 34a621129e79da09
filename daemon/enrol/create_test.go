package enrol

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/daemontest"
	"github.com/claudemesh/claudemesh/protocol"
)

// The token of this machine's broker is found, and offered to loopback alone.
func TestAdminToken(t *testing.T) {
	home := daemontest.NewHome(t)
	if err := os.Mkdir(home.BrokerDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	for path, token := range map[string]string{filepath.Join(home.BrokerDir(), "admin-token"): "from-dir\n", file: "from-file\n"} {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const here, there = "ws://127.0.0.1:7900/ws", "wss://b.example/ws"
	for _, test := range []struct {
		url, given, env, file, want string
	}{
		{url: here, want: "from-dir"},
		{url: "ws://localhost:7900/ws", want: "from-dir"},
		{url: "ws://[::1]:7900/ws", want: "from-dir"},
		{url: there, want: ""},
		{url: there, env: "from-env", want: "from-env"},
		{url: here, env: "from-env", want: "from-env"},
		{url: there, env: "from-env", file: file, want: "from-file"},
		{url: there, env: "from-env", file: file, given: "given", want: "given"},
	} {
		t.Setenv(EnvAdminToken, test.env)
		got, err := adminToken(&CreateOptions{Home: home, AdminToken: test.given, TokenFile: test.file}, test.url)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%+v: %q, %v", test, got, err)
		}
	}
}

func TestDefaultName(t *testing.T) {
	for _, test := range []struct{ env, config, want string }{
		{"alice", "bob", "alice"}, {"", "Bob B.", "bob-b."}, {"", "_Ünal", "nal"},
	} {
		t.Setenv(EnvName, test.env)
		if got := DefaultName(&config.Config{DisplayName: test.config}); got != test.want {
			t.Errorf("name of %q, %q: %q, want %q", test.env, test.config, got, test.want)
		}
	}
	t.Setenv(EnvName, "")
	if got := DefaultName(&config.Config{}); !protocol.ValidName(got) {
		t.Errorf("login name %q", got)
	}
}

// A stalled broker does not hang the command.
func TestCreateHonoursContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	home := daemontest.NewHome(t)
	_, err := Create(ctx, CreateOptions{Home: home, Slug: "acme", BrokerURL: stalled(t), AdminToken: "x", Name: "alice"})
	daemontest.WantCode(t, "create", err, protocol.CodeTimeout)
	daemontest.WantNothing(t, home)
}
