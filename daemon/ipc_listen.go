package daemon

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/localsocket"
)

// listener is the local socket. It lets in this user and root, whatever the modes say.
type listener struct {
	net.Listener
	home config.Home
	log  *slog.Logger
	path string
	dir  string // private directory made for the socket; empty when it is in the home
}

// listen opens the socket of the home. The caller holds the store.
func listen(home config.Home, log *slog.Logger) (*listener, error) {
	l := &listener{home: home, log: log, path: home.SocketFile()}
	if len(l.path) > config.MaxSocketPath {
		dropShort(home)
		dir, err := shortDir()
		if err != nil {
			return nil, err
		}
		l.dir, l.path = dir, filepath.Join(dir, "daemon.sock")
	}
	ln, err := bind(l.path)
	if err != nil {
		return nil, errors.Join(err, l.removeDir())
	}
	l.Listener = localsocket.Guard(ln, func(uid uint32, err error) { log.Warn("local socket: refused", "uid", uid, "err", err) })
	if l.dir != "" {
		if err := home.RecordSocket(l.path); err != nil {
			return nil, errors.Join(err, ln.Close(), l.remove())
		}
	}
	return l, nil
}

// dropShort removes what a daemon that died left of its short path: the socket, and the directory if it is empty then.
func dropShort(home config.Home) {
	if path := home.SocketPath(); path != home.SocketFile() && filepath.Base(path) == "daemon.sock" {
		os.Remove(path)
		os.Remove(filepath.Dir(path))
	}
}

// remove takes the socket away. The caller still holds the store, so the socket is ours.
func (l *listener) remove() error {
	err := removeFile(l.path)
	if l.dir != "" {
		err = errors.Join(err, l.home.RecordSocket(""), l.removeDir())
	}
	return err
}

func (l *listener) removeDir() error {
	if l.dir == "" {
		return nil
	}
	return os.Remove(l.dir)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
