package delivery

import (
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// Judge finds the ways of delivery that pushed to an idle session which shows nothing of it: the next way gets their mail.
func (g *Dispatcher) Judge(s registry.Session, local *keyring.Session) error {
	now := g.d.Now()
	rungs := g.Rungs.Of(s.ID, now)
	if !rungs.hooked() || roster.StatusOr(s.Status) != protocol.StatusIdle {
		return nil
	}
	key := local.Public().String()
	return g.d.DB.View(func(tx *store.Tx) error {
		for k := range tx.Scan(table.Waiting, nil, nil) {
			var row inbox.Waiting
			if _, err := table.GetJSON(tx, table.Waiting, k, &row); err != nil {
				return err
			}
			mark := row.Given[key]
			since := latest(protocol.TimeOf(mark.At), s.Active)
			if mark.State == protocol.SettlePushed && !wallclock.Recent(since, now, ProvedWithin) {
				g.Rungs.unproved(s.ID, mark.Rung)
			}
		}
		return nil
	})
}
