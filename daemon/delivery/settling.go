package delivery

import (
	"cmp"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// settling is one request that says what became of taken messages.
type settling struct {
	g     *Dispatcher
	s     registry.Session
	key   crypto.PublicKey
	state string
	rung  string // empty: the one that each message was given to

	proved []string          // rungs of what was shown; reset by each run of the transaction
	meshes []protocol.MeshID // with receipts to send; likewise
}

// Settle records what became of taken messages. Ids that are unknown, or were settled before, are no error.
func (g *Dispatcher) Settle(s registry.Session, local *keyring.Session, req protocol.SettleRequest) error {
	in := &settling{g: g, s: s, key: local.Public(), state: req.State, rung: req.Rung}
	err := g.d.DB.Commit(func(tx *store.Tx) error {
		in.proved, in.meshes = nil, nil
		for _, id := range req.IDs {
			seq, err := g.d.Mail.Lookup(tx, id)
			if err != nil {
				continue
			}
			if err := in.one(tx, seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return table.Refusal("settle mail", err)
	}
	g.d.WakeMeshes(in.meshes)
	for _, rung := range in.proved {
		g.Rungs.proved(s.ID, rung)
	}
	if req.State == protocol.SettleReturned || req.State == protocol.SettleUnproved {
		g.Rungs.failed(s.ID, req.Rung)
		g.gaveBack(s.ID, req.Rung)
	}
	return nil
}

// one settles one message. Shown is one change with what the inbox and the sender learn of it: none is there without the
// others, whenever the process dies.
func (in *settling) one(tx *store.Tx, seq uint64) error {
	var row inbox.Waiting
	ok, err := table.GetJSON(tx, table.Waiting, table.U64(seq), &row)
	if in.g.d.Mail.Damage.Skip(table.Waiting, table.U64(seq), err) || !ok || row.ShownTo(in.key) {
		return nil
	}
	rung := cmp.Or(in.rung, row.Given[in.key.String()].Rung)
	if rung == "" {
		return nil // nobody gave it to this session: no proof of anything
	}
	if in.state != protocol.SettleShown {
		row.Mark(lifeOf(in.s), in.key, in.state, rung, in.g.d.Now())
		return table.PutJSON(tx, table.Waiting, table.U64(seq), row)
	}
	if !slices.Contains(in.proved, rung) {
		in.proved = append(in.proved, rung)
	}
	if err := in.g.d.Mail.MarkShown(tx, seq, in.s.Label, in.key, rung, &in.meshes); err != nil {
		return err
	}
	return in.g.seen(tx, seq, &row, in.s, in.key, rung)
}

// seen notes that a session needs the message no more. The row goes when nobody else does.
func (g *Dispatcher) seen(tx *store.Tx, seq uint64, row *inbox.Waiting, s registry.Session, key crypto.PublicKey, rung string) error {
	if !row.Several || !g.othersWait(row, key) {
		return tx.Delete(table.Waiting, table.U64(seq))
	}
	row.Mark(lifeOf(s), key, protocol.SettleShown, rung, g.d.Now())
	return table.PutJSON(tx, table.Waiting, table.U64(seq), row)
}

// Read returns what follows for delivery when somebody marked a message as read: for the person's sessions it is done
// with, for others of a group only where a session marked it.
func (g *Dispatcher) Read(acting *keyring.Session) func(tx *store.Tx, seq uint64) error {
	if acting == nil {
		return func(tx *store.Tx, seq uint64) error { return tx.Delete(table.Waiting, table.U64(seq)) }
	}
	s, _ := g.d.Live.Get(acting.ID)
	return func(tx *store.Tx, seq uint64) error {
		var row inbox.Waiting
		if ok, err := table.GetJSON(tx, table.Waiting, table.U64(seq), &row); !ok || err != nil {
			return err
		}
		return g.seen(tx, seq, &row, s, acting.Public(), row.Given[acting.Public().String()].Rung)
	}
}

// gaveBack lets the next rung have what one returned. A turn that a hook was to keep going with it has ended.
func (g *Dispatcher) gaveBack(session, rung string) {
	if rung == protocol.RungHook && g.Rungs.stopped(session) {
		g.d.TurnEnded(session)
	}
	g.d.Hub.Wake()
}

// HungUp notes that a rung stopped asking: the next one need not wait for its silence.
func (g *Dispatcher) HungUp(session, rung string) {
	if rung == protocol.RungPull {
		return
	}
	g.Rungs.failed(session, rung)
	g.d.Hub.Wake()
}

// othersWait says whether a message to several still has a live session to reach.
func (g *Dispatcher) othersWait(row *inbox.Waiting, shown crypto.PublicKey) bool {
	m, err := g.d.Mesh(string(row.Mesh))
	if err != nil {
		return false // the mesh was left
	}
	for _, s := range g.d.Live.Live() {
		_, l, err := g.d.LiveSession(s.ID)
		if err != nil || row.Group != "" && !slices.Contains(m.GroupsOf(l.Public()), row.Group) {
			continue
		}
		if l.Public() != shown && l.Public() != row.From && !row.ShownTo(l.Public()) && row.Received >= s.Registered.UnixMilli() {
			return true
		}
	}
	return false
}
