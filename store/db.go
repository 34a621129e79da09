package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	fileMode    = 0o600
	lockTimeout = time.Second

	metaBucket = "meta"
	schemaKey  = "schema"
)

// Options of Open; the zero value opens a file without schema or buckets.
type Options struct {
	// Timeout is how long to wait for another process to let go of the file.
	// Zero means one second.
	Timeout time.Duration

	// Migrations[i] brings a file from schema i to i+1. The schema of a file is
	// the number of migrations that it has seen; a new file runs them all. Each
	// runs in a transaction of its own and must not change once released.
	Migrations []func(*bolt.Tx) error

	// Buckets are created when missing, after the migrations.
	Buckets []string

	// ReadOnly opens an existing file beside other readers. It neither
	// migrates nor creates anything.
	ReadOnly bool
}

// DB is one bbolt file. Its methods may be called from any goroutine.
type DB struct {
	path string // as it was opened: the name of bolt is that of a copy once Shrink was here

	swap sync.RWMutex // held by Shrink while it exchanges bolt, shared by every transaction
	bolt *bolt.DB

	mu      sync.Mutex
	waiting []*commit
	closed  bool

	wake chan struct{} // one slot
	done chan struct{} // closed when the writer has ended
}

// Open opens or creates the file, which stays locked against other processes
// until Close. Its directory must exist; the file is created with mode 0600.
// Errors: ErrLocked, ErrNewer, ErrReadOnly, ErrFull.
func Open(path string, o Options) (*DB, error) {
	if o.Timeout == 0 {
		o.Timeout = lockTimeout
	}
	b, err := bolt.Open(path, fileMode, boltOptions(o.Timeout, o.ReadOnly))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, mapLockError(mapError(err)))
	}
	if err := prepare(b, o); err != nil {
		b.Close()
		return nil, fmt.Errorf("open %s: %w", path, mapError(err))
	}
	db := &DB{path: path, bolt: b, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go db.writeLoop()
	return db, nil
}

func boltOptions(timeout time.Duration, readOnly bool) *bolt.Options {
	return &bolt.Options{Timeout: timeout, ReadOnly: readOnly, NoFreelistSync: true, FreelistType: bolt.FreelistMapType}
}

// prepare checks the schema, migrates and creates buckets.
func prepare(b *bolt.DB, o Options) error {
	want := uint64(len(o.Migrations))
	have, err := schemaOf(b)
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("schema %d, this version knows %d: %w", have, want, ErrNewer)
	}
	if o.ReadOnly {
		if have < want {
			return fmt.Errorf("schema %d needs migration to %d: %w", have, want, ErrReadOnly)
		}
		return nil
	}
	for v := have; v < want; v++ {
		if err := migrate(b, v, o.Migrations[v]); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", v+1, err)
		}
	}
	return b.Update(func(tx *bolt.Tx) error {
		for _, name := range append([]string{metaBucket}, o.Buckets...) {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

func schemaOf(b *bolt.DB) (version uint64, err error) {
	err = b.View(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		if meta == nil {
			return nil
		}
		v := meta.Get([]byte(schemaKey))
		switch len(v) {
		case 0:
		case 8:
			version = binary.BigEndian.Uint64(v)
		default:
			return fmt.Errorf("schema of %d bytes: %w", len(v), ErrCorrupt)
		}
		return nil
	})
	return version, err
}

func migrate(b *bolt.DB, from uint64, step func(*bolt.Tx) error) error {
	return b.Update(func(tx *bolt.Tx) error {
		if err := step(tx); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists([]byte(metaBucket))
		if err != nil {
			return err
		}
		return meta.Put([]byte(schemaKey), binary.BigEndian.AppendUint64(nil, from+1))
	})
}

// Close finishes the commits that were accepted, waits for open transactions
// and lets go of the file. Later calls do nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	first := !db.closed
	db.closed = true
	db.mu.Unlock()
	if first {
		db.wakeWriter()
	}
	<-db.done
	return db.use(func(b *bolt.DB) error { return b.Close() })
}

// View runs fn in a read transaction, which sees one moment of the file. Never
// keep one open while waiting for a peer: a growing file waits for readers.
func (db *DB) View(fn func(*Tx) error) error {
	return mapError(db.use(func(b *bolt.DB) error {
		return b.View(func(tx *bolt.Tx) error { return fn(&Tx{tx: tx}) })
	}))
}

// Update runs fn in a transaction of its own and returns when it is on disk.
// For many small concurrent writers Commit is several times faster.
func (db *DB) Update(fn func(*Tx) error) error {
	return mapError(db.use(func(b *bolt.DB) error {
		return b.Update(func(tx *bolt.Tx) error { return fn(&Tx{tx: tx}) })
	}))
}

// Size is the length of the file in bytes. It does not shrink when rows go;
// their pages are used again.
func (db *DB) Size() (size int64, err error) {
	err = db.use(func(b *bolt.DB) error {
		return b.View(func(tx *bolt.Tx) error {
			size = tx.Size()
			return nil
		})
	})
	return size, mapError(err)
}

// WriteTo writes a consistent copy of the file while others go on writing.
func (db *DB) WriteTo(w io.Writer) (n int64, err error) {
	err = db.use(func(b *bolt.DB) error {
		return b.View(func(tx *bolt.Tx) error {
			n, err = tx.WriteTo(w)
			return err
		})
	})
	return n, mapError(err)
}

const copyTx = 4 << 20 // bytes of one transaction of a copy, which keeps its dirty pages few

// Compact writes a copy without free pages to a new file at path.
func (db *DB) Compact(path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("compact to %s: %w", path, os.ErrExist)
	}
	dst, err := bolt.Open(path, fileMode, &bolt.Options{Timeout: lockTimeout, NoFreelistSync: true})
	if err != nil {
		return fmt.Errorf("compact to %s: %w", path, mapError(err))
	}
	err = db.use(func(b *bolt.DB) error { return bolt.Compact(dst, b, copyTx) })
	err = errors.Join(err, dst.Close())
	if err != nil {
		return fmt.Errorf("compact to %s: %w", path, mapError(err))
	}
	return nil
}

// Check reads the whole file and reports every broken invariant of its pages.
func (db *DB) Check() error {
	return db.use(func(b *bolt.DB) error {
		return b.View(func(tx *bolt.Tx) error {
			var all []error
			for err := range tx.Check() {
				all = append(all, err)
			}
			return errors.Join(all...)
		})
	})
}
