package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// membership is one of a mesh made by hand, whose broker nobody answers at.
func membership(t *testing.T, slug string) config.Membership {
	t.Helper()
	owner := crypto.GenerateKey()
	charter, err := protocol.Sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	if err != nil {
		t.Fatal(err)
	}
	return config.Membership{
		Slug: slug, MeshID: charter.Mesh(), Name: "bob", Key: crypto.GenerateKey(),
		BrokerURL: "ws://127.0.0.1:1/ws", JoinedAt: time.Now(), Charter: charter.Text(),
	}
}

func update(t *testing.T, home config.Home, change func(*config.Config)) {
	t.Helper()
	if err := home.Update(func(c *config.Config) error { change(c); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (d *testDaemon) health(t *testing.T) protocol.Health {
	t.Helper()
	h, err := d.Health(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Joining and leaving take effect without a restart, for each mesh alone.
func TestWatch(t *testing.T) {
	home := newHome(t)
	d := startDaemon(t, home)
	update(t, home, func(c *config.Config) { c.Add(membership(t, "acme")) })
	until(t, "acme is running", func() bool { return d.state("acme") != "" })
	acme, err := d.Mesh("acme")
	if err != nil {
		t.Fatal(err)
	}
	update(t, home, func(c *config.Config) { c.Add(membership(t, "other")); c.DefaultMesh = "other" })
	until(t, "other is running", func() bool { return d.state("other") != "" })
	until(t, "other is the default", func() bool {
		m, err := d.One("")
		return err == nil && m.Slug() == "other"
	})
	update(t, home, func(c *config.Config) { c.Mesh("acme").Name = "robert"; c.Remove("other") })
	until(t, "other has ended", func() bool { return d.state("other") == "" && d.state("acme") != "" })
	update(t, home, func(c *config.Config) { c.DisplayName = "x" })
	renamed, err := d.Mesh("acme")
	if err != nil || renamed == acme {
		t.Errorf("a mesh that changed was not started anew: %v", err)
	}
	update(t, home, func(c *config.Config) { c.Mesh("acme").Cert = c.Mesh("acme").Charter })
	d.Reload()
	if same, err := d.Mesh("acme"); err != nil || same != renamed {
		t.Errorf("a new certificate restarted the mesh: %v", err)
	}
}

// A config.json that cannot be read changes nothing, shows in health, and is taken when it is whole again.
func TestWatchBrokenConfig(t *testing.T) {
	home := newHome(t)
	update(t, home, func(c *config.Config) { c.Add(membership(t, "acme")) })
	d := startDaemon(t, home)
	whole, err := os.ReadFile(home.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	for what, content := range map[string]string{"cut off": string(whole[:50]), "newer": `{"version": 99}`} {
		if err := config.WriteFile(home.ConfigFile(), []byte(content)); err != nil {
			t.Fatal(err)
		}
		until(t, "the file is told to be "+what, func() bool { h := d.health(t); return !h.OK && h.Error != "" })
		if d.state("acme") == "" {
			t.Errorf("%s: the mesh is gone", what)
		}
	}
	if err := config.WriteFile(home.ConfigFile(), whole); err != nil {
		t.Fatal(err)
	}
	until(t, "health is good again", func() bool { h := d.health(t); return h.OK && h.Error == "" })
}

// A file that is broken from the start is no reason not to run: it may be mended.
func TestStartWithBrokenConfig(t *testing.T) {
	home := newHome(t)
	if err := config.WriteFile(home.ConfigFile(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, home)
	if h := d.health(t); h.OK || !strings.Contains(h.Error, "config.json") {
		t.Errorf("health %+v", h)
	}
}

// A mesh that cannot be started says so in health; the others run.
func TestMeshThatDoesNotStart(t *testing.T) {
	home := newHome(t)
	broken := membership(t, "broken")
	broken.Charter = membership(t, "x").Charter
	update(t, home, func(c *config.Config) { c.Add(broken); c.Add(membership(t, "acme")) })
	d := startDaemon(t, home)
	h := d.health(t)
	if h.OK || h.Meshes["broken"].State != protocol.ConnRefused || h.Meshes["broken"].LastError == "" {
		t.Errorf("health %+v", h)
	}
	if state := h.Meshes["acme"].State; state != protocol.ConnConnecting && state != protocol.ConnReconnecting {
		t.Errorf("acme is %q", state)
	}
}

// Meshes of an original client are listed as such and never touched.
func TestOriginals(t *testing.T) {
	home := newHome(t)
	content := `{"version": 1, "meshes": [{"slug": "old", "meshId": "AbCdEfGhIjKlMnOpQrStUvWxYz012345", "name": "bob", "brokerUrl": "wss://old.example/ws", "secretKey": "x"}]}`
	if err := config.WriteFile(home.ConfigFile(), []byte(content)); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, home)
	list, err := d.Meshes(context.Background())
	if err != nil || len(list) != 1 || list[0].State != "original" || list[0].Mesh != "old" {
		t.Errorf("meshes %+v, %v", list, err)
	}
	if len(d.health(t).Meshes) != 0 {
		t.Error("it runs")
	}
	if b, _ := os.ReadFile(home.ConfigFile()); string(b) != content {
		t.Error("the file was changed")
	}
}

// The broker on this machine runs while config.json asks for one.
func TestLocalBroker(t *testing.T) {
	home := newHome(t)
	events := make(chan string, 4)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	run := func(ctx context.Context, listen, dir string) error {
		events <- "start " + listen
		<-ctx.Done()
		events <- "stop " + listen
		return nil
	}
	db, err := openHome(ctx, home)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d := newDaemon(ctx, Config{Home: home, LocalBroker: run}, db, discard(), func(error) { cancel() })
	for _, listen := range []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:2", ""} {
		update(t, home, func(c *config.Config) { c.LocalBroker = listen })
		d.Reload()
	}
	d.CloseMeshes()
	for _, want := range []string{"start 127.0.0.1:1", "stop 127.0.0.1:1", "start 127.0.0.1:2", "stop 127.0.0.1:2"} {
		if got := <-events; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// That the broker of the daemon does not run is told in its health, and not any more once it does.
func TestLocalBrokerHealth(t *testing.T) {
	at := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	b := &localBroker{listen: "127.0.0.1:1"}
	want := func(when, told string) {
		t.Helper()
		if h := b.health(at); h.Listen != "127.0.0.1:1" || h.Error != told {
			t.Errorf("%s: %+v, want %q", when, h, told)
		}
	}
	b.starts(at)
	want("at its first start", "")
	b.ends(errors.New("the port is taken"))
	at = at.Add(brokerRetry)
	want("between two starts", "the port is taken")
	b.starts(at)
	want("when it tries again", "the port is taken")
	at = at.Add(brokerSettles)
	want("when it has been running for a while", "")
}
