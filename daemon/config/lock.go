package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/protocol"
)

// ErrLocked is returned by TryLock when another process, or another caller in this one, holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock is an advisory lock, free again when its holder unlocks or dies however it dies. The file stays: removing a lock
// file lets two holders in.
type Lock struct{ f *os.File }

// Lock waits for the lock of that name, a file <name>.lock in the home.
func (h Home) Lock(name string) (*Lock, error) { return h.lock(name, true) }

// TryLock is Lock without the wait: ErrLocked.
func (h Home) TryLock(name string) (*Lock, error) { return h.lock(name, false) }

func (h Home) lock(name string, wait bool) (*Lock, error) {
	f, err := os.OpenFile(filepath.Join(h.dir, name+".lock"), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if err := lockFile(f, wait); err != nil {
		f.Close()
		if lockless(err) {
			return nil, NoLocks(h.dir, err)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return &Lock{f: f}, nil
}

// NoLocks is the refusal of a home on a file system without locks, and the way out.
func NoLocks(dir string, cause error) error {
	return protocol.Refuse(protocol.CodeNotSupported, "the file system of %s has no file locks, without which two daemons would write one store: %v", dir, cause).
		WithHint("keep the home on a local disk: export %s=/var/lib/claudemesh-$USER, or mount an NFS with local_lock=flock", EnvDir)
}

// Unlock frees the lock.
func (l *Lock) Unlock() { l.f.Close() }
