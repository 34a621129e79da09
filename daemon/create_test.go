package daemon

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func TestCreate(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made := create(t, home, b, "acme", "alice")
	c, err := home.Load()
	if err != nil {
		t.Fatal(err)
	}
	m := c.Mesh("acme")
	if m == nil || m.Name != "alice" || m.BrokerURL != "ws://"+b.addr+"/ws" || m.Cert == "" {
		t.Fatalf("membership %+v", m)
	}
	owner, err := home.OwnerKey(m.MeshID)
	if err != nil || owner.Path != made.OwnerKeyFile {
		t.Fatalf("owner key: %v", err)
	}
	charter, err := protocol.ParseText(m.Charter)
	if err != nil || charter.Mesh() != m.MeshID {
		t.Fatalf("charter: %v", err)
	}
	body := charter.Body.(*protocol.Charter)
	seed, err := crypto.ParsePrivateKey(made.RecoverySeed())
	if err != nil || seed.Public() != body.Recovery || body.Owner != owner.Key.Public() {
		t.Errorf("the charter names another owner or recovery key: %v", err)
	}
	alice := startDaemon(t, home)
	alice.wantState("acme", protocol.ConnOpen)
	list, err := alice.Meshes(context.Background())
	if err != nil || len(list) != 1 || list[0].Trust != protocol.TrustVerified || !list[0].Default {
		t.Errorf("meshes: %+v, %v", list, err)
	}
	_, err = Create(context.Background(), CreateOptions{Home: home, Slug: "acme", BrokerURL: b.addr, AdminToken: b.AdminToken()})
	wantCode(t, "a second mesh of that name", err, protocol.CodeExists)
}

func TestCreateWithoutRecovery(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	made, err := Create(context.Background(), CreateOptions{
		Home: home, Slug: "acme", BrokerURL: "http://" + b.addr, Name: "alice", AdminToken: b.AdminToken(), NoRecovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if made.RecoverySeed() != "" {
		t.Error("there is a recovery seed")
	}
	startDaemon(t, home).wantState("acme", protocol.ConnOpen)
}

func TestCreateRefused(t *testing.T) {
	t.Setenv(EnvAdminToken, "")
	b := newBroker(t)
	gone := "127.0.0.1:1"
	for name, test := range map[string]struct {
		options CreateOptions
		want    protocol.Code
	}{
		"no token":        {CreateOptions{Slug: "acme", BrokerURL: b.addr}, protocol.CodeUnauthorized},
		"a wrong token":   {CreateOptions{Slug: "acme", BrokerURL: b.addr, AdminToken: "wrong"}, protocol.CodeUnauthorized},
		"no token file":   {CreateOptions{Slug: "acme", BrokerURL: b.addr, TokenFile: "/nonexistent"}, protocol.CodeUnauthorized},
		"ws to elsewhere": {CreateOptions{Slug: "acme", BrokerURL: "ws://b.example", AdminToken: "x"}, protocol.CodeForbidden},
		"a bad address":   {CreateOptions{Slug: "acme", BrokerURL: "ftp://b.example", AdminToken: "x"}, protocol.CodeInvalid},
		"a bad slug":      {CreateOptions{Slug: "Acme!", BrokerURL: b.addr, AdminToken: "x"}, protocol.CodeInvalid},
		"a bad name":      {CreateOptions{Slug: "acme", BrokerURL: b.addr, AdminToken: "x", Name: "Al Ice"}, protocol.CodeInvalid},
		"nobody there":    {CreateOptions{Slug: "acme", BrokerURL: gone, AdminToken: "x"}, protocol.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.Home = newHome(t)
			_, err := Create(context.Background(), test.options)
			if e := wantCode(t, "create", err, test.want); e.Hint == "" && test.want != protocol.CodeInvalid {
				t.Errorf("no hint: %v", e)
			}
			wantNothing(t, test.options.Home)
		})
	}
}

// The token of this machine's broker is found, and offered to loopback alone.
func TestAdminToken(t *testing.T) {
	home := newHome(t)
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
	home := newHome(t)
	_, err := Create(ctx, CreateOptions{Home: home, Slug: "acme", BrokerURL: stalled(t), AdminToken: "x", Name: "alice"})
	wantCode(t, "create", err, protocol.CodeTimeout)
	wantNothing(t, home)
}
