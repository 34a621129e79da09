package inbox

import (
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Receipt is a receipt to be sealed and sent, durable until the broker has it.
type Receipt struct {
	Message []byte `json:"message"` // protocol.Message that it is for
	ID      string `json:"message_id"`
	State   string `json:"state"`
	At      int64  `json:"at"` // Unix ms
	Rung    string `json:"rung,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// MarkRead marks messages as read by v and keeps a receipt for each sender who is to be told. The meshes returned have
// receipts to send: wake them. What follows for the message's delivery is after's, in the same transaction; nil: nothing.
func (b *Mailbox) MarkRead(c protocol.InboxChange, v *Viewer, after func(tx *store.Tx, seq uint64) error) (meshes []protocol.MeshID, count int, err error) {
	err = b.db.Commit(func(tx *store.Tx) error {
		meshes, count = nil, 0
		rows, err := b.pick(tx, c, v)
		if err != nil {
			return err
		}
		for _, seq := range slices.Sorted(maps.Keys(rows)) {
			row := rows[seq]
			counted := row.Counts()
			changed, state := row.read(v, b.now().UnixMilli())
			if !changed {
				continue
			}
			count++
			if err := b.recount(tx, row, counted); err != nil {
				return err
			}
			if err := b.saveSeen(tx, seq, row, state, "", &meshes); err != nil {
				return err
			}
			if after == nil {
				continue
			}
			if err := after(tx, seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, table.Refusal("change the inbox", err)
	}
	return meshes, count, nil
}

// MarkShown records, in the caller's transaction, that a message was put in front of a session by a rung.
func (b *Mailbox) MarkShown(tx *store.Tx, seq uint64, label string, key crypto.PublicKey, rung string, meshes *[]protocol.MeshID) error {
	row := b.Row(tx, table.U64(seq))
	if row == nil {
		return nil
	}
	counted := row.Counts()
	changed, state := row.show(label, key, rung, b.now().UnixMilli())
	if !changed {
		return nil
	}
	if err := b.recount(tx, row, counted); err != nil {
		return err
	}
	return b.saveSeen(tx, seq, row, state, rung, meshes)
}

// saveSeen stores a row that somebody saw, and the receipt for its sender where the state is news to him. Meshes collects
// those with receipts to send.
func (b *Mailbox) saveSeen(tx *store.Tx, seq uint64, row *Row, state protocol.State, rung string, meshes *[]protocol.MeshID) error {
	if row.damaged {
		return nil
	}
	if err := table.PutJSON(tx, table.Inbox, table.U64(seq), row); err != nil || row.Alarm != "" {
		return err
	}
	if err := b.passed(tx, row.Mesh, row.Message); err != nil {
		return err
	}
	if state == "" || b.silent(row.Mesh) {
		return nil
	}
	receipt := &Receipt{Message: row.Message, ID: row.MessageID, State: string(state), At: b.now().UnixMilli(), Rung: rung}
	if err := AddReceipt(tx, row.Mesh, receipt); err != nil {
		return err
	}
	if !slices.Contains(*meshes, row.Mesh) {
		*meshes = append(*meshes, row.Mesh)
	}
	return nil
}

// AddReceipt keeps a receipt until the broker has it.
func AddReceipt(tx *store.Tx, mesh protocol.MeshID, r *Receipt) error {
	seq, err := tx.NextSequence(table.Receipts)
	if err != nil {
		return err
	}
	return table.PutJSON(tx, table.Receipts, table.RowKey(mesh, seq), r)
}

// pick reads the rows that c names, or all of c.Mesh (empty: of all meshes) that v may see.
func (b *Mailbox) pick(tx *store.Tx, c protocol.InboxChange, v *Viewer) (map[uint64]*Row, error) {
	rows := make(map[uint64]*Row)
	for _, id := range c.IDs {
		seq, err := b.Lookup(tx, id)
		if err != nil {
			return nil, err
		}
		row := b.Row(tx, table.U64(seq))
		if row == nil {
			return nil, protocol.Refuse(protocol.CodeNotFound, "message %q is not in the inbox any more", id)
		}
		if !row.Visible(v) {
			return nil, protocol.Refuse(protocol.CodeForbidden, "message %q is another session's", id)
		}
		rows[seq] = row
	}
	if !c.All {
		return rows, nil
	}
	for k, stored := range tx.Scan(table.Inbox, nil, nil) {
		row := b.decode(k, stored)
		if row.Visible(v) && (c.Mesh == "" || b.slug(row.Mesh) == c.Mesh) {
			rows[table.ParseU64(k)] = row
		}
	}
	return rows, nil
}

// Delete removes messages. What was removed stays known as received.
func (b *Mailbox) Delete(c protocol.InboxChange, v *Viewer) (int, error) {
	return b.remove(func(tx *store.Tx) (map[uint64]*Row, error) { return b.pick(tx, c, v) })
}

// Flush removes what was received before a time, and returns how many messages of that age it kept: those that no person
// saw, unless they are to go, too.
func (b *Mailbox) Flush(f protocol.InboxFlush) (count, kept int, err error) {
	count, err = b.remove(func(tx *store.Tx) (map[uint64]*Row, error) {
		kept = 0
		rows, err := b.pick(tx, protocol.InboxChange{All: true, Mesh: f.Mesh}, nil)
		for seq, row := range rows {
			old := row.Received < f.Before.UnixMilli()
			if old && row.Read == 0 && !f.Unread {
				kept++
				old = false
			}
			if !old {
				delete(rows, seq)
			}
		}
		return rows, err
	})
	return count, kept, err
}

func (b *Mailbox) remove(pick func(*store.Tx) (map[uint64]*Row, error)) (count int, err error) {
	err = b.db.Commit(func(tx *store.Tx) error {
		rows, err := pick(tx)
		if err != nil {
			return err
		}
		count = len(rows)
		for seq, row := range rows {
			if err := tx.Delete(table.Inbox, table.U64(seq)); err != nil {
				return err
			}
			if row.Counts() {
				if err := AddShare(tx, row.Share, -1, -row.Size()); err != nil {
					return err
				}
			}
			if err := tx.Delete(table.Waiting, table.U64(seq)); err != nil {
				return err
			}
			for _, id := range row.ids() {
				if err := tx.Delete(table.InboxIDs, indexKey(id, seq)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, table.Refusal("remove messages", err)
	}
	return count, nil
}
