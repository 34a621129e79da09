package recall

import (
	"cmp"
	"context"
	"iter"
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
	maxAlike     = 64
)

// Weights of a token by where in the query it stands.
const (
	textWeight    = 1.0
	termWeight    = 1.5
	contextWeight = 0.3
)

// Specific counts the different words of the question and its terms that tell what it is about.
func (q *Query) Specific() (n int) {
	for _, t := range parseQuery(Query{Text: q.Text, Terms: q.Terms}).terms {
		if !words.Common(t.token) {
			n++
		}
	}
	return n
}

// term is one token of a query.
type term struct {
	token  string
	weight float64 // of its place in the query
	df     int     // episodes that hold it
	idf    float64

	surprise float64 // 0 to 1: how much it tells that an episode has it

	alike []*term // what others say for it; their weight is that of this one
}

func (t *term) worth() float64 { return t.weight * t.idf }

// parsed is a query in tokens. pairs are neighbours in the question or within a term.
type parsed struct {
	terms  []*term
	alike  map[string]*term // what others say for the terms, and none of the terms
	pairs  map[[2]string]bool
	index  map[string]*term
	starts *words.Starts
}

func parseQuery(q Query) *parsed {
	p := &parsed{alike: map[string]*term{}, pairs: map[[2]string]bool{}, index: map[string]*term{}, starts: words.NewStarts()}
	for _, t := range q.Terms[:min(len(q.Terms), maxTerms)] {
		p.add(t, maxTerm, termWeight)
	}
	p.add(q.Text, maxQueryText, textWeight)
	p.add(q.Context, maxQueryText, contextWeight)
	for _, t := range p.terms {
		for _, other := range words.Alike(t.token) {
			p.addAlike(t, other)
		}
	}
	return p
}

// addAlike lets token stand for t, unless the query has it itself.
func (p *parsed) addAlike(t *term, token string) {
	if p.index[token] != nil {
		return
	}
	a := p.alike[token]
	if a == nil {
		if len(p.alike) >= maxAlike {
			return
		}
		a = &term{token: token}
		p.alike[token] = a
		p.starts.Add(token)
	}
	a.weight = math.Max(a.weight, t.weight)
	t.alike = append(t.alike, a)
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

// weigh looks up in how many episodes of a scope each token stands.
func (m *Memory) weigh(ctx context.Context, p *parsed, sc *scope) error {
	n := sc.n
	for t := range p.all() {
		df, err := sc.frequency(ctx, m, t.token)
		if err != nil {
			return err
		}
		t.df = df
		t.idf = idf(float64(n), float64(df))
		background := 0.0
		if words.Common(t.token) {
			background = backgroundShare * backgroundSize
		}
		t.surprise = idf(float64(n)+backgroundSize, float64(df)+background) / idf(float64(n)+backgroundSize, 0)
	}
	return nil
}

// idf is the inverse document frequency of a token that df of n episodes hold.
func idf(n, df float64) float64 { return math.Log(1 + (n-df+0.5)/(df+0.5)) }

// A memory of ten episodes cannot tell a rare word from one that it has not met often. So the
// evidence is weighed as if it had so many more episodes, of which a share has each common word.
const (
	backgroundSize  = 300
	backgroundShare = 0.1
)

// all yields the terms and what is alike.
func (p *parsed) all() iter.Seq[*term] {
	return func(yield func(*term) bool) {
		for _, t := range p.terms {
			if !yield(t) {
				return
			}
		}
		for _, t := range p.alike {
			if !yield(t) {
				return
			}
		}
	}
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
	err := m.counted.QueryRowContext(ctx, token).Scan(&df)
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
	for _, a := range p.alike {
		sorted = append(sorted, a)
	}
	worth := func(t *term) float64 {
		if p.index[t.token] == nil {
			return alikeShare * t.worth()
		}
		return t.worth()
	}
	slices.SortStableFunc(sorted, func(a, b *term) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(a.token, b.token))
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
