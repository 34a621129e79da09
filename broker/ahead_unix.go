//go:build unix

package broker

import (
	"io"
	"syscall"
)

// fillAhead waits for bytes and reads what is there into a borrowed buffer. While it waits it holds none.
func (c *coalescer) fillAhead() error {
	var n int
	var failed error
	err := c.raw.Read(func(fd uintptr) bool {
		buf := readAheads.Get().(*[readAhead]byte)
		for {
			n, failed = syscall.Read(int(fd), buf[:])
			if failed != syscall.EINTR {
				break
			}
		}
		if n > 0 {
			c.ahead, c.aheadBuf = buf[:n], buf
			return true
		}
		readAheads.Put(buf)
		return failed != syscall.EAGAIN
	})
	switch {
	case err != nil: // of the connection: closed, or past its deadline
		return err
	case failed != nil:
		return failed
	case n == 0:
		return io.EOF
	}
	return nil
}

const canReadAhead = true
