package recall

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/recall/source"
	"github.com/claudemesh/claudemesh/recall/words"
)

// put stores a redacted episode. One with the same key is replaced.
func put(tx *sql.Tx, e *source.Episode, removed int) error {
	if err := removeKey(tx, e.Key); err != nil {
		return err
	}
	files := strings.Join(e.Files, "\n")
	ended := e.End
	if ended.IsZero() {
		ended = e.Start
	}
	res, err := tx.Exec(`INSERT INTO episode (key, agent, session, sub, dir, branch, kind, secondhand, begun, ended, prompt, text, code, output, files,
		removed, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, e.Key, e.Agent, e.Session, e.Sub, e.Dir, e.Branch, string(e.Kind),
		e.Secondhand, e.Start.UnixMilli(), ended.UnixMilli(), e.Prompt, e.Text, e.Code, e.Output, files, removed, packRecords(e.Records))
	if err != nil {
		return err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	_, err = tx.Exec("INSERT INTO words (rowid, prompt, text, code, output, place) VALUES (?, ?, ?, ?, ?, ?)", id,
		words.Join(e.Prompt), words.Join(e.Text), words.Join(e.Code), words.Join(e.Output), words.Join(place(e.Dir, e.Branch, files)))
	if err != nil {
		return err
	}
	for _, r := range e.Records {
		if _, err := tx.Exec("INSERT OR REPLACE INTO record VALUES (?, ?)", int64(r), id); err != nil {
			return err
		}
	}
	return nil
}

// place is what says where an episode happened: the last two parts of the directory, the branch, the files.
func place(dir, branch, files string) string {
	parts := strings.Split(strings.Trim(strings.ReplaceAll(dir, `\`, "/"), "/"), "/")
	if len(parts) > 2 {
		parts = parts[len(parts)-2:]
	}
	return strings.Join(parts, " ") + " " + branch + "\n" + files
}

func packRecords(list []uint64) []byte {
	b := make([]byte, 0, 8*len(list))
	for _, r := range list {
		b = binary.BigEndian.AppendUint64(b, r)
	}
	return b
}

func unpackRecords(b []byte) []uint64 {
	var list []uint64
	for ; len(b) >= 8; b = b[8:] {
		list = append(list, binary.BigEndian.Uint64(b))
	}
	return list
}

func removeKey(tx *sql.Tx, key string) error {
	var id int64
	err := tx.QueryRow("SELECT id FROM episode WHERE key = ?", key).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return remove(tx, id)
}

// remove takes an episode out of the index. Its records are free to be indexed again.
func remove(tx *sql.Tx, id int64) error {
	var records []byte
	if err := tx.QueryRow("SELECT records FROM episode WHERE id = ?", id).Scan(&records); err != nil {
		return err
	}
	for _, r := range unpackRecords(records) {
		if _, err := tx.Exec("DELETE FROM record WHERE hash = ? AND episode = ?", int64(r), id); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("DELETE FROM words WHERE rowid = ?", id); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM episode WHERE id = ?", id)
	return err
}

// clean redacts all texts of e in place and returns how many secrets were taken out.
func (m *Memory) clean(e *source.Episode) int {
	n := 0
	for _, field := range []*string{&e.Prompt, &e.Text, &e.Code, &e.Output, &e.Branch} {
		var k int
		*field, k = m.redact.Text(*field)
		n += k
	}
	return n + m.redact.Texts(e.Files)
}

// expire removes what is older than the memory keeps, at most limit episodes at once. Notes stay.
func (m *Memory) expire(ctx context.Context, limit int) error {
	before := m.opts.Now().Add(-m.opts.Keep).UnixMilli()
	err := m.change(ctx, func(tx *sql.Tx) error {
		return removeWhere(tx, "ended < ? AND kind <> 'note' LIMIT ?", before, limit)
	})
	if err != nil {
		return fmt.Errorf("expire episodes: %w", err)
	}
	return nil
}

// removeWhere removes the episodes that a condition selects.
func removeWhere(tx *sql.Tx, where string, args ...any) error {
	ids, err := selectIDs(tx, where, args...)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := remove(tx, id); err != nil {
			return err
		}
	}
	return nil
}

func selectIDs(tx *sql.Tx, where string, args ...any) ([]int64, error) {
	rows, err := tx.Query("SELECT id FROM episode WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
