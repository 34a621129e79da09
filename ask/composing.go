package ask

import (
	"context"
	"errors"
	"strings"

	"github.com/claudemesh/claudemesh/recall"
	"github.com/claudemesh/claudemesh/store"
)

const worstCostAnswer = 0.25 // dollars that one answer may cost: reserved before it starts

// everybody is the key of what was composed for all askers together.
const everybody = "*"

// compose has a model write an answer from the offered passages, one at a time, within the budget of
// the day. It returns at once.
func (e *Engine) compose(ctx context.Context, in *Incoming, f fetch) {
	e.busy.Go(func() {
		select {
		case e.working <- struct{}{}:
			defer func() { <-e.working }()
		case <-ctx.Done():
			return
		}
		if err := e.composed(ctx, in, f); err != nil && ctx.Err() == nil {
			e.log.Warn("answer not sent", "peer", in.Member, "err", err)
		}
	})
}

// composed checks again whether the asker may have it: somebody else's answer may have taken minutes.
// It falls back to the passages when the budget is spent or the model fails.
func (e *Engine) composed(ctx context.Context, in *Incoming, f fetch) error {
	asker, ok := e.host.Asker(in.Mesh, in.Member)
	if !ok {
		return errors.New("the asker is not verified any more")
	}
	rows, err := e.offered(ctx, in, &f)
	if err != nil {
		return err
	}
	level, err := e.levelOf(in.Mesh, asker, rows)
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return e.reply(ctx, in, asker, f.Follow, answer{V: wireVersion, Offers: f.Offers, Status: StatusGone}, 0)
	case level.rank() < Excerpt.rank():
		return e.reply(ctx, in, asker, f.Follow, answer{V: wireVersion, Offers: f.Offers, Status: StatusRefused}, 0)
	}
	a, cost := passagesOf(f.Offers, rows), 0.0
	if level == Compose {
		a, cost = e.byModel(ctx, in.Member, f, rows)
	}
	return e.reply(ctx, in, asker, f.Follow, a, cost)
}

func (e *Engine) byModel(ctx context.Context, member string, f fetch, rows []offerRow) (answer, float64) {
	plain := passagesOf(f.Offers, rows)
	if ok, err := e.reserve(member); err != nil || !ok {
		return plain, 0
	}
	var texts []string
	for _, r := range rows { // what the asker gets without a model, and no more
		texts = append(texts, r.Passage.Text)
	}
	ctx, cancel := context.WithTimeout(ctx, e.limits.ComposeTime)
	defer cancel()
	text, cost, err := e.composer.Compose(ctx, f.Follow, texts, maxComposed)
	if err := errors.Join(err, e.spend(cost)); err != nil || strings.TrimSpace(text) == "" {
		e.log.Warn("answer not composed", "err", err)
		return plain, cost
	}
	return answer{V: wireVersion, Offers: f.Offers, Status: StatusOK, Composed: recall.Clip(e.host.Redact(text), maxComposed)}, cost
}

// reserve takes one composed answer and its worst cost from the budgets of the day, which outlive a
// restart.
func (e *Engine) reserve(member string) (ok bool, err error) {
	err = e.db.Update(func(tx *store.Tx) error {
		day := dayOf(e.now())
		all, _ := get[givenRow](tx, named(rowGiven, everybody))
		one, _ := get[givenRow](tx, named(rowGiven, member))
		all.today(day)
		one.today(day)
		ok = all.Composed < e.limits.Composed && one.Composed < e.limits.ComposedEach && all.Spent+worstCostAnswer <= e.limits.Budget
		if !ok {
			return nil
		}
		all.Composed++
		one.Composed++
		all.Spent += worstCostAnswer
		return errors.Join(put(tx, named(rowGiven, everybody), all), put(tx, named(rowGiven, member), one))
	})
	return ok, err
}

// spend puts what an answer did cost in the place of what was reserved for it.
func (e *Engine) spend(cost float64) error {
	return e.db.Update(func(tx *store.Tx) error {
		all, _ := get[givenRow](tx, named(rowGiven, everybody))
		all.today(dayOf(e.now()))
		all.Spent = max(0, all.Spent+cost-worstCostAnswer)
		return put(tx, named(rowGiven, everybody), all)
	})
}
