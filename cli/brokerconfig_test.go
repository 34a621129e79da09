package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
)

// configure runs the broker's flags through the command line and returns what it would run with.
func configure(t *testing.T, args ...string) (cfg broker.Config, security *tls.Config, err error) {
	t.Helper()
	a := newApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
	a.root.sub("broker").run = func(_ context.Context, c *call) error {
		set, err := c.settings()
		if err != nil {
			return err
		}
		if cfg, err = set.config(); err != nil {
			return err
		}
		security, _, err = set.tls(cfg.Dir)
		return err
	}
	l, err := arrange(a.root, append([]string{"broker"}, args...))
	if err == nil {
		err = a.dispatch(t.Context(), l)
	}
	return cfg, security, err
}

// TestSettings gives one setting in the file, the environment and a flag: each counts more than the one before.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broker.conf")
	text := "# ours\n\npublic-url = file.example\nlimit = burst=7\nlimit = rate=5\ntrusted-proxy = 10.0.0.0/8, 192.0.2.1\ndata = /srv/file\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, security, err := configure(t, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.PublicURL != "wss://file.example/ws" || cfg.Limits.Burst != 7 || cfg.Limits.Rate != 5 || len(cfg.TrustedProxies) != 2 || cfg.Dir != "/srv/file" || security != nil {
		t.Errorf("from the file: %+v", cfg)
	}
	t.Setenv("CLAUDEMESH_BROKER_PUBLIC_URL", "env.example")
	if cfg, _, err = configure(t, "--config", file); err != nil || cfg.PublicURL != "wss://env.example/ws" || cfg.Limits.Burst != 7 {
		t.Errorf("with the environment: %+v, %v", cfg, err)
	}
	if cfg, _, err = configure(t, "--config", file, "--public-url", "flag.example"); err != nil || cfg.PublicURL != "wss://flag.example/ws" {
		t.Errorf("with a flag: %+v, %v", cfg, err)
	}
	t.Setenv("CLAUDEMESH_BROKER_CONFIG", file)
	t.Setenv("CLAUDEMESH_BROKER_LIMIT", "retention=48h")
	if cfg, _, err = configure(t); err != nil || cfg.Limits.Retention != 48*time.Hour || cfg.Limits.Burst != 0 || cfg.Dir != "/srv/file" {
		t.Errorf("the file named in the environment: %+v, %v", cfg, err)
	}
}

func TestSettingsRefuse(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"unknown": "lisen = :443\n", "shape": "listen :443\n", "twice": "listen = :443\nlisten = :444\n", "itself": "config = other\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := configure(t, "--config", file); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(dir, "shape") // of no certificate
	for _, args := range [][]string{
		{"--config", filepath.Join(dir, "nosuch")}, {"--limit", "nosuch=1"}, {"--limit", "burst=0"}, {"--trusted-proxy", "relay.example"},
		{"--acme-host", "192.0.2.1"}, {"--acme-host", "localhost"}, {"--acme-host", "relay.example", "--tls-cert", "x"}, {"--tls-cert", "x"},
		{"--acme-directory", "https://ca.example/dir"}, {"--acme-ca", file}, {"--acme-host", "relay.example", "--acme-ca", file},
		{"--acme-host", "relay.example", "--acme-directory", "http://ca.example/dir"}, {"--acme-host", "relay.example", "--acme-ca", filepath.Join(dir, "nosuch")},
	} {
		if _, _, err := configure(t, args...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

// TestACME looks at what the ACME authority and clients will meet: the challenge protocol, HTTP/1.1 only, and one name.
func TestACME(t *testing.T) {
	cfg, security, err := configure(t, "--acme-host", "relay.example", "--data", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.PublicURL != "wss://relay.example/ws" {
		t.Errorf("public URL %s", cfg.PublicURL)
	}
	if !slices.Equal(security.NextProtos, []string{"http/1.1", "acme-tls/1"}) || security.MinVersion != tls.VersionTLS12 {
		t.Errorf("protocols %v, from version %x", security.NextProtos, security.MinVersion)
	}
	if _, err := security.GetCertificate(&tls.ClientHelloInfo{ServerName: "other.example"}); err == nil {
		t.Error("asks for the certificate of another name")
	}
}
