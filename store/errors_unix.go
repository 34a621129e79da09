//go:build !windows

package store

import (
	"errors"
	"fmt"
	"syscall"
)

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// mapLockError gives the errors of flock(2) on a file system that has none of
// its own a sentinel of ours.
func mapLockError(err error) error {
	for _, no := range []error{syscall.ENOLCK, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: %w", ErrNoLocks, err)
		}
	}
	return err
}
