//go:build unix

package files

import "golang.org/x/sys/unix"

// nonBlocking has a pipe without a writer not hold up who opens it.
const nonBlocking = unix.O_NONBLOCK
