package ask

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

// Times of a question.
const (
	DefaultWait = 8 * time.Second
	MaxWait     = 60 * time.Second
	grace       = 800 * time.Millisecond // after the first good bid, for better ones
	fetchTime   = 6 * time.Second        // for the answers of who was fetched from
	stayOpen    = 24 * time.Hour         // a machine that comes online later still bids
	goodBid     = 0.6                    // coverage of a bid that is worth no long waiting for others
	maxAnswers  = 3
	maxKept     = 64 // offers kept for one question
)

// Question is what a user or a model asks the mesh.
type Question struct {
	Mesh    string // mesh id
	Text    string
	Terms   []string
	Context string
	To      string // "*", "@group" or a member's key
	Session string // of this machine, that asks; late answers reach it as mail
	Wait    time.Duration
}

// Reply is what came of a question until the asker was told.
type Reply struct {
	ID      string
	Own     []recall.Hit // of this machine's memory: they come first
	Answers []Answer
	Offers  []Offer // all that was offered, best first
	People  int     // who were asked
	Online  int     // of these, when the question went out
}

// pending is a question that somebody waits for.
type pending struct {
	news chan struct{} // one slot
}

// Ask searches this machine's memory, asks the others, and fetches the best that is offered within
// q.Wait. Silence is no error.
func (e *Engine) Ask(ctx context.Context, q Question) (Reply, error) {
	var out Reply
	body, err := e.questionBody(&q)
	if err != nil {
		return out, err
	}
	if out.Own, err = e.host.Search(ctx, recall.Query{Text: q.Text, Terms: q.Terms, Context: q.Context, Limit: maxAnswers}); err != nil {
		e.log.Warn("local memory not searched", "err", err) // the others may know
	}
	out.Own = slices.DeleteFunc(out.Own, func(h recall.Hit) bool { return h.Grade() == recall.Poor })
	if !e.allowOwn() {
		return out, fmt.Errorf("%d questions were asked today; everybody asked sees them, so it waits until tomorrow", e.limits.AsksPerDay)
	}
	a, p, err := e.sendQuestion(ctx, &q, body)
	if err != nil {
		return out, err
	}
	defer e.forget(a.ID)
	out.ID, out.People, out.Online = a.ID, a.People, a.Online
	if err := e.collect(ctx, &q, a.ID, p); err != nil {
		return out, err
	}
	last, err := e.Asked(a.ID)
	out.Answers, out.Offers = last.Answers, e.ranked(last.Offers)
	return out, err
}

// sendQuestion sends a question and keeps it. A bid that comes at once finds it.
func (e *Engine) sendQuestion(ctx context.Context, q *Question, body []byte) (Asked, *pending, error) {
	e.asking.Lock()
	defer e.asking.Unlock()
	id, people, err := e.host.Send(ctx, q.Mesh, q.To, KindAsk, "", q.Session, body)
	if err != nil {
		return Asked{}, nil, err
	}
	now := e.now().UTC()
	a := Asked{ID: id, Mesh: q.Mesh, Question: q.Text, To: q.To, Session: q.Session, At: now, Until: now.Add(stayOpen), People: len(people)}
	for _, p := range people {
		a.Members = append(a.Members, p.Key)
		if p.Online {
			a.Online++
		}
	}
	p := &pending{news: make(chan struct{}, 1)}
	e.mu.Lock()
	e.open[id] = p
	e.mu.Unlock()
	if err := e.keepAsked(&a); err != nil {
		e.forget(id)
		return a, nil, err
	}
	return a, p, nil
}

func (e *Engine) forget(id string) {
	e.mu.Lock()
	delete(e.open, id)
	e.mu.Unlock()
}

// questionBody checks a question and encodes it. Terms that do not fit are left out, the last first.
func (e *Engine) questionBody(q *Question) ([]byte, error) {
	q.Text = strings.TrimSpace(q.Text)
	switch {
	case q.Text == "" && len(q.Terms) == 0:
		return nil, errors.New("an empty question")
	case len(q.Text) > MaxQuestion:
		return nil, fmt.Errorf("the question has %d bytes; at most %d are sent: put error texts into terms", len(q.Text), MaxQuestion)
	case q.Wait < 0 || q.Wait > MaxWait:
		return nil, fmt.Errorf("wait at most %s", MaxWait)
	}
	if q.Wait == 0 {
		q.Wait = DefaultWait
	}
	w := question{V: wireVersion, Text: e.host.Redact(q.Text), Context: recall.Clip(e.host.Redact(q.Context), MaxContext), Until: e.now().Add(stayOpen).UnixMilli()}
	for _, t := range q.Terms[:min(len(q.Terms), MaxTerms)] {
		if t = recall.Clip(e.host.Redact(strings.TrimSpace(t)), MaxTerm); t != "" {
			w.Terms = append(w.Terms, t)
		}
	}
	w.Text = recall.Clip(w.Text, MaxQuestion)
	for {
		body, err := encode(w)
		if err != nil || len(body) <= maxAsk {
			return body, err
		}
		if len(w.Terms) == 0 {
			w.Context = ""
			continue
		}
		w.Terms = w.Terms[:len(w.Terms)-1]
	}
}

func (e *Engine) keepAsked(a *Asked) error {
	return e.db.Update(func(tx *store.Tx) error {
		for _, member := range a.Members {
			s, _ := get[sourceRow](tx, named(rowSource, member))
			s.Asked++
			if err := put(tx, named(rowSource, member), s); err != nil {
				return err
			}
		}
		return put(tx, named(rowAsked, a.ID), a)
	})
}

// collect waits for bids, fetches from the best bidders, and waits for their answers.
func (e *Engine) collect(ctx context.Context, q *Question, id string, p *pending) error {
	e.waitFor(ctx, p, q.Wait, func(a Asked, since time.Duration) bool {
		best := 0.0
		for _, o := range a.Offers {
			best = max(best, o.Coverage)
		}
		return best >= goodBid && since >= grace || len(bidders(a.Offers)) >= a.People
	}, id)
	wanted, err := e.fetchBest(ctx, q.Session, id, false)
	if err != nil || wanted == 0 {
		return err
	}
	e.waitFor(ctx, p, fetchTime, func(a Asked, _ time.Duration) bool { return answered(a.Offers) >= wanted }, id)
	return nil
}

func bidders(offers []Offer) map[string]bool {
	set := map[string]bool{}
	for _, o := range offers {
		set[o.Member] = true
	}
	return set
}

func answered(offers []Offer) (n int) {
	for _, o := range offers {
		if o.Status != "" && o.Status != statusFetched {
			n++
		}
	}
	return n
}

// statusFetched says that an offer was fetched and not answered yet.
const statusFetched = "fetched"

// waitFor returns when done holds, the time is over, or ctx ends.
func (e *Engine) waitFor(ctx context.Context, p *pending, limit time.Duration, done func(a Asked, since time.Duration) bool, id string) {
	began := time.Now()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	tick := time.NewTicker(grace / 4)
	defer tick.Stop()
	var first time.Time // of the first bid
	for {
		a, err := e.Asked(id)
		if err == nil && len(a.Offers) > 0 && first.IsZero() {
			first = time.Now()
		}
		since := time.Duration(0)
		if !first.IsZero() {
			since = time.Since(first)
		}
		if err != nil || done(a, since) || time.Since(began) > limit {
			return
		}
		select {
		case <-p.news:
		case <-tick.C:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// fetchBest fetches what is still missing up to maxAnswers, at most two of one person, and returns
// how many offers were fetched in all.
func (e *Engine) fetchBest(ctx context.Context, session, id string, late bool) (int, error) {
	a, err := e.Asked(id)
	if err != nil {
		return 0, err
	}
	from := map[string]int{}
	chosen := map[string][]string{}
	for _, o := range a.Offers {
		if o.Status != "" {
			from[o.Member]++
		}
	}
	for _, o := range e.ranked(a.Offers) {
		if o.Status != "" || a.Fetched >= maxAnswers || from[o.Member] >= 2 || from[o.Member] >= 1 && len(bidders(a.Offers)) >= maxAnswers {
			continue
		}
		from[o.Member]++
		a.Fetched++
		chosen[o.Member] = append(chosen[o.Member], o.ID)
	}
	err = e.changeAsked(id, func(a *Asked) {
		for i := range a.Offers {
			if o := &a.Offers[i]; slices.Contains(chosen[o.Member], o.ID) {
				o.Status = statusFetched
				a.Fetched++
			}
		}
	})
	if err != nil {
		return 0, err
	}
	for member, offers := range chosen {
		body, err := encode(fetch{V: wireVersion, Offers: offers, Late: late})
		if err == nil {
			_, _, err = e.host.Send(ctx, a.Mesh, member, KindFetch, id, session, body)
		}
		if err != nil {
			e.log.Warn("answer not fetched", "peer", member, "err", err)
		}
	}
	return a.Fetched, nil
}

// ranked orders offers: coverage, scaled by what is known of the bidder; then the newer.
func (e *Engine) ranked(offers []Offer) []Offer {
	weights := map[string]float64{}
	_ = e.db.View(func(tx *store.Tx) error { // what cannot be read weighs as unknown
		for member := range bidders(offers) {
			s, _ := get[sourceRow](tx, named(rowSource, member))
			weights[member] = s.weight()
		}
		return nil
	})
	out := slices.Clone(offers)
	slices.SortStableFunc(out, func(a, b Offer) int {
		if c := cmp.Compare(b.Coverage*weights[b.Member], a.Coverage*weights[a.Member]); c != 0 {
			return c
		}
		return b.At.Compare(a.At)
	})
	return out
}

// Follow asks who made an offer about it: with the bidder's consent a model composes the answer. It
// waits like Ask.
func (e *Engine) Follow(ctx context.Context, offer, text string, wait time.Duration) (Reply, error) {
	var out Reply
	if text = strings.TrimSpace(text); text == "" || len(text) > MaxQuestion {
		return out, fmt.Errorf("a question of 1 to %d bytes", MaxQuestion)
	}
	a, o, err := e.offerOf(offer)
	if err != nil {
		return out, err
	}
	p := &pending{news: make(chan struct{}, 1)}
	e.mu.Lock()
	e.open[a.ID] = p
	e.mu.Unlock()
	defer e.forget(a.ID)
	before := len(a.Answers)
	if err := e.changeAsked(a.ID, func(a *Asked) { setStatus(a, o.ID, statusFetched) }); err != nil {
		return out, err
	}
	body, err := encode(fetch{V: wireVersion, Offers: []string{o.ID}, Follow: e.host.Redact(text)})
	if err != nil {
		return out, err
	}
	if _, _, err := e.host.Send(ctx, a.Mesh, o.Member, KindFetch, a.ID, a.Session, body); err != nil {
		return out, err
	}
	e.waitFor(ctx, p, cmp.Or(wait, MaxWait), func(a Asked, _ time.Duration) bool {
		return slices.ContainsFunc(a.Offers, func(x Offer) bool { return x.ID == o.ID && x.Status != statusFetched })
	}, a.ID)
	last, err := e.Asked(a.ID)
	out = Reply{ID: a.ID, Answers: last.Answers[min(before, len(last.Answers)):], Offers: last.Offers, People: 1}
	return out, err
}
