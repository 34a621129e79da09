package localsocket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// MaxPath is the length in bytes that a socket's path may have on every system (macOS: 104 with the final zero).
const MaxPath = 103

// Listener is a listening socket that belongs at a path. Where it cannot be there, because the path is too long or the file
// system has no sockets, it is in a short private directory, and a record beside the path tells clients where: see Find.
type Listener struct {
	path    string
	refused func(uid uint32, err error)

	mu     sync.Mutex
	spot   spot
	closed bool
}

// spot is where a socket is.
type spot struct {
	ln  net.Listener
	at  string
	dir string // made for the socket; empty when it is where it belongs
}

// Listen opens the socket that belongs at path, in place of one that a dead process left, and guards it: see Guard. The caller
// holds the lock that makes it the only one.
func Listen(path string, refused func(uid uint32, err error)) (*Listener, error) {
	l := &Listener{path: path, refused: refused}
	var err error
	l.spot, err = l.open()
	return l, err
}

func (l *Listener) open() (spot, error) {
	if err := l.dropLeftovers(); err != nil {
		return spot{}, err
	}
	s := spot{at: l.path}
	ln, err := l.bindAt(s.at)
	if err != nil {
		if s.dir, s.at, ln, err = l.bindShort(err); err != nil {
			return spot{}, err
		}
		if err := writeRecord(l.path, s.at); err != nil {
			return spot{}, errors.Join(err, ln.Close(), l.remove(s))
		}
	}
	s.ln = Guard(ln, l.refused)
	return s, nil
}

func (l *Listener) bindAt(path string) (*net.UnixListener, error) {
	if len(path) > MaxPath {
		return nil, fmt.Errorf("the path %s is longer than a socket's may be", path)
	}
	return bind(path)
}

// bindShort binds in the first directory that will do.
func (l *Listener) bindShort(cause error) (dir, at string, ln *net.UnixListener, err error) {
	for _, parent := range shortDirs() {
		if dir, err = os.MkdirTemp(parent, "cm-"); err != nil {
			cause = errors.Join(cause, err)
			continue
		}
		at = filepath.Join(dir, filepath.Base(l.path))
		if ln, err = l.bindAt(at); err == nil {
			return dir, at, ln, nil
		}
		cause = errors.Join(cause, err, os.Remove(dir))
	}
	return "", "", nil, cause
}

// dropLeftovers removes what a process that died left of its socket.
func (l *Listener) dropLeftovers() error {
	if at, err := readRecord(l.path); err == nil && filepath.Base(at) == filepath.Base(l.path) && at != l.path {
		os.Remove(at)
		os.Remove(filepath.Dir(at)) // unless there is something else in it
	}
	return errors.Join(removeFile(l.path), removeFile(recordFile(l.path)))
}

// remove takes a socket away.
func (l *Listener) remove(s spot) error {
	err := removeFile(s.at)
	if s.dir != "" {
		err = errors.Join(err, removeFile(recordFile(l.path)), removeFile(s.dir))
	}
	return err
}

// Path is where the socket is.
func (l *Listener) Path() string { return l.now().at }

func (l *Listener) now() spot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.spot
}

// Mend opens the socket anew if it has vanished: programs clean up directories, and a runtime directory goes with the user's
// last session. For one goroutine.
func (l *Listener) Mend() (mended bool, err error) {
	old := l.now()
	if found, err := Find(l.path); err == nil && found == old.at && exists(old.at) {
		return false, nil
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return false, nil
	}
	fresh, err := l.open()
	if err != nil {
		return false, err
	}
	l.mu.Lock()
	if closed = l.closed; !closed {
		l.spot = fresh
	}
	l.mu.Unlock()
	if closed {
		return false, errors.Join(fresh.ln.Close(), l.remove(fresh))
	}
	return true, old.ln.Close()
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		s := l.now()
		conn, err := s.ln.Accept()
		if err == nil || l.now().ln == s.ln {
			return conn, err
		}
	}
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.now().ln.Addr() }

// Close implements net.Listener. The socket stays until Remove.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	s := l.spot
	l.mu.Unlock()
	return s.ln.Close()
}

// Remove takes the socket of a closed listener away.
func (l *Listener) Remove() error { return l.remove(l.now()) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
