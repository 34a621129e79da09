package ask

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/store"
)

// takeBid keeps the offers of who was asked. The first bid of a person counts.
func (e *Engine) takeBid(ctx context.Context, in *Incoming) error {
	b, err := decodeBid(in.Body)
	if err != nil {
		return fmt.Errorf("malformed bid: %w", err)
	}
	asker, ok := e.host.Asker(in.Mesh, in.Member)
	if !ok {
		return errors.New("the bidder is not verified")
	}
	e.asking.Lock()
	a, err := e.Asked(in.ReplyTo)
	e.asking.Unlock()
	if err != nil || a.Mesh != in.Mesh || !slices.Contains(a.Members, in.Member) {
		return errors.New("a bid without a question")
	}
	if e.now().After(a.Until) || len(a.Offers) >= maxKept || bidders(a.Offers)[in.Member] {
		return errors.New("a bid that is late, repeated, or one too many")
	}
	err = e.changeAsked(a.ID, func(a *Asked) {
		for _, o := range b.Offers {
			a.Offers = append(a.Offers, Offer{ID: o.ID, Member: in.Member, Name: asker.Name, Coverage: o.Coverage, At: timeOf(o.At), Project: o.Project, Title: o.Title, Level: o.Level})
		}
	})
	if err == nil {
		err = e.countSource(in.Member, func(s *sourceRow) { s.Bids++ })
	}
	if err != nil {
		return err
	}
	if e.tell(a.ID) {
		return nil
	}
	_, err = e.fetchBest(ctx, a.Session, a.ID, true)
	return err
}

// tell wakes who waits for the question. It returns false when nobody does.
func (e *Engine) tell(id string) bool {
	e.mu.Lock()
	p := e.open[id]
	e.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
	return true
}

func (e *Engine) countSource(member string, change func(*sourceRow)) error {
	return e.db.Update(func(tx *store.Tx) error {
		s, _ := get[sourceRow](tx, named(rowSource, member))
		change(&s)
		return put(tx, named(rowSource, member), s)
	})
}

// takeAnswer keeps what was fetched. Only an answer to an offer of the same person counts.
func (e *Engine) takeAnswer(in *Incoming) error {
	got, err := decodeAnswer(in.Body)
	if err != nil {
		return fmt.Errorf("malformed answer: %w", err)
	}
	a, err := e.askedOf(in.Mesh, in.Member, got.Offers)
	if err != nil {
		return err
	}
	err = e.changeAsked(a.ID, func(a *Asked) {
		name := ""
		for i := range a.Offers {
			if o := &a.Offers[i]; o.Member == in.Member && slices.Contains(got.Offers, o.ID) {
				o.Status, name = got.Status, o.Name
			}
		}
		if len(a.Answers) >= 2*maxAnswers {
			return
		}
		for i, p := range got.Passages {
			offer := got.Offers[min(i, len(got.Offers)-1)]
			a.Answers = append(a.Answers, Answer{Offer: offer, Member: in.Member, Name: name, Text: p.Text, Project: p.Project, Title: p.Title, Branch: p.Branch, At: timeOf(p.At), Changed: p.Changed})
		}
		if got.Composed != "" {
			a.Answers = append(a.Answers, Answer{Offer: got.Offers[0], Member: in.Member, Name: name, Text: got.Composed, Composed: true, At: e.now().UTC()})
		}
	})
	if err == nil {
		e.tell(a.ID)
	}
	return err
}

// askedOf finds the question that a person made these offers for.
func (e *Engine) askedOf(mesh, member string, offers []string) (found Asked, err error) {
	err = e.db.View(func(tx *store.Tx) error {
		for _, a := range all[Asked](tx, rowAsked) {
			for _, o := range a.Offers {
				if a.Mesh == mesh && o.Member == member && slices.Contains(offers, o.ID) && o.Status != "" {
					found = a
					return nil
				}
			}
		}
		return errors.New("an answer to what was not asked")
	})
	return found, err
}
