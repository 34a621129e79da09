package store

import bolt "go.etcd.io/bbolt"

// commit is one closure waiting for the writer.
type commit struct {
	fn   func(*Tx) error
	done chan error // one slot
}

// Commit runs fn together with the others that wait, in one transaction, and
// returns when it is on disk. Order follows the calls. When one of a batch
// fails, the batch is rolled back and each runs again alone, so fn may run
// twice and must set whatever it returns anew each time. It must not call
// Commit, Update or Close.
func (db *DB) Commit(fn func(*Tx) error) error {
	c := &commit{fn: fn, done: make(chan error, 1)}
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return ErrClosed
	}
	db.waiting = append(db.waiting, c)
	db.mu.Unlock()
	db.wakeWriter()
	return <-c.done
}

func (db *DB) wakeWriter() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// writeLoop takes what queued during the last fsync; it never waits to collect
// more. It ends when the DB is closed and nothing waits.
func (db *DB) writeLoop() {
	defer close(db.done)
	for range db.wake {
		db.mu.Lock()
		batch, closed := db.waiting, db.closed
		db.waiting = nil
		db.mu.Unlock()
		db.commitBatch(batch)
		if closed {
			return
		}
	}
}

func (db *DB) commitBatch(batch []*commit) {
	if len(batch) == 0 {
		return
	}
	err := db.use(func(b *bolt.DB) error {
		return b.Update(func(tx *bolt.Tx) error {
			t := &Tx{tx: tx}
			for _, c := range batch {
				if err := c.fn(t); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err == nil || len(batch) == 1 {
		for _, c := range batch {
			c.done <- mapError(err)
		}
		return
	}
	for _, c := range batch {
		c.done <- db.Update(c.fn)
	}
}
