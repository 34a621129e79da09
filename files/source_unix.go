//go:build unix

package files

import (
	"os"

	"golang.org/x/sys/unix"
)

// openSource opens without following a link that took the file's place, and without waiting for a pipe's writer.
func openSource(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}
