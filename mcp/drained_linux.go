package mcp

import "golang.org/x/sys/unix"

// unread returns how many bytes of what was written to fd nobody has read, and whether the reader went away before it read
// them all. What is neither a pipe nor a socket has no reader to wait for.
func unread(fd uintptr) (left int, gone bool) {
	var st unix.Stat_t
	if unix.Fstat(int(fd), &st) != nil {
		return 0, false
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		if left, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ); err != nil {
			return 0, false
		}
		return left, left > 0 && readerLeft(int(fd))
	case unix.S_IFSOCK:
		if code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
			return 0, true // a peer that closes with something unread resets the connection
		}
		if left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			return 0, false
		}
	}
	return left, false
}

// readerLeft reports whether nobody can read from a pipe any more.
func readerLeft(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&unix.POLLERR != 0
}
