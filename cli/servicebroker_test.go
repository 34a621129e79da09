package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/service"
)

// optionsOf is what install-service would write for these flags.
func optionsOf(t *testing.T, args ...string) (in brokerInstall, err error) {
	t.Helper()
	a := newApp(strings.NewReader(""), new(bytes.Buffer), new(bytes.Buffer))
	a.root.sub("broker").sub("install-service").run = func(_ context.Context, c *call) error {
		in, err = c.brokerOptions()
		return err
	}
	l, err := arrange(a.root, append([]string{"broker", "install-service"}, args...))
	if err == nil {
		err = a.dispatch(t.Context(), l)
	}
	return in, err
}

// The service is given whatever the broker takes, and the broker makes the same of it.
func TestServicePassesEveryFlag(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, _, err := selfSigned("ca.example")
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]string{
		"listen": ":8443", "public-url": "relay.example", "trusted-proxy": "10.0.0.0/8, 192.0.2.1", "acme-host": "relay.example",
		"acme-directory": "https://ca.example/dir", "acme-ca": file("roots.pem", string(root)), "metrics": "127.0.0.1:7901",
		"limit": "rate=50,burst=7", "config": file("broker.conf", "limit = dedupe=9\ntrusted-proxy = 192.0.2.9\n"),
	}
	var args []string
	for _, f := range serviceFlags() {
		name := f.Names()[0]
		if value, there := given[name]; there {
			args = append(args, "--"+name, value)
		} else if !slices.Contains([]string{"tls-cert", "tls-key"}, name) { // they exclude ACME
			t.Errorf("this test does not give --%s", name)
		}
	}
	t.Setenv("CLAUDEMESH_BROKER_PUBLIC_URL", "elsewhere.example") // of who installs, not of the service
	in, err := optionsOf(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, f := range in.Flags {
		if f.File != slices.Contains(brokerFiles, f.Name) || f.File && !filepath.IsAbs(f.Value) {
			t.Errorf("%+v", f)
		}
		passed = append(passed, "--"+f.Name, f.Value)
	}
	if !slices.Equal(passed, args) {
		t.Errorf("passes %q, given %q", passed, args)
	}
	if want := []string{":8443", "127.0.0.1:7901", ":80"}; !slices.Equal(in.Listens, want) || in.address != "wss://relay.example/ws" {
		t.Errorf("listens on %v, is dialled at %s", in.Listens, in.address)
	}
	want, _, err := configure(t, append(args, "--data", dir)...)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := configure(t, append(passed, "--data", dir)...); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("runs with %+v, %v; want %+v", got, err, want)
	}
}

// What the file of --config says stays there, but for files, which root reads for the service, and for the usual address.
func TestServiceOfAFile(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCert(t, &certFile{cert: cert, key: key}, "relay.example", time.Now())
	config := filepath.Join(dir, "broker.conf")
	text := "listen = :443\ntls-cert = " + cert + "\ntls-key = " + key + "\nlimit = rate=5\ndata = " + service.BrokerData + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := optionsOf(t, "--config", config)
	want := []service.BrokerFlag{{Name: "tls-cert", Value: cert, File: true}, {Name: "tls-key", Value: key, File: true}, {Name: "config", Value: config, File: true}}
	if err != nil || !slices.Equal(in.Flags, want) || in.Listens[0] != ":443" || in.address != "https://:443" {
		t.Errorf("%+v, %v", in, err)
	}
	if in, err = optionsOf(t); err != nil || !slices.Equal(in.Flags, []service.BrokerFlag{{Name: "listen", Value: defaultListen}}) {
		t.Errorf("without flags: %+v, %v", in, err)
	}
	if err := os.WriteFile(config, []byte("data = /srv/broker\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--config", config}, {"--limit", "nosuch=1"}, {"--tls-cert", cert}, {"--trusted-proxy", "x"}, {"--acme-host", "x"}, {"--data", dir}} {
		if _, err := optionsOf(t, args...); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

// A flag whose value is a file is passed as a credential: the service's user need not be able to read it.
func TestBrokerFiles(t *testing.T) {
	for _, f := range brokerFlags() {
		if named := strings.Contains(f.String(), "FILE"); named != slices.Contains(brokerFiles, f.Names()[0]) {
			t.Errorf("--%s: takes a file: %v, is listed: %v", f.Names()[0], named, !named)
		}
	}
}
