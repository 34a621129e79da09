package localsocket

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the user at the other end of the socket, as the kernel knows it (LOCAL_PEERCRED).
func peerUID(conn *net.UnixConn) (uid uint32, known bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, true, err
	}
	var cred *unix.Xucred
	var optErr error
	err = raw.Control(func(fd uintptr) { cred, optErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED) })
	if err != nil {
		return 0, true, err
	}
	if optErr != nil {
		return 0, true, optErr
	}
	return cred.Uid, true, nil
}
