package service

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	golden(t, "daemon.service", renderDaemonUnit(spec{verb: "daemon", executable: "/usr/local/bin/claudemesh", home: "/home/alice/.claudemesh"}))
	golden(t, "broker.service", renderBrokerUnit(spec{verb: "broker", executable: "/usr/local/bin/claudemesh", broker: BrokerOptions{
		Flags: []BrokerFlag{{Name: "listen", Value: "127.0.0.1:7900"}}, Listens: []string{"127.0.0.1:7900", ""}}}))
	golden(t, "broker-tls.service", renderBrokerUnit(spec{verb: "broker", executable: "/usr/local/bin/claudemesh", broker: BrokerOptions{
		Flags: []BrokerFlag{{"listen", ":443", false}, {"public-url", "wss://mesh.example.org/ws", false}, {"tls-cert", "/etc/ssl/mesh.pem", true},
			{"tls-key", "/etc/ssl/mesh.key", true}, {"limit", "rate=50,burst=100", false}, {"config", "/etc/claudemesh/50%.conf", true}},
		Listens: []string{":443"}}}))
}

// systemd itself reads the units here; it prints what it does not know, also where it then goes on.
func TestSystemdReadsUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	dir := t.TempDir()
	odd := filepath.Join(dir, `a b;c%h$x{{y}}`, "claudemesh")
	if err := os.MkdirAll(filepath.Dir(odd), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(odd, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ scope, text string }{
		"claudemesh-daemon.service": {"--user", renderDaemonUnit(spec{verb: "daemon", executable: odd, home: filepath.Dir(odd)})},
		"claudemesh-broker.service": {"--system", renderBrokerUnit(spec{verb: "broker", executable: odd, broker: BrokerOptions{
			Flags: []BrokerFlag{{"listen", ":443", false}, {"tls-cert", odd, true}, {"tls-key", odd, true}}, Listens: []string{":443"}}})},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(analyze, "verify", c.scope, "--man=no", path)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), name) || strings.Contains(string(out), dir) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		`/usr/bin/x`: `"/usr/bin/x"`,
		`a b%"\{`:    `"a b%%\"\\\x7b"`,
		"tab\té":     "\"tab\\x09é\"",
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
	if got := quoteArg("$a"); got != `"$$a"` {
		t.Errorf("argument %s", got)
	}
}

func TestLowPort(t *testing.T) {
	for addr, want := range map[string]bool{":443": true, "127.0.0.1:1023": true, ":1024": false, "[::1]:7900": false, "": false, ":0": false} {
		if lowPort(addr) != want {
			t.Errorf("lowPort(%q) is not %v", addr, want)
		}
	}
}
