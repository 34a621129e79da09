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
	Evidence   float64 // how unlikely the episode has by chance what it has of the query
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
const candidates = 48

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
	sc, err := m.scope(ctx, &q)
	if err != nil || sc.n == 0 {
		return nil, err
	}
	if err := m.weigh(ctx, p, sc); err != nil {
		return nil, err
	}
	match := p.match()
	if match == "" {
		return nil, nil
	}
	found, err := m.candidates(ctx, sc, match)
	if err != nil {
		return nil, err
	}
	return rank(p, found, q.Limit), nil
}

// candidates are the episodes of a scope that the index gives for ranking.
func (m *Memory) candidates(ctx context.Context, sc *scope, match string) ([]Hit, error) {
	where := ""
	if sc.where != "" {
		where = " AND words.rowid IN (SELECT id FROM episode WHERE " + sc.where + ")"
	}
	var found []Hit
	rows, err := m.db.QueryContext(ctx, `SELECT `+hitColumns+` FROM (
		SELECT words.rowid AS hit, bm25(words, 2.0, 1.2, 1.0, 1.0, 0.8) AS score FROM words WHERE words MATCH ?`+where+` ORDER BY score LIMIT ?)
		JOIN episode ON episode.id = hit LEFT JOIN session ON session.id = episode.session ORDER BY score`,
		append(append([]any{match}, sc.args...), candidates)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		h, err := scanHit(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, h)
	}
	return found, rows.Err()
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
