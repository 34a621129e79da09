package localsocket

import (
	"net"
	"os"
)

// bind makes a socket at path, in place of one that a dead process left. Who may open it follows from the access list of its
// directory, which is in the user's profile.
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

func shortDirs() []string { return []string{os.TempDir()} }

// private: temporary files are in the user's profile.
func private(string, string) bool { return true }
