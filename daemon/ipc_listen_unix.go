//go:build !windows

package daemon

import (
	"net"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/daemon/config"
)

// bind makes a socket at path that nobody else could ever open, in place of one that a dead daemon left: the caller holds
// the store, so no living one listens there. The socket gets its mode under another name and then its own.
func bind(path string) (*net.UnixListener, error) {
	temp := filepath.Join(filepath.Dir(path), "d.new")
	if err := removeFile(temp); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: temp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(temp, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		ln.Close()
		os.Remove(temp)
		return nil, err
	}
	return ln, nil
}

// shortDir makes a private directory for the socket of a home whose path is too long for one.
func shortDir() (string, error) {
	dir, err := os.MkdirTemp("", "cm-")
	if err == nil && len(filepath.Join(dir, "daemon.sock")) > config.MaxSocketPath {
		os.Remove(dir)
		dir, err = os.MkdirTemp("/tmp", "cm-")
	}
	return dir, err
}
