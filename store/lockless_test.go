//go:build unix

package store

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
)

func TestFileSystemsWithoutLocks(t *testing.T) {
	for _, errno := range []error{syscall.ENOLCK, syscall.ENOSYS, syscall.EOPNOTSUPP} {
		if err := mapLockError(fmt.Errorf("open: %w", errno)); !errors.Is(err, ErrNoLocks) || !errors.Is(err, errno) {
			t.Errorf("%v became %v", errno, err)
		}
	}
	for _, other := range []error{nil, ErrLocked, syscall.EACCES} {
		if err := mapLockError(other); err != other {
			t.Errorf("%v became %v", other, err)
		}
	}
}
