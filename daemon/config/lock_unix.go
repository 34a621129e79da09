//go:build !windows

package config

import (
	"os"

	"golang.org/x/sys/unix"
)

func lockFile(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == unix.EWOULDBLOCK {
			return ErrLocked
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// lockless reports whether an error of flock(2) is of a file system that has no locks.
func lockless(err error) bool {
	return err == unix.ENOLCK || err == unix.ENOSYS || err == unix.ENOTSUP || err == unix.EOPNOTSUPP
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
