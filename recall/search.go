package recall

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall/source"
)

// Hit is an episode that a query found.
type Hit struct {
	ID         int64
	Score      float64 // compares hits of one query
	Coverage   float64 // 0 to 1: how much of what is rare in the query stands in the episode
	Title      string  // of the session; empty when the client gave none
	Agent      string
	Session    string
	Sub        string
	Dir        string
	Branch     string
	Kind       source.Kind
	Secondhand bool // it may repeat the words of others
	Prompt     string
	Text       string
	Code       string
	Output     string
	Files      []string
	Start, End time.Time

	matched map[string]bool
}

// candidates is how many episodes the index gives for ranking.
const candidates = 80

// Search returns the episodes that fit q best, best first. No hit is no error.
func (m *Memory) Search(ctx context.Context, q Query) ([]Hit, error) {
	hits, err := m.search(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("search the memory: %w", err)
	}
	return hits, nil
}

func (m *Memory) search(ctx context.Context, q Query) ([]Hit, error) {
	if q.Limit <= 0 {
		q.Limit = 5
	}
	p := parseQuery(q)
	var n int
	if err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM episode").Scan(&n); err != nil || n == 0 {
		return nil, err
	}
	if err := m.weigh(ctx, p, n); err != nil {
		return nil, err
	}
	match := p.match()
	if match == "" {
		return nil, nil
	}
	found, err := m.candidates(ctx, q, match)
	if err != nil {
		return nil, err
	}
	return rank(p, found, q.Limit), nil
}

func (m *Memory) candidates(ctx context.Context, q Query, match string) ([]Hit, error) {
	where, args := q.filter()
	var found []Hit
	rows, err := m.db.QueryContext(ctx, `SELECT `+hitColumns+` FROM (
		SELECT words.rowid AS hit, bm25(words, 2.0, 1.2, 1.0, 1.0, 0.8) AS score FROM words`+where+` ORDER BY score LIMIT ?)
		JOIN episode ON episode.id = hit LEFT JOIN session ON session.id = episode.session ORDER BY score`, append(append([]any{match}, args...), q.wide())...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		h, err := scanHit(rows)
		if err != nil {
			return nil, err
		}
		if q.Allow == nil || q.Allow(h.Dir) {
			found = append(found, h)
		}
	}
	return found, rows.Err()
}

// wide returns how many candidates are fetched: more where a function chooses among them.
func (q *Query) wide() int {
	if q.Allow != nil {
		return 3 * candidates
	}
	return candidates
}

func (q *Query) filter() (where string, args []any) {
	where = " WHERE words MATCH ?"
	var inner []string
	if q.Session != "" {
		inner, args = append(inner, "session = ?"), append(args, q.Session)
	}
	if !q.Since.IsZero() {
		inner, args = append(inner, "ended >= ?"), append(args, q.Since.UnixMilli())
	}
	if !q.Until.IsZero() {
		inner, args = append(inner, "ended < ?"), append(args, q.Until.UnixMilli())
	}
	if q.Dir != "" {
		dir := strings.TrimSuffix(q.Dir, "/")
		inner, args = append(inner, "(dir = ? OR substr(dir, 1, ?) = ?)"), append(args, dir, len([]rune(dir))+1, dir+"/")
	}
	if q.Own {
		inner = append(inner, "secondhand = 0")
	}
	if len(inner) > 0 {
		where += " AND words.rowid IN (SELECT id FROM episode WHERE " + strings.Join(inner, " AND ") + ")"
	}
	return where, args
}

const hitColumns = `episode.id, coalesce(session.title, ''), agent, episode.session, sub, dir, branch, kind, secondhand, prompt, text, code, output, files, begun, ended`

func scanHit(rows *sql.Rows) (Hit, error) {
	var h Hit
	var kind, files string
	var begun, ended int64
	err := rows.Scan(&h.ID, &h.Title, &h.Agent, &h.Session, &h.Sub, &h.Dir, &h.Branch, &kind, &h.Secondhand, &h.Prompt, &h.Text, &h.Code, &h.Output,
		&files, &begun, &ended)
	h.Kind, h.Start, h.End = source.Kind(kind), since(begun), since(ended)
	if files != "" {
		h.Files = strings.Split(files, "\n")
	}
	return h, err
}

// Get returns the episode with this id; false when there is none.
func (m *Memory) Get(ctx context.Context, id int64) (Hit, bool, error) {
	rows, err := m.db.QueryContext(ctx, "SELECT "+hitColumns+" FROM episode LEFT JOIN session ON session.id = episode.session WHERE episode.id = ?", id)
	if err != nil {
		return Hit{}, false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return Hit{}, false, rows.Err()
	}
	h, err := scanHit(rows)
	return h, err == nil, err
}
