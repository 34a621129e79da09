package recall

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/claudemesh/claudemesh/recall/redact"
	"github.com/claudemesh/claudemesh/recall/source"
)

// Options of a memory. The zero value works.
type Options struct {
	Sources []source.Source  // whose recordings are read
	Keep    time.Duration    // how long episodes are kept; zero means a year
	Now     func() time.Time // zero means time.Now

	// Mail returns the messages that the user has received and seen. Nil: there are none.
	Mail func(ctx context.Context) ([]Mail, error)
}

// Memory is an open memory.
type Memory struct {
	opts    Options
	db      *sql.DB
	isKnown *sql.Stmt // does another episode than ?2 have record ?1, or was it forgotten
	counted *sql.Stmt // in how many episodes token ?1 stands
	known   *redact.Known
	redact  *redact.Redactor
	key     []byte // of the fingerprints

	write sync.Mutex // serialises what changes the index

	mu        sync.Mutex
	common    map[string]int // in how many episodes a token stands, for frequent tokens
	commonFor int            // number of episodes when common was emptied last
}

// Open opens the memory in the file at path and makes it where it is missing. The file is readable
// for its owner only.
func Open(path string, opts Options) (*Memory, error) {
	if opts.Keep == 0 {
		opts.Keep = 365 * 24 * time.Hour
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := private(path); err != nil {
		return nil, fmt.Errorf("open memory: %w", err)
	}
	q := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, fmt.Errorf("open memory: %w", err)
	}
	db.SetMaxOpenConns(4)
	key, err := fingerprintKey(path)
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("open memory: %w", err)
	}
	m := &Memory{opts: opts, db: db, key: key, common: map[string]int{}}
	if err := m.load(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open memory: %w", err)
	}
	return m, nil
}

// private makes the file with mode 0600 before SQLite does with another one.
func private(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (m *Memory) load() error {
	if _, err := m.db.Exec(schema); err != nil {
		return err
	}
	var err error
	m.isKnown, err = m.db.Prepare(`SELECT EXISTS (SELECT 1 FROM record WHERE hash = ?1 AND episode <> ?2) OR EXISTS (SELECT 1 FROM forgotten WHERE hash = ?1)`)
	if err != nil {
		return err
	}
	if m.counted, err = m.db.Prepare("SELECT coalesce(sum(doc), 0) FROM vocabulary WHERE term = ?"); err != nil {
		return err
	}
	m.known = redact.NewKnown(m.key)
	m.redact = redact.New(m.known)
	rows, err := m.db.Query("SELECT mac, length FROM secret")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var mac []byte
		var f redact.Fingerprint
		if err := rows.Scan(&mac, &f.Length); err != nil {
			return err
		}
		if copy(f.MAC[:], mac) == len(f.MAC) {
			m.known.Add(f)
		}
	}
	return rows.Err()
}

// Close closes the memory. A search that runs is ended first.
func (m *Memory) Close() error { return m.db.Close() }

// AddSecrets makes the memory redact the values with these fingerprints from now on.
func (m *Memory) AddSecrets(ctx context.Context, list ...redact.Fingerprint) error {
	for _, f := range m.known.Add(list...) {
		if _, err := m.db.ExecContext(ctx, "INSERT OR IGNORE INTO secret VALUES (?, ?)", f.MAC[:], f.Length); err != nil {
			return fmt.Errorf("keep a fingerprint: %w", err)
		}
	}
	return nil
}

// Redact returns text as the memory would store it, and how many secrets were taken out.
func (m *Memory) Redact(text string) (string, int) { return m.redact.Text(text) }

// change runs f in a transaction; all changes of the index go through it.
func (m *Memory) change(ctx context.Context, f func(tx *sql.Tx) error) error {
	m.write.Lock()
	defer m.write.Unlock()
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Stats is what a memory holds.
type Stats struct {
	Episodes, Notes, Sessions, Files int
	Bytes                            int64 // of the index on disk
	Read                             int64 // bytes of recordings that were read
	Secrets                          int64 // removed from what is stored
	Oldest, Newest                   time.Time
	Problems                         []Problem
}

// Problem is a recording that could not be read.
type Problem struct{ Path, Reason string }

// Episodes counts what can be found.
func (m *Memory) Episodes(ctx context.Context) (n int, err error) {
	err = m.db.QueryRowContext(ctx, "SELECT count(*) FROM episode").Scan(&n)
	return n, err
}

// Stats counts what the memory holds.
func (m *Memory) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	var oldest, newest int64
	err := m.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(kind = 'note'), 0), count(DISTINCT nullif(session, '')), coalesce(sum(removed), 0),
		coalesce(min(ended), 0), coalesce(max(ended), 0) FROM episode`).Scan(&s.Episodes, &s.Notes, &s.Sessions, &s.Secrets, &oldest, &newest)
	if err == nil {
		err = m.db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(offset), 0) FROM file").Scan(&s.Files, &s.Read)
	}
	if err == nil {
		err = m.db.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()").Scan(&s.Bytes)
	}
	if err != nil {
		return s, fmt.Errorf("count the memory: %w", err)
	}
	if s.Episodes > 0 {
		s.Oldest, s.Newest = time.UnixMilli(oldest), time.UnixMilli(newest)
	}
	s.Problems, err = m.problems(ctx)
	return s, err
}

func (m *Memory) problems(ctx context.Context) ([]Problem, error) {
	rows, err := m.db.QueryContext(ctx, "SELECT path, problem FROM file WHERE problem <> '' ORDER BY path LIMIT 20")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Problem
	for rows.Next() {
		var p Problem
		if err := rows.Scan(&p.Path, &p.Reason); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// below reports whether path is dir or lies in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
