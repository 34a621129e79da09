package daemon

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// maxHeld is how many messages of a mesh wait for a certificate. Beyond that the broker keeps them.
const maxHeld = 1000

// hold keeps a push whose sender nobody has vouched for yet. It is on disk, so it can be acknowledged; it has no row in
// the inbox, so nobody sees it.
func (a *arrival) hold(tx *store.Tx) error {
	if a.heldRow != nil {
		return nil
	}
	if tx.Count(table.Held, []byte(a.m.meshID)) >= maxHeld {
		a.full = true
		return nil
	}
	seq, err := tx.NextSequence(table.Held)
	if err != nil {
		return err
	}
	return tx.Put(table.Held, table.RowKey(a.m.meshID, seq), a.raw)
}

// retryHeld opens what is held with what is known now.
func (w *worker) retryHeld() error {
	frames := make(map[string][]byte)
	var order []string
	err := w.m.env.db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Held, []byte(w.m.meshID), nil) {
			order = append(order, string(k))
			frames[string(k)] = bytes.Clone(v)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read held messages: %w", err)
	}
	var batch []incoming
	for _, key := range order {
		a, ok := w.readPush(frames[key]).(*arrival)
		if !ok {
			w.m.env.mail.Damage.Skip(table.Held, []byte(key), errors.New("not a push"))
			continue
		}
		a.keptIn, a.heldRow = table.Held, []byte(key)
		if a.held == nil {
			batch = append(batch, a)
		}
	}
	return w.commit(batch)
}

// settleHeld forgets a held message that is held no more, and leaves a receipt where one is due: the ack was given when
// it came.
func (w *worker) settleHeld(a *arrival, ack protocol.ClientAck) error {
	err := w.m.env.db.Commit(func(tx *store.Tx) error {
		if ack.Proof != nil && a.msg != nil && !a.repeated {
			stored, err := a.msg.MarshalBinary()
			if err != nil {
				return err
			}
			state := protocol.StateDelivered
			if ack.State != "" {
				state = protocol.State(ack.State)
			}
			r := &inbox.Receipt{Message: stored, ID: a.push.MessageID, State: string(state), At: w.m.env.now().UnixMilli()}
			if err := inbox.AddReceipt(tx, w.m.meshID, r); err != nil {
				return err
			}
		}
		return tx.Delete(a.keptIn, a.heldRow)
	})
	if err != nil {
		return table.Refusal("settle a held message", err)
	}
	w.u.wakeUp()
	return w.followUp(a)
}
