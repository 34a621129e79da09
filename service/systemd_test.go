//go:build unix

package service

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUserUnit(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	m.wantState(s, NotInstalled, "")
	before := m.files()
	if Managed(m.host, m.home()) != "" {
		t.Error("managed before")
	}
	done, err := s.Install(t.Context(), InstallOptions{})
	if err != nil || done.Replaced || done.Lingers || len(done.Warnings) != 0 {
		t.Fatalf("%+v %v", done, err)
	}
	want := `systemctl --no-ask-password --user show --property Version
systemctl enable --user claudemesh-daemon.service
systemctl daemon-reload --user
systemctl --no-ask-password --user reset-failed claudemesh-daemon
systemctl --no-ask-password --user start claudemesh-daemon
`
	if got := m.calls(); got != want {
		t.Errorf("calls\n%swant\n%s", got, want)
	}
	b, err := os.ReadFile(filepath.Join(m.host.Home, ".config/systemd/user/claudemesh-daemon.service"))
	if err != nil || !strings.HasPrefix(string(b), renderDaemonUnit(s.spec)) {
		t.Errorf("unit %v\n%s", err, b)
	}
	if Managed(m.host, m.home()) != "systemd" || Managed(m.host, m.home()+"2") != "" {
		t.Error("managed is wrong")
	}
	if ok, err := s.Current(); !ok || err != nil {
		t.Errorf("not current: %v", err)
	}
	m.wantState(s, Running, "active")

	// A newer binary at another place.
	newer := Daemon(m.host, "/usr/bin/claudemesh", m.home())
	if ok, _ := newer.Current(); ok {
		t.Error("another binary is current")
	}
	if done, err = newer.Install(t.Context(), InstallOptions{}); err != nil || !done.Replaced {
		t.Fatalf("%+v %v", done, err)
	}
	if got := m.calls(); !strings.HasSuffix(got, "restart claudemesh-daemon\n") {
		t.Errorf("calls\n%s", got)
	}
	if ok, _ := newer.Current(); !ok {
		t.Error("replaced, and not current")
	}
	if _, err := newer.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := m.files(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	if _, err := s.Uninstall(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("twice: %v", err)
	}
}

func TestHalfAnInstall(t *testing.T) {
	for _, verb := range []string{"enable", "daemon-reload", "enable disable"} {
		t.Run(verb, func(t *testing.T) {
			m := newMachine(t, "linux")
			before := m.files()
			m.set("fail", verb)
			if _, err := m.daemon().Install(t.Context(), InstallOptions{Linger: true}); err == nil {
				t.Error("no error")
			}
			if after := m.files(); after != before {
				t.Errorf("left behind:\n%s", after)
			}
			if m.host.Lingers() {
				t.Error("lingers")
			}
		})
	}
	t.Run("upgrade", func(t *testing.T) {
		m := newMachine(t, "linux")
		s := m.daemon()
		if _, err := s.Install(t.Context(), InstallOptions{}); err != nil {
			t.Fatal(err)
		}
		m.set("fail", "daemon-reload")
		if _, err := Daemon(m.host, "/usr/bin/claudemesh", m.home()).Install(t.Context(), InstallOptions{}); err == nil {
			t.Error("no error")
		}
		if ok, err := s.Current(); !ok {
			t.Errorf("the old unit is not back: %v", err)
		}
		m.set("fail", "disable")
		if _, err := s.Uninstall(t.Context()); err != nil || strings.Contains(m.files(), "claudemesh") {
			t.Errorf("with a manager that does not disable: %v\n%s", err, m.files())
		}
	})
}

func TestUnitThatDoesNotStart(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	before := m.files()
	m.set("fail", "start")
	m.set("state", "ActiveState=failed\nSubState=failed\nResult=start-limit-hit\nExecMainCode=1\nExecMainStatus=10\nNRestarts=30\n")
	m.set("journal", "claudemesh: the disk is full of herring\n")
	_, err := s.Install(t.Context(), InstallOptions{Linger: true})
	var start *StartError
	if !errors.As(err, &start) || !strings.HasSuffix(err.Error(), "start-limit-hit, last exit code 10, restarted 30 times; it said: the disk is full of herring") {
		t.Fatalf("error %v", err)
	}
	if start.Back != nil || m.files() != before || m.host.Lingers() {
		t.Errorf("not as before: %v\n%s", start.Back, m.files())
	}

	// One that worked comes back when its successor does not start.
	m.set("fail", "")
	if _, err := s.Install(t.Context(), InstallOptions{Environment: corporate}); err != nil {
		t.Fatal(err)
	}
	m.calls()
	m.set("fail", "restart")
	newer := Daemon(m.host, "/usr/bin/claudemesh", m.home())
	if _, err := newer.Install(t.Context(), InstallOptions{Linger: true}); !errors.As(err, &start) {
		t.Errorf("error %v", err)
	}
	if ok, err := s.Current(); !ok || err != nil || m.host.Lingers() || strings.Count(m.calls(), " restart ") != 2 {
		t.Errorf("the old service is not back, or was not started again: %v", err)
	}
	m.set("fail", "")
	if _, err := s.Uninstall(t.Context()); err != nil || m.files() != before {
		t.Errorf("uninstall: %v\n%s", err, m.files())
	}
}

func TestForeignUnit(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	if err := os.MkdirAll(filepath.Dir(s.Path()), 0o700); err != nil {
		t.Fatal(err)
	}
	theirs := "[Service]\nExecStart=/usr/bin/node claudemesh\n"
	if err := os.WriteFile(s.Path(), []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(t.Context(), InstallOptions{Force: true}); !errors.Is(err, ErrForeign) {
		t.Errorf("install: %v", err)
	}
	if _, err := s.Uninstall(t.Context()); !errors.Is(err, ErrForeign) {
		t.Errorf("uninstall: %v", err)
	}
	if b, _ := os.ReadFile(s.Path()); string(b) != theirs {
		t.Errorf("changed to\n%s", b)
	}
	if by := Managed(m.host, m.home()); by != "" {
		t.Errorf("managed by %q", by)
	}
}

func TestLinger(t *testing.T) {
	m := newMachine(t, "linux")
	s := m.daemon()
	done, err := s.Install(t.Context(), InstallOptions{Linger: true})
	if err != nil || !done.Lingers || !strings.Contains(s.Returns(), "machine starts") {
		t.Fatalf("%+v %v", done, err)
	}
	if ok, err := s.Current(); !ok {
		t.Errorf("not current: %v", err)
	}
	if _, err := s.Install(t.Context(), InstallOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Uninstall(t.Context()); err != nil || m.host.Lingers() {
		t.Errorf("what the install turned on stays on: %v", err)
	}
	if err := os.WriteFile(m.host.Root+"/var/lib/systemd/linger/alice", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(t.Context(), InstallOptions{Linger: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Uninstall(t.Context()); err != nil || !m.host.Lingers() {
		t.Errorf("what was on before is off: %v", err)
	}
	m.set("fail", "enable-linger")
	os.Remove(m.host.Root + "/var/lib/systemd/linger/alice")
	if _, err := s.Install(t.Context(), InstallOptions{Linger: true}); err == nil || !strings.Contains(err.Error(), "sudo loginctl enable-linger alice") {
		t.Errorf("error %v", err)
	}
	if Managed(m.host, m.home()) != "" {
		t.Error("installed without what was asked for")
	}
}

func TestShowOfSystemctl(t *testing.T) {
	for _, c := range []struct {
		out    string
		state  State
		pid    int
		detail string
	}{
		{"LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\nMainPID=42\nExecMainStatus=0\nNRestarts=0\nStatusText=serving", Running, 42, "active (running): serving"},
		{"ActiveState=activating\nSubState=auto-restart\nResult=signal\nMainPID=0\nExecMainCode=2\nExecMainStatus=9\nNRestarts=1", Starting, 0, "activating (auto-restart), signal, last signal 9, restarted 1 times"},
		{"ActiveState=inactive\nSubState=dead\nResult=success\nStatusText=serving", Stopped, 0, "inactive (dead)"},
		{"LoadState=not-found\nActiveState=inactive\nSubState=dead", Stopped, 0, "inactive (dead), not-found"},
		{"ActiveState=deactivating\nSubState=stop-sigterm", Stopped, 0, "deactivating (stop-sigterm)"},
	} {
		if got := readShow(c.out); got.State != c.state || got.PID != c.pid || got.Detail != c.detail {
			t.Errorf("%q: %+v", c.out, got)
		}
	}
}
