//go:build !windows

package client

import (
	"errors"
	"io/fs"
	"syscall"
)

// isAbsent reports that nobody listens: no socket, or one whose owner is gone.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOTDIR)
}
