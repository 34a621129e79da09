package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"
)

var (
	// ErrLocked means that another process has the file open.
	ErrLocked = errors.New("another process holds the lock")
	// ErrNewer means that a later version wrote the file. It was not touched.
	ErrNewer = errors.New("written by a newer version")
	// ErrFull means that the disk or the quota has no room. Nothing of the
	// refused commit remains; it may be tried again.
	ErrFull = errors.New("no space left on the disk")
	// ErrNoLocks means that the file system has no file locks, without which
	// two processes could write one file.
	ErrNoLocks = errors.New("the file system has no file locks")
	// ErrReadOnly means that the file system, the file or the transaction
	// takes no writes.
	ErrReadOnly = errors.New("read-only")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store closed")
	// ErrPoisoned means that a write or fsync of the journal went wrong: what
	// the disk holds of it is unknown, so it takes no more records until it is
	// opened again.
	ErrPoisoned = errors.New("journal stopped after a disk error")
	// ErrCorrupt means that bytes which were on disk have changed or are gone.
	ErrCorrupt = errors.New("corrupt")
	// ErrTooLarge is returned for a record of more than MaxRecord bytes.
	ErrTooLarge = errors.New("record too large")
	// ErrGone is returned by Journal.ReadAt when the segment was released.
	ErrGone = errors.New("segment released")
)

// Classify gives an error of the disk that another package met the sentinel that it would have here: ErrFull or ErrReadOnly.
func Classify(err error) error { return mapError(err) }

// mapError gives the errors that callers act on a sentinel of ours, keeping
// the cause in the text.
func mapError(err error) error {
	var sentinel error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull), errors.Is(err, ErrReadOnly):
		return err
	case isFull(err):
		sentinel = ErrFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, bolterrors.ErrDatabaseReadOnly),
		errors.Is(err, bolterrors.ErrTxNotWritable), errors.Is(err, fs.ErrPermission):
		sentinel = ErrReadOnly
	case errors.Is(err, bolterrors.ErrTimeout):
		sentinel = ErrLocked
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		sentinel = ErrClosed
	default:
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}
