package ask

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

// clockSkew is how far the asker's clock may be behind: he drops what comes too late by his own.
const clockSkew = 25 * time.Hour

// minSpecific is how many words that tell something a question has to have: one word after the other
// would list what a memory holds.
const minSpecific = 3

func newID() string { return rand.Text() }

// takeQuestion bids on a question of a peer, or stays silent.
func (e *Engine) takeQuestion(ctx context.Context, in *Incoming) error {
	asker, ok := e.host.Asker(in.Mesh, in.Member)
	if !ok {
		return errors.New("the asker is not verified")
	}
	q, err := decodeQuestion(in.Body)
	if err != nil {
		return fmt.Errorf("malformed question: %w", err)
	}
	if !e.now().Before(timeOf(q.Until).Add(clockSkew)) {
		return errors.New("the question is too old")
	}
	rules, err := e.Rules()
	if err != nil || !anyFor(rules, in.Mesh, asker) {
		return err
	}
	if !e.allow(in.Member) {
		return errors.New("too many questions")
	}
	query := recall.Query{
		Text: q.Text, Terms: q.Terms, Context: q.Context, Limit: 10, Own: true,
		Allow: func(dir string) bool { return levelFor(rules, in.Mesh, asker, dir).rank() > 0 },
	}
	if query.Specific() < minSpecific {
		return nil
	}
	hits, err := e.host.Search(ctx, query)
	if err != nil {
		return err
	}
	b, rows := e.offers(in, &q, rules, asker, hits)
	if len(b.Offers) == 0 {
		return nil // what this machine knows nothing of is not kept either
	}
	body, err := encode(b)
	if err != nil {
		return err
	}
	entry := Entry{Mesh: in.Mesh, Member: in.Member, Name: asker.Name, Question: q.Text, What: "bid", Level: Hint, Sent: body}
	for _, o := range b.Offers {
		entry.Matched = append(entry.Matched, o.Title)
	}
	e.busy.Go(func() {
		e.pause(ctx)
		if err := e.sendBid(ctx, in, body, rows, entry); err != nil && ctx.Err() == nil {
			e.log.Warn("bid not sent", "peer", in.Member, "err", err)
		}
	})
	return nil
}

// sendBid logs a bid before it leaves: what left is in the log whatever happens next.
func (e *Engine) sendBid(ctx context.Context, in *Incoming, body []byte, rows map[string]offerRow, entry Entry) error {
	err := e.db.Update(func(tx *store.Tx) error {
		for id, row := range rows {
			if err := put(tx, named(rowOffer, id), row); err != nil {
				return err
			}
		}
		return e.enter(tx, entry)
	})
	if err != nil {
		return err
	}
	_, _, err = e.host.Send(ctx, in.Mesh, in.Member, KindBid, in.ID, "", body)
	return err
}

func (e *Engine) note(entry Entry) error {
	return e.db.Update(func(tx *store.Tx) error { return e.enter(tx, entry) })
}

// offers makes offers from what was found. Two of one session say little more than one.
func (e *Engine) offers(in *Incoming, q *question, rules []Rule, asker Asker, hits []recall.Hit) (bid, map[string]offerRow) {
	b := bid{V: wireVersion}
	rows := map[string]offerRow{}
	sessions := map[string]bool{}
	for i := range hits {
		h := &hits[i]
		if h.Grade() == recall.Poor {
			continue
		}
		if len(b.Offers) == maxOffers || h.Session != "" && sessions[h.Session] {
			b.More++
			continue
		}
		sessions[h.Session] = true
		o := offer{ID: newID(), Coverage: coverage(h.Grade()), At: unixMilli(h.End), Project: e.short(projectOf(h.Dir), maxProject),
			Title: e.short(h.Title, maxTitle), Level: levelFor(rules, in.Mesh, asker, h.Dir)}
		b.Offers = append(b.Offers, o)
		text := recall.Clip(e.host.Redact(h.Gist(maxPassage)), maxPassage)
		rows[o.ID] = offerRow{Mesh: in.Mesh, Ask: in.ID, Member: in.Member, From: in.From, Question: q.Text, Episode: h.ID, Dir: h.Dir, Made: e.now().UTC(),
			Passage: passage{Text: text, Project: o.Project, Title: o.Title, Branch: e.short(h.Branch, maxTitle), At: o.At, Changed: h.Changed()}}
	}
	return b, rows
}

// coverage is a grade as it travels: a step, so that nobody can measure a memory word by word.
func coverage(g recall.Grade) float64 { return float64(g) / float64(recall.Excellent) }

func (e *Engine) short(s string, most int) string {
	s = strings.Join(strings.Fields(e.host.Redact(s)), " ")
	return recall.Clip(s, most)
}

// projectOf names the project of a session: the last part of its directory.
func projectOf(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Base(dir)
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 0)
}

// maxRequests is how many follow-ups of one person wait for this machine's user at a time.
const maxRequests = 3

// askPerson keeps a follow-up until the person decides, and says so to the asker.
func (e *Engine) askPerson(ctx context.Context, in *Incoming, asker Asker, f *fetch, rows []offerRow) error {
	r := Request{ID: newID(), Mesh: in.Mesh, Member: in.Member, Name: asker.Name, From: in.From, Ask: rows[0].Ask, Fetch: in.ID, Question: rows[0].Question, Offers: f.Offers, Follow: f.Follow,
		At: e.now().UTC()}
	for _, row := range rows {
		r.Would += row.Passage.Text + "\n"
	}
	fresh, many := true, false
	err := e.db.Update(func(tx *store.Tx) error {
		open := 0
		for _, have := range all[Request](tx, rowRequest) {
			if have.Member != r.Member || have.Mesh != r.Mesh || have.Decided != "" {
				continue
			}
			if open++; have.Question == r.Question {
				fresh = false
				return nil
			}
		}
		if many = open >= maxRequests; many {
			return nil
		}
		return put(tx, named(rowRequest, r.ID), r)
	})
	if err != nil {
		return err
	}
	if many {
		return e.reply(ctx, in, asker, r.Question, answer{V: wireVersion, Offers: f.Offers, Status: StatusRefused}, 0)
	}
	if fresh {
		e.host.Notice(in.Mesh, fmt.Sprintf("%s asks for more about %q: claudemesh knowledge requests", asker.Name, recall.Clip(r.Question, 80)))
	}
	return e.reply(ctx, in, asker, r.Question, answer{V: wireVersion, Offers: f.Offers, Status: StatusPending}, 0)
}

// Requests returns what waits for the person's decision, oldest first.
func (e *Engine) Requests() (open []Request, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		for _, r := range all[Request](tx, rowRequest) {
			if r.Decided == "" {
				open = append(open, r)
			}
		}
		return nil
	})
	return open, err
}

// Decide approves or denies a request. With always an approval holds for that asker from now on, for
// excerpts of the projects that the request is about. It returns ErrNotFound for an id that is none, or is decided.
func (e *Engine) Decide(ctx context.Context, id string, approve, always bool) (Request, error) {
	var r Request
	var rows []offerRow
	err := e.db.Update(func(tx *store.Tx) (err error) {
		if r, err = find[Request](tx, rowRequest, id); err != nil {
			return err
		}
		if r.Decided != "" {
			return ErrNotFound
		}
		r.Decided = map[bool]string{true: "approved", false: "denied"}[approve]
		rows = rows[:0]
		for _, o := range r.Offers {
			if row, ok := get[offerRow](tx, named(rowOffer, o)); ok {
				rows = append(rows, row)
			}
		}
		return put(tx, named(rowRequest, r.ID), r)
	})
	if err != nil {
		return r, err
	}
	in := &Incoming{Mesh: r.Mesh, Member: r.Member, From: r.From, ID: r.Fetch, ReplyTo: r.Ask}
	asker, ok := e.host.Asker(r.Mesh, r.Member)
	if !ok {
		return r, errors.New("the asker is not a member any more")
	}
	if !approve {
		return r, e.reply(ctx, in, asker, r.Question, answer{V: wireVersion, Offers: r.Offers, Status: StatusRefused}, 0)
	}
	if rows, err = e.remembered(ctx, rows); err != nil {
		return r, err
	}
	for _, row := range rows {
		if !always || row.Dir == "" { // without a directory a rule is about all projects
			continue
		}
		if _, err := e.Share(Rule{Mesh: r.Mesh, Dir: row.Dir, With: []string{r.Member}, Level: Excerpt}); err != nil {
			return r, err
		}
	}
	if len(rows) == 0 {
		return r, e.reply(ctx, in, asker, r.Question, answer{V: wireVersion, Offers: r.Offers, Status: StatusGone}, 0)
	}
	return r, e.byMail(ctx, in, asker, r.Question, passagesOf(r.Offers, rows))
}
