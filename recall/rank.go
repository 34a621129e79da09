package recall

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/recall/words"
)

// field is one part of an episode with its weight and usual length in tokens.
type field struct {
	weight, usual float64
	text          func(*Hit) string
}

var fields = []field{
	{2.0, 40, func(h *Hit) string { return h.Prompt }},
	{1.6, 6, func(h *Hit) string { return h.Title }},
	{1.2, 250, func(h *Hit) string { return h.Text }},
	{0.9, 120, func(h *Hit) string { return h.Code }},
	{0.9, 150, func(h *Hit) string { return h.Output }},
	{0.6, 15, func(h *Hit) string { return place(h.Dir, h.Branch, strings.Join(h.Files, "\n")) }},
}

// Parameters of the ranking: BM25 over weighted fields (Robertson and Zaragoza 2009, section 3.6).
const (
	saturation  = 1.2  // k1
	lengthShare = 0.5  // b: part of the length normalisation
	pairBonus   = 0.4  // of the smaller idf, for two tokens that stand together as in the query
	alikeShare  = 0.55 // of what a word is worth, for another word that people say for it
	unknownPart = 0.5  // of the worth of a token that no episode holds, in the coverage
)

// rank orders candidates and returns the best, at most limit, each session at most twice.
func rank(p *parsed, found []Hit, limit int) []Hit {
	for i := range found {
		p.score(&found[i])
	}
	slices.SortStableFunc(found, func(a, b Hit) int {
		if c := cmp.Compare(b.Score, a.Score); c != 0 {
			return c
		}
		return b.End.Compare(a.End)
	})
	return spread(found, limit)
}

func spread(found []Hit, limit int) []Hit {
	var out, rest []Hit
	times := map[string]int{}
	for _, h := range found {
		if h.Score <= 0 {
			continue
		}
		if times[h.Session]++; times[h.Session] > 2 && h.Session != "" {
			rest = append(rest, h)
			continue
		}
		out = append(out, h)
	}
	out = append(out, rest...)
	return out[:min(len(out), limit)]
}

// score sets Score and Coverage of h.
func (p *parsed) score(h *Hit) {
	tf := map[string]float64{}
	pairs := map[[2]string]bool{}
	for _, f := range fields {
		p.count(f, f.text(h), tf, pairs)
	}
	h.matched = map[string]bool{}
	var sum, have, want float64
	for _, t := range p.terms {
		worth := t.worth()
		if t.df == 0 {
			want += unknownPart * worth
			if w, n := t.otherwise(tf); n > 0 {
				sum += w * n * (saturation + 1) / (n + saturation)
				have += unknownPart * w
				h.Evidence += t.told() * alikeShare * t.like(tf)
			}
			continue
		}
		want += worth
		if n := tf[t.token]; n > 0 {
			sum += worth * n * (saturation + 1) / (n + saturation)
			have += worth
			h.matched[t.token] = true
			h.Evidence += t.told() * t.surprise
			continue
		}
		if w, n := t.otherwise(tf); n > 0 {
			sum += w * n * (saturation + 1) / (n + saturation)
			have += w
			h.Evidence += t.told() * w / worth * t.surprise
		}
	}
	for pair := range pairs {
		a, b := p.index[pair[0]], p.index[pair[1]]
		if a != nil && b != nil {
			sum += pairBonus * min(a.worth(), b.worth())
		}
	}
	if want > 0 {
		h.Coverage = have / want
	}
	h.Score = sum * (0.5 + h.Coverage)
}

// told is how much a token of the query counts as evidence: what the asker works on says little.
func (t *term) told() float64 {
	if t.weight == contextWeight {
		return contextWeight
	}
	return 1
}

// like is the most surprising of what an episode says for t.
func (t *term) like(tf map[string]float64) (most float64) {
	for _, a := range t.alike {
		if tf[a.token] > 0 {
			most = math.Max(most, a.surprise)
		}
	}
	return most
}

// otherwise returns how often an episode says t in other words, and what that is worth.
func (t *term) otherwise(tf map[string]float64) (worth, n float64) {
	for _, a := range t.alike {
		if k := tf[a.token]; k > 0 {
			n = math.Max(n, k)
			worth = math.Max(worth, alikeShare*t.weight*math.Min(t.idf, a.idf))
		}
	}
	return worth, n
}

// count adds what one field holds of the query's tokens and pairs.
func (p *parsed) count(f field, text string, tf map[string]float64, pairs map[[2]string]bool) {
	if text == "" {
		return
	}
	counts := map[string]int{}
	n := 0
	before := ""
	words.EachOf(p.starts, text, func(token string) {
		n++
		if words.Stop(token) {
			return
		}
		if p.index[token] != nil || p.alike[token] != nil {
			counts[token]++
		}
		if pair := [2]string{before, token}; p.pairs[pair] {
			pairs[pair] = true
		}
		before = token
	})
	norm := 1 - lengthShare + lengthShare*float64(n)/f.usual
	for token, k := range counts {
		tf[token] += f.weight * float64(k) / norm
	}
}
