package recall

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall/words"
)

// Query is what to look for. A question used word for word finds little; Terms find most.
type Query struct {
	Text    string   // the question
	Terms   []string // error texts, identifiers, synonyms
	Context string   // what the asker works on; it only breaks ties
	Limit   int      // number of hits at most; zero means 5

	Dir     string                // only sessions in this directory and below
	Session string                // only this session
	Since   time.Time             // only what ended later
	Until   time.Time             // only what ended earlier
	Allow   func(dir string) bool // nil allows every directory
	Own     bool                  // leave out what may repeat the words of others
}

// Limits of a query. What is beyond is left out: a question of any length costs the same.
const (
	maxQueryText = 4 << 10
	maxTerms     = 64
	maxTerm      = 400
	maxTokens    = 48
)

// Weights of a token by where in the query it stands.
const (
	textWeight    = 1.0
	termWeight    = 1.5
	contextWeight = 0.3
)

// term is one token of a query.
type term struct {
	token  string
	weight float64 // of its place in the query
	df     int     // episodes that hold it
	idf    float64
}

func (t *term) worth() float64 { return t.weight * t.idf }

// parsed is a query in tokens. pairs are neighbours in the question or within a term.
type parsed struct {
	terms  []*term
	pairs  map[[2]string]bool
	index  map[string]*term
	starts words.Starts
}

func parseQuery(q Query) *parsed {
	p := &parsed{pairs: map[[2]string]bool{}, index: map[string]*term{}, starts: words.Starts{}}
	for _, t := range q.Terms[:min(len(q.Terms), maxTerms)] {
		p.add(t, maxTerm, termWeight)
	}
	p.add(q.Text, maxQueryText, textWeight)
	p.add(q.Context, maxQueryText, contextWeight)
	return p
}

func (p *parsed) add(text string, max int, weight float64) {
	text = strings.ToValidUTF8(text[:min(len(text), max)], "")
	before := ""
	words.Each(text, func(token string) {
		if words.Stop(token) {
			return
		}
		if t := p.index[token]; t != nil {
			t.weight = math.Max(t.weight, weight)
			if weight != contextWeight {
				t.weight = math.Min(t.weight+0.2, 2)
			}
		} else if len(p.terms) < maxTokens {
			t = &term{token: token, weight: weight}
			p.index[token] = t
			p.starts.Add(token)
			p.terms = append(p.terms, t)
		}
		if before != "" && before != token {
			p.pairs[[2]string{before, token}] = true
		}
		before = token
	})
}

// weigh looks up in how many of n episodes each token stands.
func (m *Memory) weigh(ctx context.Context, p *parsed, n int) error {
	for _, t := range p.terms {
		df, err := m.frequency(ctx, t.token, n)
		if err != nil {
			return err
		}
		t.df = df
		t.idf = math.Log(1 + (float64(n)-float64(df)+0.5)/(float64(df)+0.5))
	}
	return nil
}

// frequent is from how many episodes on the count of a token is remembered: to count it takes long.
const frequent = 500

func (m *Memory) frequency(ctx context.Context, token string, n int) (int, error) {
	m.mu.Lock()
	if n > m.commonFor+m.commonFor/10+100 || n < m.commonFor/2 || len(m.common) > 10_000 {
		clear(m.common)
		m.commonFor = n
	}
	df, ok := m.common[token]
	m.mu.Unlock()
	if ok {
		return df, nil
	}
	err := m.db.QueryRowContext(ctx, "SELECT coalesce(sum(doc), 0) FROM vocabulary WHERE term = ?", token).Scan(&df)
	if err == nil && df >= frequent {
		m.mu.Lock()
		m.common[token] = df
		m.mu.Unlock()
	}
	return df, err
}

const (
	maxMatched = 24     // tokens that candidates are looked up by
	maxPosting = 20_000 // sum of the episodes that these tokens stand in: bounds the time of a query
	minMatched = 3      // so many of the rarest are used whatever they cost
)

// match returns the expression that finds candidates: any of the rarest tokens. Empty: none is known.
func (p *parsed) match() string {
	sorted := slices.Clone(p.terms)
	slices.SortStableFunc(sorted, func(a, b *term) int {
		switch {
		case a.worth() > b.worth():
			return -1
		case a.worth() < b.worth():
			return 1
		}
		return 0
	})
	var tokens []string
	cost := 0
	for _, t := range sorted {
		if t.df == 0 {
			continue
		}
		if len(tokens) >= maxMatched || cost+t.df > maxPosting && len(tokens) >= minMatched {
			continue
		}
		tokens = append(tokens, `"`+t.token+`"`)
		cost += t.df
	}
	return strings.Join(tokens, " OR ")
}
