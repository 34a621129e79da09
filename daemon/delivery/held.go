package delivery

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// HeldSenders lists whose messages would come in front of a session now, if they were not held. What the status keeps waiting, what has low priority, and what
// another session of the member would get is nothing to bother the user of this one with.
func (g *Dispatcher) HeldSenders(s registry.Session, local *keyring.Session) ([]protocol.HeldSender, error) {
	v := g.view(s, local, protocol.RungHook)
	type who struct {
		mesh   protocol.MeshID
		member crypto.PublicKey
	}
	held, at := []protocol.HeldSender{}, make(map[who]int)
	err := g.d.DB.View(func(tx *store.Tx) error {
		v.accepted = g.acceptedIn(tx)
		for k, b := range tx.Scan(table.Waiting, nil, nil) {
			var row inbox.Waiting
			if g.d.Mail.Damage.Skip(table.Waiting, k, json.Unmarshal(b, &row)) {
				continue
			}
			if !v.mine(&row) || !v.held(&row) || row.ShownTo(v.key) || !gate(row.Prio, v.status) || v.anybodys(&row) && !v.chosen {
				continue
			}
			i, seen := at[who{row.Mesh, row.Sender}]
			if !seen { // one message says who he is; the others are counted without reading them
				msg, err := g.d.Mail.Message(tx, table.ParseU64(k))
				if err != nil {
					return err
				}
				if msg == nil || !msg.Unseen || msg.Alarm != "" {
					continue
				}
				i = len(held)
				at[who{row.Mesh, row.Sender}] = i
				held = append(held, heldSender(&row, msg))
			}
			held[i].Messages++
		}
		return nil
	})
	return held, err
}

func heldSender(row *inbox.Waiting, msg *protocol.InboxMessage) protocol.HeldSender {
	h := protocol.HeldSender{
		Mesh: msg.Mesh, Name: protocol.NeutralizeName(msg.From.Name), Pubkey: row.Sender.String(), Fingerprint: protocol.Fingerprint(row.Mesh, row.Sender),
		Trust: msg.From.Trust, Why: msg.Held,
	}
	if h.Why == "" {
		h.Why = "this session runs without permission prompts, and the sender is new to it"
	}
	return h
}
