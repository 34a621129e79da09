package mcp

import (
	"context"
	"io"
	"syscall"
	"time"
)

// How often the reader is looked at: a reader that waits takes what it gets within microseconds.
const (
	drainFirst = 100 * time.Microsecond
	drainMost  = 10 * time.Millisecond
)

// Drained waits until the reader of w has taken everything that was written to it, and reports whether it did before ctx
// ended. A write into a pipe or a socket succeeds while nobody reads, so a successful write alone proves nothing. Where the
// system does not tell (a file, a terminal, a system other than Linux) it has to do.
func Drained(ctx context.Context, w io.Writer) bool {
	conn, ok := w.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	for pause := drainFirst; ; pause = min(2*pause, drainMost) {
		left, gone := 0, false
		if raw.Control(func(fd uintptr) { left, gone = unread(fd) }) != nil {
			return false // closed by us
		}
		if gone || left == 0 {
			return !gone
		}
		if !sleep(ctx, pause) {
			return false
		}
	}
}
