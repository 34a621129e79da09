package recall

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Exclude keeps sessions in dir and below out of the memory, and removes what it has of them. It
// returns how many episodes went.
func (m *Memory) Exclude(ctx context.Context, dir string) (int, error) {
	dir = filepath.Clean(dir)
	n := 0
	err := m.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT OR IGNORE INTO exclude VALUES (?, ?)", dir, m.opts.Now().UnixMilli()); err != nil {
			return err
		}
		ids, err := inDir(tx, dir)
		n = len(ids)
		for _, id := range ids {
			if err == nil {
				err = remove(tx, id)
			}
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("exclude %s: %w", dir, err)
	}
	return n, nil
}

// Include takes an exclusion back. Recordings are read again from their start at the next sweep, so
// that what was left out comes in. It reports whether dir was excluded.
func (m *Memory) Include(ctx context.Context, dir string) (bool, error) {
	var n int64
	err := m.change(ctx, func(tx *sql.Tx) error {
		res, err := tx.Exec("DELETE FROM exclude WHERE dir = ?", filepath.Clean(dir))
		if err != nil {
			return err
		}
		if n, err = res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		_, err = tx.Exec("DELETE FROM file")
		return err
	})
	if err != nil {
		return false, fmt.Errorf("include %s: %w", dir, err)
	}
	return n > 0, nil
}

// Exclusions returns the excluded directories.
func (m *Memory) Exclusions(ctx context.Context) ([]string, error) {
	var dirs []string
	err := m.change(ctx, func(tx *sql.Tx) (err error) { dirs, err = exclusions(tx); return err })
	return dirs, err
}

func exclusions(tx *sql.Tx) ([]string, error) {
	rows, err := tx.Query("SELECT dir FROM exclude ORDER BY dir")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var dirs []string
	for rows.Next() {
		var dir string
		if err := rows.Scan(&dir); err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs, rows.Err()
}

func inDir(tx *sql.Tx, dir string) ([]int64, error) {
	rows, err := tx.Query("SELECT id, dir FROM episode")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		var at string
		if err := rows.Scan(&id, &at); err != nil {
			return nil, err
		}
		if below(at, dir) {
			ids = append(ids, id)
		}
	}
	return ids, rows.Err()
}

// Private keeps a session out of the memory from now on, and removes what it has of it. It returns
// how many episodes went.
func (m *Memory) Private(ctx context.Context, session string) (int, error) {
	if session == "" {
		return 0, errors.New("no session named")
	}
	n := 0
	err := m.change(ctx, func(tx *sql.Tx) error {
		if err := tx.QueryRow("SELECT count(*) FROM episode WHERE session = ?", session).Scan(&n); err != nil {
			return err
		}
		return keepSession(tx, session, "", true)
	})
	if err != nil {
		return 0, fmt.Errorf("make the session private: %w", err)
	}
	return n, nil
}

// Forget removes the episodes with these ids for good: their records are not indexed again, also
// where another recording repeats them. It returns how many went.
func (m *Memory) Forget(ctx context.Context, ids []int64) (int, error) {
	n := 0
	err := m.change(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			var records []byte
			err := tx.QueryRow("SELECT records FROM episode WHERE id = ?", id).Scan(&records)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			for _, r := range unpackRecords(records) {
				if _, err := tx.Exec("INSERT OR IGNORE INTO forgotten VALUES (?)", int64(r)); err != nil {
					return err
				}
			}
			if err := remove(tx, id); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("forget: %w", err)
	}
	return n, nil
}

// Matching returns the ids of the episodes of a session, or of those in a directory and below.
func (m *Memory) Matching(ctx context.Context, session, dir string) ([]int64, error) {
	var ids []int64
	err := m.change(ctx, func(tx *sql.Tx) (err error) {
		if session != "" {
			ids, err = selectIDs(tx, "session = ?", session)
		} else {
			ids, err = inDir(tx, filepath.Clean(dir))
		}
		return err
	})
	return ids, err
}

// Compact gives the space of what was removed back to the file system. It may take seconds.
func (m *Memory) Compact(ctx context.Context) error {
	m.write.Lock()
	defer m.write.Unlock()
	for _, statement := range []string{"INSERT INTO words (words) VALUES ('optimize')", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := m.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("compact the memory: %w", err)
		}
	}
	return nil
}

// since returns the time of a stored moment; 0 is the zero time.
func since(ms int64) time.Time {
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
