//go:build unix

package cli

import "golang.org/x/sys/unix"

// writable asks the system whether files may be made in dir, and makes none.
func writable(dir string) error { return unix.Access(dir, unix.W_OK|unix.X_OK) }
