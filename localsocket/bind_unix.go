//go:build !windows

package localsocket

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// bind makes a socket at path that nobody else could ever open, in place of one that a dead process left. The socket gets its
// mode under another name and then its own.
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
		return nil, errors.Join(err, ln.Close(), os.Remove(temp))
	}
	return ln, nil
}

// shortDirs are where a directory for a socket may be made: in the user's runtime directory, which no program cleans while he is
// logged in, else where temporary files are.
func shortDirs() []string {
	return []string{cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), fmt.Sprintf("/run/user/%d", os.Getuid())), os.TempDir(), "/tmp"}
}

// private tells whether dir lets in only the user to whom home belongs, or root. Anybody may make a directory among the temporary files,
// also under a name that one of ours had.
func private(dir, home string) bool {
	d, err := os.Lstat(dir)
	h, homeErr := os.Stat(home)
	return errors.Join(err, homeErr) == nil && d.IsDir() && d.Mode().Perm()&0o077 == 0 && (owner(d) == owner(h) || owner(d) == 0)
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }
