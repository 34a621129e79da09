//go:build linux

package daemon

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestMayConnect(t *testing.T) {
	for _, test := range []struct {
		peer uint32
		own  int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {65534, 0, false}, {0, 0, true}} {
		if got := mayConnect(test.peer, test.own); got != test.want {
			t.Errorf("%d to the daemon of %d: %v", test.peer, test.own, got)
		}
	}
}

const envSocket = "CM_TEST_SOCKET"

// TestAsForeigner is the other process of TestForeignUser: it succeeds when the daemon hangs up on it.
func TestAsForeigner(t *testing.T) {
	path := os.Getenv(envSocket)
	if path == "" {
		t.Skip("runs in a process of its own")
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	b, err := io.ReadAll(conn)
	if len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("answered %q, %v", b, err)
	}
}

// Another user gets no answer, even where the modes were opened by mistake.
func TestForeignUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	d := startDaemon(t, newHome(t))
	if err := errors.Join(os.Chmod(d.home.Dir(), 0o755), os.Chmod(d.home.SocketFile(), 0o666)); err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(d.home.Dir(), "foreigner") // go test keeps its binaries where nobody else may look
	if err := errors.Join(os.WriteFile(copied, exe, 0o755), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "-test.run=^TestAsForeigner$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = []string{envSocket + "=" + d.home.SocketFile()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
