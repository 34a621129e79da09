package recall

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/recall/source"
)

// batch is how many episodes one transaction takes: enough to make commits cheap, few enough to let
// others write in between.
const batch = 256

// headSize is how many bytes at the start of a recording tell it from a rewritten one.
const headSize = 512

// position is how far a recording was read.
type position struct {
	size, modified int64
	offset         int64  // behind the last whole line that was read
	resume         int64  // where the last episode begins, which may go on
	open           string // key of that episode
	head           []byte // of the first bytes: their number, then their SHA-256
	skipped        int
}

// Sweep reads on in every recording that changed since it was read last, takes up mail, and removes
// what is too old. It returns the first error of the index itself; recordings that cannot be read are noted and
// skipped.
func (m *Memory) Sweep(ctx context.Context) error {
	for _, src := range m.opts.Sources {
		var changed []string
		err := src.Files(ctx, func(f source.File) error {
			pos, err := m.position(ctx, f.Path)
			if err == nil && (pos == nil || pos.size != f.Size || pos.modified != f.ModTime.UnixMilli()) {
				changed = append(changed, f.Path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("find recordings: %w", err)
		}
		for _, path := range changed {
			if err := m.read(ctx, src, path); err != nil {
				return err
			}
		}
	}
	if m.opts.Mail != nil {
		list, err := m.opts.Mail(ctx)
		if err == nil {
			err = m.syncMail(ctx, list)
		}
		if err != nil {
			return err
		}
	}
	return m.expire(ctx, 10*batch)
}

// Read reads on in one recording. A path that belongs to no source is an error.
func (m *Memory) Read(ctx context.Context, path string) error {
	for _, src := range m.opts.Sources {
		if src.Owns(path) {
			return m.read(ctx, src, path)
		}
	}
	return fmt.Errorf("%s is no recording of a known client", path)
}

func (m *Memory) read(ctx context.Context, src source.Source, path string) error {
	err := m.readFile(ctx, src, path)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the client deleted it; what was learned stays
		}
		_, err = m.db.ExecContext(ctx, `INSERT INTO file VALUES (?, 0, 0, 0, 0, '', x'', 0, ?) ON CONFLICT DO UPDATE SET problem = excluded.problem`,
			path, err.Error())
	}
	if err != nil {
		return fmt.Errorf("index %s: %w", path, err)
	}
	return nil
}

func (m *Memory) readFile(ctx context.Context, src source.Source, path string) error {
	f, err := source.Open(src.Root(), path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	pos, err := m.resume(ctx, f, path, info)
	if err != nil {
		return err
	}
	if _, err := f.Seek(pos.resume, io.SeekStart); err != nil {
		return err
	}
	in := &intake{m: m, ctx: ctx, path: path, open: pos.open, written: info.ModTime()}
	progress, err := src.Read(ctx, path, f, pos.resume, in.known, in.take)
	if err == nil {
		err = in.commit(progress)
	}
	if err != nil {
		return err
	}
	pos.size, pos.modified, pos.offset, pos.skipped = info.Size(), info.ModTime().UnixMilli(), progress.End, pos.skipped+progress.Skipped
	pos.resume = progress.End
	if in.last != "" {
		pos.open, pos.resume = in.last, in.lastFrom
	}
	return m.keep(ctx, path, pos)
}

// resume returns where to read on: at the start of the last episode, or at the start of a recording
// that was truncated or rewritten.
func (m *Memory) resume(ctx context.Context, f *os.File, path string, info fs.FileInfo) (*position, error) {
	pos, err := m.position(ctx, path)
	if err != nil {
		return nil, err
	}
	now, err := headOf(f, headSize)
	if err != nil {
		return nil, err
	}
	if pos != nil && info.Size() >= pos.offset && len(pos.head) > 0 {
		same, err := headOf(f, int(pos.head[0])<<8|int(pos.head[1]))
		if err != nil {
			return nil, err
		}
		if bytes.Equal(same, pos.head) {
			pos.head = now
			return pos, nil
		}
	}
	return &position{head: now}, nil
}

// headOf identifies the first n bytes of f, or all of it. It is a hash because recordings hold secrets.
func headOf(f *os.File, n int) ([]byte, error) {
	head := make([]byte, n)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	sum := sha256.Sum256(head[:n])
	return append([]byte{byte(n >> 8), byte(n)}, sum[:]...), nil
}

func (m *Memory) position(ctx context.Context, path string) (*position, error) {
	var p position
	err := m.db.QueryRowContext(ctx, "SELECT size, modified, offset, resume, open, head, skipped FROM file WHERE path = ?", path).
		Scan(&p.size, &p.modified, &p.offset, &p.resume, &p.open, &p.head, &p.skipped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &p, err
}

func (m *Memory) keep(ctx context.Context, path string, p *position) error {
	_, err := m.db.ExecContext(ctx, "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?, '')",
		path, p.size, p.modified, p.offset, p.resume, p.open, p.head, p.skipped)
	return err
}

// intake collects the episodes of one recording and commits them in batches.
type intake struct {
	m    *Memory
	ctx  context.Context
	path string
	open string // key of the episode that the last reading ended in: it is read again

	written time.Time // when the recording was changed last: of records that do not say when they were made

	openID   int64           // of that episode
	asked    bool            // openID is known
	mine     map[uint64]bool // records of queue
	queue    []*source.Episode
	last     string // key of the last episode of the recording
	lastFrom int64
}

// known reports whether another episode has the record, or the user made the memory forget it.
func (in *intake) known(record uint64) bool {
	if in.mine[record] {
		return true
	}
	if !in.asked {
		in.asked = true
		in.m.db.QueryRowContext(in.ctx, "SELECT id FROM episode WHERE key = ?", in.open).Scan(&in.openID) // none: 0, which is no id
	}
	var n int
	err := in.m.isKnown.QueryRowContext(in.ctx, int64(record), in.openID).Scan(&n)
	return err == nil && n > 0
}

func (in *intake) take(e *source.Episode) error {
	in.last, in.lastFrom = e.Key, e.From
	if e.End.IsZero() {
		e.Start, e.End = in.written, in.written
	}
	if in.mine == nil {
		in.mine = map[uint64]bool{}
	}
	for _, r := range e.Records {
		in.mine[r] = true
	}
	in.queue = append(in.queue, e)
	if len(in.queue) < batch {
		return nil
	}
	return in.commit(source.Progress{})
}

// commit stores what was collected. A session that turns out to be private loses what it had.
func (in *intake) commit(p source.Progress) error {
	queue := in.queue
	in.queue = nil
	if len(queue) == 0 && p.Title == "" && !p.Private && p.Foreign.IsZero() {
		return nil
	}
	removed := make([]int, len(queue))
	for i, e := range queue {
		removed[i] = in.m.clean(e)
	}
	title, _ := in.m.redact.Text(p.Title)
	err := in.m.change(in.ctx, func(tx *sql.Tx) error {
		if p.Session != "" && (p.Private || title != "") {
			if err := keepSession(tx, p.Session, title, p.Private); err != nil {
				return err
			}
		}
		if p.Session != "" && !p.Foreign.IsZero() {
			if err := taint(tx, p.Session, p.Foreign); err != nil {
				return err
			}
		}
		for i, e := range queue {
			wanted, err := wanted(tx, e)
			if err == nil && wanted {
				err = provenance(tx, e)
			}
			if err == nil && wanted {
				err = put(tx, e, removed[i])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	in.mine = nil // committed records are found in the index
	return err
}

// wanted reports whether e may be stored: neither its session is private nor its directory excluded.
func wanted(tx *sql.Tx, e *source.Episode) (bool, error) {
	var private bool
	err := tx.QueryRow("SELECT private FROM session WHERE id = ?", e.Session).Scan(&private)
	if err != nil && !errors.Is(err, sql.ErrNoRows) || private {
		return false, err
	}
	dirs, err := exclusions(tx)
	if err != nil {
		return false, err
	}
	for _, dir := range dirs {
		if below(e.Dir, dir) {
			return false, nil
		}
	}
	return true, nil
}

func keepSession(tx *sql.Tx, id, title string, private bool) error {
	_, err := tx.Exec(`INSERT INTO session (id, title, private) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET
		title = CASE WHEN ?2 = '' THEN title ELSE ?2 END, private = max(private, ?3)`, id, title, private)
	if err != nil || !private {
		return err
	}
	return removeWhere(tx, "session = ?", id)
}
