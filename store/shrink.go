package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// use runs f with the open file; Shrink, which exchanges it, waits. F must not use db again.
func (db *DB) use(f func(*bolt.DB) error) error {
	db.swap.RLock()
	defer db.swap.RUnlock()
	return f(db.bolt)
}

// Shrink exchanges the file for a copy without free pages. It waits for open transactions, and others wait for it; a crash
// leaves the one file or the other, whole. Where an open file cannot be renamed (Windows) it is an error, and nothing changes.
func (db *DB) Shrink() error {
	db.swap.Lock()
	defer db.swap.Unlock()
	path := db.path
	tmp := path + ".compact"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a crash
		return fmt.Errorf("shrink %s: %w", path, err)
	}
	fresh, err := bolt.Open(tmp, fileMode, boltOptions(lockTimeout, false))
	if err != nil {
		return fmt.Errorf("shrink %s: %w", path, mapError(err))
	}
	err = bolt.Compact(fresh, db.bolt, copyTx)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("shrink %s: %w", path, mapError(errors.Join(err, fresh.Close(), os.Remove(tmp))))
	}
	old := db.bolt
	db.bolt = fresh
	return errors.Join(syncDir(filepath.Dir(path)), old.Close())
}
