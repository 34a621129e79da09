//go:build linux

// Package sockettest knocks at the sockets of package localsocket as somebody else.
package sockettest

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a user who owns nothing.
const nobody = 65534

// Foreigner asks at the socket for path as another user, after its modes and those of its directory dir were opened to
// everybody by mistake, and returns what it is answered. It skips a test that does not run as root.
func Foreigner(t testing.TB, dir, socket, path string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	for name, mode := range map[string]os.FileMode{dir: 0o755, socket: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := dialAs(nobody, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path) // the socket may be closed already
	b, _ := io.ReadAll(conn)                                                                          // ends with a reset where nobody read the request
	return string(b)
}

// dialAs connects from a thread of its own, which becomes that user and ends.
func dialAs(uid int, path string) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			err = errno
			return
		}
		conn, err = connect(path)
	}()
	<-done
	return conn, err
}

func connect(path string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return net.FileConn(f)
}
