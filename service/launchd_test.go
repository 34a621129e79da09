//go:build unix

package service

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// agent is a daemon under the fake launchd: the test binary itself.
func (m *machine) agent() *Service {
	m.t.Helper()
	if err := os.MkdirAll(m.home(), 0o700); err != nil {
		m.t.Fatal(err)
	}
	exe, err := exec.LookPath("agent")
	if err != nil {
		m.t.Fatal(err)
	}
	s := Daemon(m.host, exe, m.home())
	m.t.Cleanup(func() { s.Stop(m.t.Context()) })
	return s
}

// exit has the agent end with that code. The file is there whole or not at all: the agent takes an empty one for 0.
func (m *machine) exit(code string) {
	m.t.Helper()
	tmp := filepath.Join(m.home(), "exit.new")
	if err := os.WriteFile(tmp, []byte(code), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(m.home(), "exit")); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) await(what string, ok func() bool) {
	m.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func (m *machine) starts() int {
	b, _ := os.ReadFile(filepath.Join(m.home(), "starts"))
	return len(b)
}

func (m *machine) wantState(s *Service, want State, words string) Status {
	m.t.Helper()
	st, err := s.Status(m.t.Context())
	if err != nil || st.State != want || !strings.Contains(st.Detail, words) {
		m.t.Fatalf("status %+v, %v; want %s with %q", st, err, want, words)
	}
	return st
}

func TestLaunchAgent(t *testing.T) {
	m := newMachine(t, "darwin")
	s := m.agent()
	m.wantState(s, NotInstalled, "")
	before := m.files()
	done, err := s.Install(t.Context(), InstallOptions{})
	if err != nil || done.Replaced {
		t.Fatalf("%+v %v", done, err)
	}
	path := filepath.Join(m.host.Home, "Library/LaunchAgents/com.claudemesh.daemon.plist")
	want := "launchctl print gui/1000\nlaunchctl enable gui/1000/com.claudemesh.daemon\nlaunchctl print gui/1000/com.claudemesh.daemon\nlaunchctl bootstrap gui/1000 " + path + "\n"
	if got := m.calls(); got != want {
		t.Errorf("calls\n%swant\n%s", got, want)
	}
	if Managed(m.host, m.home()) != "launchd" || Managed(m.host, "/elsewhere") != "" {
		t.Error("managed is wrong")
	}
	m.await("the agent starts", func() bool { return m.starts() == 1 })
	first := m.wantState(s, Running, "running")

	// Killed, it comes back; that is KeepAlive.
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	m.await("the agent is back", func() bool { return m.starts() == 2 })
	m.await("launchd says so", func() bool {
		st, err := s.Status(t.Context())
		return err == nil && st.State == Running && st.PID != first.PID && strings.Contains(st.Detail, "started 2 times")
	})

	// Over a running agent: loaded anew, once launchd is ready for that.
	m.set("busy", "")
	if done, err = s.Install(t.Context(), InstallOptions{}); err != nil || !done.Replaced {
		t.Fatalf("%+v %v", done, err)
	}
	m.await("the agent starts again", func() bool { return m.starts() == 3 })
	if got := m.calls(); !strings.Contains(got, "launchctl bootout gui/1000/com.claudemesh.daemon\n") {
		t.Errorf("calls\n%s", got)
	}

	// Stopped by hand it stays away, and starts by hand.
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.wantState(s, Stopped, "not loaded")
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.await("the agent starts by hand", func() bool { return m.starts() == 4 })

	// An end with success is an end.
	m.exit("0")
	m.await("it ended", func() bool { st, _ := s.Status(t.Context()); return st.State == Stopped })

	os.RemoveAll(m.home())
	if _, err := s.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := m.files(); after != strings.ReplaceAll(before, "\n.claudemesh", "") {
		t.Errorf("left behind:\n%s", after)
	}
	if _, err := s.Uninstall(t.Context()); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("twice: %v", err)
	}
}

func TestLaunchAgentThatFails(t *testing.T) {
	m := newMachine(t, "darwin")
	s := m.agent()
	if _, err := s.Install(t.Context(), InstallOptions{}); err != nil {
		t.Fatal(err)
	}
	m.await("the agent starts", func() bool { return m.starts() == 1 })
	m.exit("10")
	if err := os.WriteFile(logFile(m.home()), []byte("daemon on x\nclaudemesh: the disk is full of herring\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.await("launchd tells the code", func() bool {
		st, _ := s.Status(t.Context())
		return strings.HasSuffix(st.Detail, "last exit code 10; it said: the disk is full of herring") && st.State == Starting
	})
}

func TestLaunchctlRefuses(t *testing.T) {
	m := newMachine(t, "darwin")
	s := m.agent()
	before := m.files()
	m.set("fail", "enable")
	if _, err := s.Install(t.Context(), InstallOptions{}); err == nil || !strings.Contains(err.Error(), "no enable today") {
		t.Errorf("error %v", err)
	}
	if after := m.files(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	m.set("fail", "bootstrap")
	var start *StartError
	if _, err := s.Install(t.Context(), InstallOptions{}); !errors.As(err, &start) {
		t.Errorf("error %v", err)
	}
	if after := m.files(); after != before {
		t.Errorf("left behind:\n%s", after)
	}
	m.set("fail", "print")
	if _, err := s.Install(t.Context(), InstallOptions{Force: true}); err == nil || !strings.Contains(err.Error(), "no print today") {
		t.Errorf("error %v", err)
	}
}

func TestPrintOfLaunchctl(t *testing.T) {
	for _, c := range []struct {
		out    string
		state  State
		detail string
	}{
		{"x = {\n\tstate = running\n\tpid = 7\n\tlast exit code = (never exited)\n}", Running, "running"},
		{"x = {\n\tstate = not running\n\tlast exit code = 0\n}", Stopped, "not running"},
		{"x = {\n\tstate = not running\n\tlast exit code = 10\n\truns = 4\n}", Failed, "not running, last exit code 10, started 4 times"},
		{"x = {\n\tstate = spawn scheduled\n\tlast exit code = 78: EX_CONFIG\n}", Starting, "spawn scheduled, last exit code 78: EX_CONFIG"},
		{"", Stopped, ""},
	} {
		if got := readPrint(c.out); got.State != c.state || got.Detail != c.detail {
			t.Errorf("%q: %+v", c.out, got)
		}
	}
}
