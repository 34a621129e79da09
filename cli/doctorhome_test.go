//go:build linux

package cli

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/protocol"
)

// asNobody calls f on a thread that is a user who owns nothing; the thread ends with it.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f() // does not own root's files either
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Error(errno)
			return
		}
		f()
	}()
	<-done
}

// A home that cannot be made is a problem before the first verb fails.
func TestDoctorOfAHomeThatCannotBeMade(t *testing.T) {
	base, err := os.MkdirTemp("/tmp", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	file := filepath.Join(base, "file")
	for _, err := range []error{os.WriteFile(file, nil, 0o600), os.Chmod(base, 0o555)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{
		filepath.Join(base, ".claudemesh"):           levelProblem,
		filepath.Join(base, "a", "b", ".claudemesh"): levelProblem,
		filepath.Join(file, ".claudemesh"):           levelProblem,
		"/tmp/claudemesh-test-absent":                levelOK,
	} {
		e := &examination{call: &call{app: newApp(strings.NewReader(""), io.Discard, io.Discard)}}
		asNobody(t, func() { e.homeToBe(dir) })
		if len(e.findings) != 1 || e.findings[0].Level != want {
			t.Errorf("%s: %+v, want %s", dir, e.findings, want)
		}
	}
}

// Another program on the port of the daemon's own broker is what is wrong, and not a proxy or a path on the way to it.
func TestDoctorOfATakenPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	examine := func(h protocol.Health) (bool, []finding) {
		e := &examination{call: &call{app: newApp(strings.NewReader(""), io.Discard, io.Discard)}}
		known := e.localBroker("mesh home", addr, h)
		return known, e.findings
	}
	failed := &protocol.LocalBrokerHealth{Listen: addr, Error: "listen: address already in use"}
	for name, h := range map[string]protocol.Health{"no daemon": {}, "a daemon": {PID: 7, LocalBroker: failed}} {
		known, all := examine(h)
		if !known || len(all) != 1 || all[0].Level != levelProblem || !strings.Contains(all[0].Message, "another program listens on "+addr) {
			t.Errorf("%s: %+v", name, all)
		}
	}
	if known, all := examine(protocol.Health{PID: 7, LocalBroker: &protocol.LocalBrokerHealth{Listen: addr}}); known || len(all) > 0 {
		t.Errorf("its own broker: %+v", all)
	}
	ln.Close()
	if known, all := examine(protocol.Health{}); !known || all[0].Level != levelOK {
		t.Errorf("nobody there: %+v", all)
	}
	if known, all := examine(protocol.Health{PID: 7, LocalBroker: failed}); !known || strings.Contains(all[0].Message, "another program") {
		t.Errorf("another reason: %+v", all)
	}
}
