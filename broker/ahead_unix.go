//go:build unix

package broker

import (
	"io"
	"syscall"
)

// fillAhead waits for bytes and reads what is there into a borrowed buffer, behind the beginning of a frame that may be there. While
// it waits between frames it holds no buffer.
func (c *coalescer) fillAhead() error {
	var n int
	var failed error
	err := c.raw.Read(func(fd uintptr) bool {
		if c.aheadBuf == nil {
			c.aheadBuf = readAheads.Get().(*[readAhead]byte)
		}
		begun := copy(c.aheadBuf[:], c.ahead)
		for {
			n, failed = syscall.Read(int(fd), c.aheadBuf[begun:])
			if failed != syscall.EINTR {
				break
			}
		}
		c.ahead = c.aheadBuf[:begun+max(n, 0)]
		if len(c.ahead) == 0 {
			readAheads.Put(c.aheadBuf)
			c.ahead, c.aheadBuf = nil, nil
		}
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
