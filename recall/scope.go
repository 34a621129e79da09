package recall

import (
	"context"
	"encoding/json"
	"strings"
)

// scope is the part of a memory that a query may see. Words are weighed by how frequent they are in
// it, so an answer tells nothing about what lies outside.
type scope struct {
	n     int    // episodes in it
	all   int    // in the whole memory
	where string // condition on table episode; empty: everything
	args  []any
}

func (m *Memory) scope(ctx context.Context, q *Query) (*scope, error) {
	sc := &scope{}
	if err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM episode").Scan(&sc.all); err != nil || sc.all == 0 {
		return sc, err
	}
	var parts []string
	add := func(part string, args ...any) {
		parts, sc.args = append(parts, part), append(sc.args, args...)
	}
	if q.Session != "" {
		add("session = ?", q.Session)
	}
	if !q.Since.IsZero() {
		add("ended >= ?", q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		add("ended < ?", q.Until.UnixMilli())
	}
	if q.Dir != "" {
		dir := strings.TrimSuffix(q.Dir, "/")
		add("(dir = ? OR substr(dir, 1, ?) = ?)", dir, len([]rune(dir))+1, dir+"/")
	}
	if q.Own {
		add("secondhand = 0")
	}
	if q.Allow != nil {
		allowed, all, err := m.allowed(ctx, q.Allow)
		if err != nil {
			return nil, err
		}
		if !all {
			add("dir IN (SELECT value FROM json_each(?))", allowed)
		}
	}
	sc.where = strings.Join(parts, " AND ")
	if sc.n = sc.all; sc.where == "" {
		return sc, nil
	}
	err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM episode WHERE "+sc.where, sc.args...).Scan(&sc.n)
	return sc, err
}

// allowed returns the directories of episodes that allow admits, as a JSON list, and whether these are all.
func (m *Memory) allowed(ctx context.Context, allow func(string) bool) (list string, all bool, err error) {
	rows, err := m.db.QueryContext(ctx, "SELECT DISTINCT dir FROM episode")
	if err != nil {
		return "", false, err
	}
	defer rows.Close()
	dirs := []string{}
	all = true
	for rows.Next() {
		var dir string
		if err := rows.Scan(&dir); err != nil {
			return "", false, err
		}
		if allow(dir) {
			dirs = append(dirs, dir)
		} else {
			all = false
		}
	}
	b, err := json.Marshal(dirs)
	if err == nil {
		err = rows.Err()
	}
	return string(b), all, err
}

// maxCounted is how many episodes of a token are looked at one by one. The frequency of a more
// frequent one in a scope is estimated.
const maxCounted = 500

// frequency returns in how many episodes of the scope a token stands.
func (sc *scope) frequency(ctx context.Context, m *Memory, token string) (int, error) {
	df, err := m.frequency(ctx, token, sc.all)
	if err != nil || df == 0 || sc.where == "" {
		return df, err
	}
	if df > maxCounted {
		return int(float64(df) * float64(sc.n) / float64(sc.all)), nil
	}
	err = m.db.QueryRowContext(ctx, "SELECT count(*) FROM words JOIN episode ON episode.id = words.rowid WHERE words MATCH ? AND "+sc.where,
		append([]any{`"` + token + `"`}, sc.args...)...).Scan(&df)
	return df, err
}
