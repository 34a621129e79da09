package daemon

import (
	"net"
	"os"
)

// bind makes a socket at path, in place of one that a dead daemon left: the caller holds the store, so no living one
// listens there. Who may open it follows from the access list of the home, which is in the user's profile.
func bind(path string) (*net.UnixListener, error) {
	if err := removeFile(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	return ln, nil
}

// shortDir makes a private directory for the socket of a home whose path is too long for one.
func shortDir() (string, error) { return os.MkdirTemp("", "cm-") }
