package client

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// isAbsent reports that nobody listens: no socket, or one whose owner is gone.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, windows.WSAEINVAL)
}
