//go:build unix

package service

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corporate is what a machine behind a proxy is told, with every character that a unit file or a plist minds.
var corporate = Environment{
	"HTTPS_PROXY": `http://alice:s3%20cret$"\{&<x>'é@proxy.example:3128`, "NO_PROXY": "localhost,.example", "SSL_CERT_FILE": "/etc/ssl/our ca.pem",
}

// The service knows its way to the network from the shell that installed it. Its file is the user's alone, and other
// installations keep or replace it as they are asked to.
func TestRecordedEnvironment(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		t.Run(system, func(t *testing.T) {
			m := newMachine(t, system)
			s := m.daemon()
			if system == "darwin" {
				s = m.agent()
			}
			before := m.files()
			wantEnvironment := func(want Environment) {
				t.Helper()
				if got, err := s.Environment(); err != nil || !maps.Equal(got, want) {
					t.Errorf("recorded %v %v, want %v", got, err, want)
				}
				if ok, err := s.Current(); !ok || err != nil {
					t.Errorf("not current: %v", err)
				}
			}
			if _, err := s.Environment(); !errors.Is(err, ErrNotInstalled) {
				t.Errorf("before: %v", err)
			}
			times := 0
			install := func(env Environment) {
				t.Helper()
				if _, err := s.Install(t.Context(), InstallOptions{Environment: env}); err != nil {
					t.Fatal(err)
				}
				if times++; system == "darwin" {
					m.await("the agent starts", func() bool { return m.starts() == times })
				}
			}
			install(corporate)
			wantEnvironment(corporate)
			m.wantPrivate("s3%20cret", "s3%%20cret")
			install(nil) // as after an upgrade: what was recorded stays
			wantEnvironment(corporate)
			install(Environment{"ALL_PROXY": "socks5://p:1"})
			wantEnvironment(Environment{"ALL_PROXY": "socks5://p:1"})
			install(Environment{})
			wantEnvironment(Environment{})
			if _, err := os.Lstat(filepath.Join(m.host.Home, ".config/systemd/user/claudemesh-daemon.service.d")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the directory of the environment is left: %v", err)
			}
			install(corporate)
			if _, err := s.Uninstall(t.Context()); err != nil {
				t.Fatal(err)
			}
			if after := m.files(); system == "linux" && after != before || strings.Contains(after, "Agents") {
				t.Errorf("left behind:\n%s", after)
			}
		})
	}
}

// wantPrivate fails where a file that others may read holds one of the words, and where none at all holds one.
func (m *machine) wantPrivate(words ...string) {
	m.t.Helper()
	found := false
	err := filepath.WalkDir(m.host.Home, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		for _, w := range words {
			if strings.Contains(string(b), w) {
				if found = true; info.Mode().Perm() != 0o600 {
					m.t.Errorf("%s holds a password and has mode %o", path, info.Mode().Perm())
				}
			}
		}
		return err
	})
	if err != nil || !found {
		m.t.Errorf("the password was not found (%v)", err)
	}
}

func TestEnvironmentOfHalfAnInstall(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	before := m.files()
	m.set("fail", "enable")
	if _, err := s.Install(t.Context(), InstallOptions{Environment: corporate}); err == nil {
		t.Error("no error")
	}
	if after := m.files(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	m.set("fail", "")
	if _, err := s.Install(t.Context(), InstallOptions{Environment: corporate}); err != nil {
		t.Fatal(err)
	}
	m.set("fail", "daemon-reload")
	if _, err := s.Install(t.Context(), InstallOptions{Environment: Environment{"HTTP_PROXY": "http://other"}}); err == nil {
		t.Error("no error")
	}
	if got, err := s.Environment(); err != nil || !maps.Equal(got, corporate) {
		t.Errorf("the old environment is not back: %v %v", got, err)
	}
}

// Files of the user's own beside the unit stay as they are.
func TestDropInsOfTheUser(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	dir := filepath.Join(m.host.Home, ".config/systemd/user/claudemesh-daemon.service.d")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "override.conf")
	if err := os.WriteFile(own, []byte("[Service]\nEnvironment=HTTPS_PROXY=http://mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := m.files()
	if _, err := s.Install(t.Context(), InstallOptions{Environment: corporate}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := m.files(); after != before {
		t.Errorf("before\n%safter\n%s", before, after)
	}
	if err := os.Rename(own, filepath.Join(dir, "10-claudemesh-environment.conf")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(t.Context(), InstallOptions{Environment: corporate}); !errors.Is(err, ErrForeign) {
		t.Errorf("over a file that is not ours: %v", err)
	}
}

func TestEnvironmentWithLineBreak(t *testing.T) {
	m := newMachine(t, "linux")
	before := m.files()
	_, err := m.daemon().Install(t.Context(), InstallOptions{Environment: Environment{"HTTPS_PROXY": "http://a\nExecStart=/bin/evil"}})
	if r, ok := errors.AsType[*Refusal](err); !ok || !r.Final || !strings.Contains(r.Reason, "HTTPS_PROXY") {
		t.Errorf("%v", err)
	}
	if after := m.files(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
}

func TestUnquote(t *testing.T) {
	for _, s := range []string{"", "a b", `a%b\{"`, "tab\té\x7f", `\x41`, `%%`, `$HOME`} {
		if got := unquote(quote(s)); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
	for _, s := range []string{"", `"`, "bare", `"open`} {
		if got := unquote(s); got != "" {
			t.Errorf("unquote(%s) = %q", s, got)
		}
	}
}
