package mesh

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// hold keeps a push whose sender nobody has vouched for yet. It is on disk, so it can be acknowledged; it has no row in
// the inbox, so nobody sees it. One for which there is no room is refused: left with the broker, it would be in the way of the
// others.
func (a *arrival) hold(tx *store.Tx) error {
	if a.heldRow != nil {
		return nil
	}
	member := a.held.Header.Member
	a.share = inbox.ShareKey(a.m.meshID, inbox.ClassUnknown, member)
	if a.full = a.m.env.most().Full(tx, a.share, inbox.RowBytes+len(a.raw)); a.full != "" {
		return nil
	}
	seq, err := tx.NextSequence(table.Held)
	if err != nil {
		return err
	}
	if err := tx.Put(table.Held, table.RowKey(a.m.meshID, seq), slices.Concat(member[:], a.raw)); err != nil {
		return err
	}
	return inbox.AddShare(tx, a.share, 1, inbox.RowBytes+len(a.raw))
}

// splitHeld returns whose a held message says that it is, and its frame.
func splitHeld(row []byte) (member crypto.PublicKey, frame []byte) {
	n := copy(member[:], row)
	return member, row[n:]
}

// dropKept deletes the row of a message that was kept before: held, or set aside.
func (a *arrival) dropKept(tx *store.Tx) error {
	if a.keptIn == table.Held {
		if row := tx.Peek(table.Held, a.heldRow); row != nil {
			member, frame := splitHeld(row)
			if err := inbox.AddShare(tx, inbox.ShareKey(a.m.meshID, inbox.ClassUnknown, member), -1, -inbox.RowBytes-len(frame)); err != nil {
				return err
			}
		}
	}
	return tx.Delete(a.keptIn, a.heldRow)
}

// retryHeld opens what is held with what is known now.
func (w *worker) retryHeld() error {
	frames := make(map[string][]byte)
	var order []string
	err := w.m.env.DB.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Held, []byte(w.m.meshID), nil) {
			order = append(order, string(k))
			_, frame := splitHeld(v)
			frames[string(k)] = bytes.Clone(frame)
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
			w.m.env.Mail.Damage.Skip(table.Held, []byte(key), errors.New("not a push"))
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
	err := w.m.env.DB.Commit(func(tx *store.Tx) error {
		if ack.Proof != nil && a.msg != nil && !a.repeated {
			stored, err := a.msg.MarshalBinary()
			if err != nil {
				return err
			}
			state := protocol.StateDelivered
			if ack.State != "" {
				state = protocol.State(ack.State)
			}
			r := &inbox.Receipt{Message: stored, ID: a.push.MessageID, State: string(state), At: w.m.env.now().UnixMilli(), Reason: a.full}
			if err := inbox.AddReceipt(tx, w.m.meshID, r); err != nil {
				return err
			}
		}
		return a.dropKept(tx)
	})
	if err != nil {
		return table.Refusal("settle a held message", err)
	}
	w.u.wakeUp()
	return w.followUp(a)
}
