//go:build unix

package service

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (m *machine) wantRefusal(s *Service, words string, final bool) {
	m.t.Helper()
	r := s.Obstacle(m.t.Context(), final)
	if r == nil || !strings.Contains(r.Reason, words) || r.Final != final || r.Hint == "" {
		m.t.Errorf("refusal %+v, want %q, final %v", r, words, final)
	}
}

func TestObstacles(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		t.Helper()
		os.MkdirAll(filepath.Dir(path), 0o700)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("none", func(t *testing.T) {
		m := newMachine(t, "linux")
		write(t, m.host.Root+"/run/systemd/container", "wsl\n")
		if r := m.daemon().Obstacle(t.Context(), false); r != nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("ci", func(t *testing.T) {
		m := newMachine(t, "linux")
		t.Setenv("CI", "false")
		if r := m.daemon().Obstacle(t.Context(), false); r != nil {
			t.Errorf("CI=false: %+v", r)
		}
		t.Setenv("GITHUB_ACTIONS", "true")
		m.wantRefusal(m.daemon(), "GITHUB_ACTIONS", false)
		if _, err := m.daemon().Install(t.Context(), InstallOptions{Force: true}); err != nil {
			t.Errorf("by force: %v", err)
		}
	})
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv", "/run/systemd/container"} {
		t.Run("container"+filepath.Base(mark), func(t *testing.T) {
			m := newMachine(t, "linux")
			write(t, m.host.Root+mark, "docker\n")
			m.wantRefusal(m.daemon(), "container", false)
		})
	}
	t.Run("container by environment", func(t *testing.T) {
		m := newMachine(t, "linux")
		t.Setenv("container", "podman")
		m.wantRefusal(m.daemon(), "container=podman", false)
	})
	t.Run("no systemd", func(t *testing.T) {
		m := newMachine(t, "linux")
		os.Remove(m.host.Root + "/run/systemd/system")
		m.wantRefusal(m.daemon(), "systemd does not run", true)
		if _, err := m.daemon().Install(t.Context(), InstallOptions{Force: true}); err == nil {
			t.Error("installed by force where nothing can run it")
		}
	})
	t.Run("no user manager", func(t *testing.T) {
		m := newMachine(t, "linux")
		m.set("fail", "show")
		t.Setenv("CI", "true") // force goes past that, and no further
		t.Setenv("XDG_RUNTIME_DIR", "")
		m.wantRefusal(m.daemon(), "no show today", true)
		write(t, m.host.Root+"/run/user/1000/systemd/private", "")
		if r := m.daemon().Obstacle(t.Context(), true); r == nil || r.Hint != "it runs, but XDG_RUNTIME_DIR is not set: export XDG_RUNTIME_DIR=/run/user/1000" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		m := newMachine(t, "windows")
		m.wantRefusal(m.daemon(), "windows", true)
		m.host.OS = "darwin"
		m.wantRefusal(Broker(m.host, "/usr/bin/claudemesh", BrokerOptions{}), "Linux only", true)
	})
	t.Run("broker", func(t *testing.T) {
		m := newMachine(t, "linux")
		m.wantRefusal(Broker(m.host, "/usr/bin/claudemesh", BrokerOptions{}), "root", true)
		m.host.UID = 0
		m.wantRefusal(Broker(m.host, "/home/alice/claudemesh", BrokerOptions{}), "cannot see", true)
		if r := Broker(m.host, "/usr/bin/claudemesh", BrokerOptions{}).Obstacle(t.Context(), false); r != nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("paths", func(t *testing.T) {
		m := newMachine(t, "linux")
		m.wantRefusal(Daemon(m.host, "claudemesh", m.home()), "absolute", true)
		m.wantRefusal(Daemon(m.host, "/a\nb", m.home()), "line break", true)
		m.host.UID = 0
		m.wantRefusal(Broker(m.host, "/usr/bin/claudemesh", BrokerOptions{Flags: []BrokerFlag{{"tls-key", "/a{{b", true}}}), "braces", true)
		m.host.UID = 1000
		m.wantRefusal(Daemon(m.host, `/a"b`, m.home()), "quotes", true)
	})
}

func TestPlaceWarnings(t *testing.T) {
	for path, word := range map[string]string{
		"/usr/local/bin/claudemesh":                      "",
		"/home/alice/go/bin/claudemesh":                  "",
		"/opt/claude-mesh/bin/claudemesh":                "",
		"/tmp/go-build12/b001/exe/claudemesh":            "temporary",
		"/root/.cache/go-build/ab/claudemesh":            "cache",
		"/opt/homebrew/Cellar/claudemesh/1.2.3/bin/c":    "1.2.3",
		"/opt/claudemesh-v2.0.1/claudemesh":              "claudemesh-v2.0.1",
		"/nix/store/0123456789abcdefghijklmnopqrstuv-c/": "0123456789abcdefghijklmnopqrstuv-c",
	} {
		got := strings.Join(placeWarnings(path), "")
		if (word == "") != (got == "") || !strings.Contains(got, word) {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestLasting(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "v1", "claudemesh"), filepath.Join(dir, "bin", "claudemesh")
	os.MkdirAll(filepath.Dir(real), 0o700)
	os.MkdirAll(filepath.Dir(link), 0o700)
	if err := os.WriteFile(real, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(link))
	if got := lasting(real, "claudemesh"); got != link {
		t.Errorf("the link on the path is not preferred: %s", got)
	}
	os.Remove(link)
	if err := os.WriteFile(link, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := lasting(real, "claudemesh"); got != real {
		t.Errorf("another program of that name: %s", got)
	}
}
