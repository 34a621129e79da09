// Package localsocket protects the Unix sockets between processes of one user. File modes can be
// loosened by mistake, and root's umask may be anything, so the kernel is asked for the peer's user.
package localsocket

import (
	"net"
	"os"
)

// guarded is a listener that lets in this user and root.
type guarded struct {
	*net.UnixListener
	refused func(uid uint32, err error)
}

// Guard returns a listener whose Accept returns connections of this user and of root, and closes all others. Refused is told
// of each of these: who it was, or why that could not be found out. Where the system does not tell who is at the other end,
// the modes and access lists decide alone.
func Guard(l *net.UnixListener, refused func(uid uint32, err error)) net.Listener {
	return &guarded{l, refused}
}

// Accept implements net.Listener.
func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.AcceptUnix()
		if err != nil {
			return nil, err
		}
		uid, known, err := peerUID(conn)
		if err == nil && (!known || mayConnect(uid, os.Getuid())) {
			return conn, nil
		}
		g.refused(uid, err)
		conn.Close()
	}
}

// mayConnect reports whether a process of user peer may talk to one of user own.
func mayConnect(peer uint32, own int) bool { return peer == 0 || int64(peer) == int64(own) }
