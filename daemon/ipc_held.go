package daemon

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// handleHeld answers whose messages wait for the user's word, as soon as that is news to the caller.
func (d *Daemon) handleHeld(w http.ResponseWriter, r *http.Request) error {
	var req protocol.HeldRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	wait := protocol.Millis(int64(req.WaitMS), takeLongest)
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	woken, cancel := d.hub.Subscribe()
	defer cancel()
	look := time.NewTicker(takeLook)
	defer look.Stop()
	slices.Sort(req.Known)
	for {
		s, local, err := d.liveSession(req.Session)
		if err != nil {
			return err
		}
		held, err := d.give.heldSenders(s, local)
		if err != nil {
			return err
		}
		keys := []string{}
		for _, h := range held {
			keys = append(keys, h.Pubkey)
		}
		slices.Sort(keys)
		if !slices.Equal(keys, req.Known) || wait <= 0 {
			return reply(w, protocol.HeldReply{Senders: held})
		}
		select {
		case <-woken:
		case <-look.C: // the status of a turn that was interrupted, a mode that a hook told of
		case <-timeout.C:
			return reply(w, protocol.HeldReply{Senders: held})
		case <-r.Context().Done():
			return nil
		case <-d.life.Done():
			return protocol.Refuse(protocol.CodeUnavailable, "the daemon stops").RetryAfter(time.Second)
		}
	}
}

// heldSenders lists whose messages would come in front of a session now, if they were not held. What the status keeps waiting, what has low priority, and what
// another session of the member would get is nothing to bother the user of this one with.
func (g *giver) heldSenders(s registry.Session, local *keyring.Session) ([]protocol.HeldSender, error) {
	v := g.view(s, local, protocol.RungHook)
	type who struct {
		mesh   protocol.MeshID
		member crypto.PublicKey
	}
	held, at := []protocol.HeldSender{}, make(map[who]int)
	err := g.d.db.View(func(tx *store.Tx) error {
		v.accepted = g.acceptedIn(tx)
		for k, b := range tx.Scan(table.Waiting, nil, nil) {
			var row inbox.Waiting
			if g.d.mail.Damage.Skip(table.Waiting, k, json.Unmarshal(b, &row)) {
				continue
			}
			if !v.mine(&row) || !v.held(&row) || row.ShownTo(v.key) || !gate(row.Prio, v.status) || v.anybodys(&row) && !v.chosen {
				continue
			}
			i, seen := at[who{row.Mesh, row.Sender}]
			if !seen { // one message says who he is; the others are counted without reading them
				msg, err := g.d.mail.Message(tx, table.ParseU64(k))
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
