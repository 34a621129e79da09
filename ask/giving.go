package ask

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

// takeFetch hands out what was offered, as far as the rules allow it now.
func (e *Engine) takeFetch(ctx context.Context, in *Incoming) error {
	asker, ok := e.host.Asker(in.Mesh, in.Member)
	if !ok {
		return errors.New("the asker is not verified")
	}
	f, err := decodeFetch(in.Body)
	if err != nil {
		return fmt.Errorf("malformed fetch: %w", err)
	}
	if !e.allow(in.Member) {
		return errors.New("too many questions")
	}
	rows, err := e.offered(ctx, in, &f)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return e.reply(ctx, in, asker, "", answer{V: wireVersion, Offers: f.Offers, Status: StatusGone}, 0)
	}
	level, err := e.levelOf(in.Mesh, asker, rows)
	if err != nil {
		return err
	}
	switch {
	case level == None:
		return e.reply(ctx, in, asker, rows[0].Question, answer{V: wireVersion, Offers: f.Offers, Status: StatusRefused}, 0)
	case level == Hint:
		return e.askPerson(ctx, in, asker, &f, rows)
	case f.Follow != "" && level == Compose && e.composer != nil:
		e.compose(ctx, in, f)
		return nil
	}
	if f.Late {
		return e.byMail(ctx, in, asker, rows[0].Question, passagesOf(f.Offers, rows))
	}
	return e.reply(ctx, in, asker, rows[0].Question, passagesOf(f.Offers, rows), 0)
}

// levelOf is the lowest level that the rules allow now for what the rows are about.
func (e *Engine) levelOf(mesh string, asker Asker, rows []offerRow) (Level, error) {
	rules, err := e.Rules()
	level := Compose
	for _, r := range rows {
		if l := levelFor(rules, mesh, asker, r.Dir); l.rank() < level.rank() {
			level = l
		}
	}
	return level, err
}

func passagesOf(ids []string, rows []offerRow) answer {
	a := answer{V: wireVersion, Offers: ids, Status: StatusOK}
	for _, r := range rows {
		a.Passages = append(a.Passages, r.Passage)
	}
	return a
}

// offered returns the offers that were made to this member in this mesh, are not too old, and stand
// for what the memory still has. An offer is good for one fetch, and for questions about it.
func (e *Engine) offered(ctx context.Context, in *Incoming, f *fetch) (rows []offerRow, err error) {
	var found []offerRow
	err = e.db.View(func(tx *store.Tx) error {
		for _, id := range f.Offers {
			r, ok := get[offerRow](tx, named(rowOffer, id))
			if ok && r.Mesh == in.Mesh && r.Member == in.Member && e.now().Sub(r.Made) < keepOffers && (!r.Given || f.Follow != "") {
				found = append(found, r)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e.remembered(ctx, found)
}

// remembered leaves out what the memory has forgotten, or what turned out to be somebody else's words.
func (e *Engine) remembered(ctx context.Context, found []offerRow) (rows []offerRow, err error) {
	for _, r := range found {
		h, ok, err := e.host.Episode(ctx, r.Episode)
		if err != nil {
			return nil, err
		}
		if ok && !h.Secondhand {
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// afford cuts an answer to what its asker may still get, and counts it. What is too much is left out,
// the last passage first.
func (e *Engine) afford(member string, a answer) (answer, error) {
	err := e.db.Update(func(tx *store.Tx) error {
		g, _ := get[givenRow](tx, named(rowGiven, member))
		today, month := g.today(dayOf(e.now()))
		left := min(e.limits.DayBytes-today, e.limits.MonthBytes-month)
		if len(a.Composed) > left {
			a.Composed = ""
		}
		for len(a.Passages) > 0 && a.size() > left {
			a.Passages = a.Passages[:len(a.Passages)-1]
		}
		if a.size() == 0 {
			a.Status = StatusSpent
			return nil
		}
		g.Days[len(g.Days)-1].Bytes += a.size()
		if err := put(tx, named(rowGiven, member), g); err != nil {
			return err
		}
		return markGiven(tx, a.Offers)
	})
	return a, err
}

func markGiven(tx *store.Tx, offers []string) error {
	for _, id := range offers {
		r, ok := get[offerRow](tx, named(rowOffer, id))
		if !ok || r.Given {
			continue
		}
		r.Given = true
		if err := put(tx, named(rowOffer, id), r); err != nil {
			return err
		}
	}
	return nil
}

// size is how many bytes of episodes an answer tells.
func (a *answer) size() int {
	n := len(a.Composed)
	for _, p := range a.Passages {
		n += len(p.Text)
	}
	return n
}

func dayOf(t time.Time) int64 { return t.Unix() / 86400 }

// reply logs an answer and sends it.
func (e *Engine) reply(ctx context.Context, in *Incoming, asker Asker, question string, a answer, cost float64) error {
	if a.size() > 0 {
		var err error
		if a, err = e.afford(in.Member, a); err != nil {
			return err
		}
	}
	body, err := encode(a)
	if err != nil {
		return err
	}
	level := Hint
	switch {
	case a.Composed != "":
		level = Compose
	case len(a.Passages) > 0:
		level = Excerpt
	}
	entry := Entry{Mesh: in.Mesh, Member: in.Member, Name: asker.Name, Question: question, What: "answer", Level: level, Status: a.Status, Sent: body, Cost: cost}
	for _, p := range a.Passages {
		entry.Matched = append(entry.Matched, p.Title)
	}
	if err := e.note(entry); err != nil {
		return err
	}
	_, _, err = e.host.Send(ctx, in.Mesh, in.Member, KindAnswer, in.ID, "", body)
	return err
}

// byMail answers a session that does not wait any more with ordinary mail. Without a session, or
// without content, it is an answer as every other.
func (e *Engine) byMail(ctx context.Context, in *Incoming, asker Asker, question string, a answer) error {
	if in.From == in.Member || a.Status != StatusOK {
		return e.reply(ctx, in, asker, question, a, 0)
	}
	a, err := e.afford(in.Member, a)
	if err != nil || a.Status != StatusOK {
		return errors.Join(err, e.reply(ctx, in, asker, question, a, 0))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Answer from this machine's memory to your question %q. No person wrote it.\n", recall.Clip(question, 200))
	entry := Entry{Mesh: in.Mesh, Member: in.Member, Name: asker.Name, Question: question, What: "answer", Level: Excerpt, Status: a.Status}
	for _, p := range a.Passages {
		fmt.Fprintf(&b, "\n%s\n%s\n", strings.Join(p.head(), " · "), p.Text)
		entry.Matched = append(entry.Matched, p.Title)
	}
	entry.Sent = []byte(b.String())
	if err := e.note(entry); err != nil {
		return err
	}
	_, _, err = e.host.Send(ctx, in.Mesh, in.From, KindLate, in.ReplyTo, "", entry.Sent)
	return err
}

func (p *passage) head() (words []string) {
	for _, w := range []string{p.Project, p.Title, p.Branch} {
		if w != "" {
			words = append(words, w)
		}
	}
	if p.At != 0 {
		words = append(words, timeOf(p.At).Format(time.DateOnly))
	}
	return words
}
