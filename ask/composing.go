package ask

import (
	"context"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/recall"
)

const (
	composeTime     = 90 * time.Second
	composeEpisode  = 8 << 10 // bytes of one episode that the model reads
	worstCostAnswer = 0.25    // dollars that one answer may cost: reserved before it starts
)

// compose has a model write an answer from the offered episodes, one at a time, within the budget of
// the day. It returns at once.
func (e *Engine) compose(ctx context.Context, in *Incoming, asker Asker, f fetch, rows []offerRow) {
	e.busy.Go(func() {
		select {
		case e.working <- struct{}{}:
			defer func() { <-e.working }()
		case <-ctx.Done():
			return
		}
		a, cost := e.composed(ctx, f, rows)
		if err := e.reply(ctx, in, asker, f.Follow, a, cost); err != nil && ctx.Err() == nil {
			e.log.Warn("answer not sent", "peer", in.Member, "err", err)
		}
	})
}

// composed falls back to the passages when the budget is spent or the model fails.
func (e *Engine) composed(ctx context.Context, f fetch, rows []offerRow) (answer, float64) {
	plain := passagesOf(f.Offers, rows)
	if !e.reserve() {
		return plain, 0
	}
	var texts []string
	for _, r := range rows {
		h, ok, err := e.host.Episode(ctx, r.Episode)
		if err != nil || !ok || h.Secondhand {
			continue
		}
		texts = append(texts, recall.Clip(e.host.Redact(strings.Join([]string{h.Prompt, h.Text, h.Output}, "\n\n")), composeEpisode))
	}
	if len(texts) == 0 {
		e.spend(0)
		return plain, 0
	}
	ctx, cancel := context.WithTimeout(ctx, composeTime)
	defer cancel()
	text, cost, err := e.composer.Compose(ctx, f.Follow, texts, maxComposed)
	e.spend(cost)
	if err != nil || strings.TrimSpace(text) == "" {
		e.log.Warn("answer not composed", "err", err)
		return plain, cost
	}
	return answer{V: wireVersion, Offers: f.Offers, Status: StatusOK, Composed: recall.Clip(e.host.Redact(text), maxComposed)}, cost
}

// reserve takes one composed answer and its worst cost from the budget of the day.
func (e *Engine) reserve() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.newDayLocked(e.now())
	if e.counts.composed >= e.limits.Composed || e.counts.spent+worstCostAnswer > e.limits.Budget {
		return false
	}
	e.counts.composed++
	e.counts.spent += worstCostAnswer
	return true
}

// spend puts what an answer did cost in the place of what was reserved for it.
func (e *Engine) spend(cost float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts.spent += cost - worstCostAnswer
}
