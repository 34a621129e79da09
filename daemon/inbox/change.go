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

// changedAtOnce and changedBytes bound what one transaction of a change of all messages reads.
const (
	changedAtOnce = 500
	changedBytes  = 4 << 20
)

// MarkRead marks messages as read by v and keeps a receipt for each sender who is to be told. The meshes returned have
// receipts to send: wake them. What follows for the message's delivery is after's, in the same transaction; nil: nothing.
// All of them are marked in several transactions: after an error count says how far it came.
func (b *Mailbox) MarkRead(c protocol.InboxChange, v *Viewer, after func(tx *store.Tx, seq uint64) error) (meshes []protocol.MeshID, count int, err error) {
	done, err := b.inParts(c, v, func(tx *store.Tx, rows map[uint64]*Row) (part changed, err error) {
		for _, seq := range slices.Sorted(maps.Keys(rows)) {
			news, err := b.markRead(tx, seq, rows[seq], v, &meshes)
			if err != nil {
				return part, err
			}
			if !news {
				continue
			}
			part.count++
			if after == nil {
				continue
			}
			if err := after(tx, seq); err != nil {
				return part, err
			}
		}
		return part, nil
	})
	if err != nil {
		return meshes, done.count, table.Refusal("change the inbox", err)
	}
	return meshes, done.count, nil
}

func (b *Mailbox) markRead(tx *store.Tx, seq uint64, row *Row, v *Viewer, meshes *[]protocol.MeshID) (changed bool, err error) {
	counted := row.Counts()
	changed, state := row.read(v, b.now().UnixMilli())
	if !changed {
		return false, nil
	}
	if err := b.recount(tx, row, counted); err != nil {
		return false, err
	}
	return true, b.saveSeen(tx, seq, row, state, "", meshes)
}

// changed is what a change has done: messages that it changed, and that it kept as they were.
type changed struct{ count, kept int }

// inParts calls change with the rows that c names, as many at once as a transaction may have, and returns what was committed.
// Change may be called twice for the same rows.
func (b *Mailbox) inParts(c protocol.InboxChange, v *Viewer, change func(*store.Tx, map[uint64]*Row) (changed, error)) (done changed, err error) {
	for after := uint64(0); ; {
		var part changed
		var next uint64
		err := b.db.Commit(func(tx *store.Tx) (err error) {
			var rows map[uint64]*Row
			if rows, next, err = b.pick(tx, c, v, after); err != nil {
				return err
			}
			part, err = change(tx, rows)
			return err
		})
		if err != nil {
			return done, err
		}
		done.count += part.count
		done.kept += part.kept
		if next == 0 {
			return done, nil
		}
		after = next
	}
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
	if err := PutRow(tx, table.U64(seq), row); err != nil || row.Alarm != "" {
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

// pick reads the rows that c names; or of c.Mesh (empty: of all meshes) those behind number after that v may see, as many as
// a transaction may have. Next is the number to go on behind, 0 when there is no more.
func (b *Mailbox) pick(tx *store.Tx, c protocol.InboxChange, v *Viewer, after uint64) (rows map[uint64]*Row, next uint64, err error) {
	if c.All {
		rows, next = b.pickAll(tx, c, v, after)
		return rows, next, nil
	}
	rows = make(map[uint64]*Row)
	for _, id := range c.IDs {
		seq, err := b.Lookup(tx, id)
		if err != nil {
			return nil, 0, err
		}
		row := b.Row(tx, table.U64(seq))
		if row == nil {
			return nil, 0, protocol.Refuse(protocol.CodeNotFound, "message %q is not in the inbox any more", id)
		}
		if !row.Visible(v) {
			return nil, 0, protocol.Refuse(protocol.CodeForbidden, "message %q is another session's", id)
		}
		rows[seq] = row
	}
	return rows, 0, nil
}

func (b *Mailbox) pickAll(tx *store.Tx, c protocol.InboxChange, v *Viewer, after uint64) (rows map[uint64]*Row, next uint64) {
	rows = make(map[uint64]*Row)
	bytes, looks := 0, 0
	for k, stored := range tx.Scan(table.Inbox, nil, table.U64(after)) {
		if len(rows) == changedAtOnce || bytes >= changedBytes || looks == pageLooks {
			return rows, after
		}
		looks, after = looks+1, table.ParseU64(k)
		row := b.decode(k, stored)
		if row.Visible(v) && (c.Mesh == "" || b.slug(row.Mesh) == c.Mesh) {
			rows[after] = row
			bytes += len(stored)
		}
	}
	return rows, 0
}

// Delete removes messages, all of them in several transactions. What was removed stays known as received.
func (b *Mailbox) Delete(c protocol.InboxChange, v *Viewer) (int, error) {
	done, err := b.inParts(c, v, func(tx *store.Tx, rows map[uint64]*Row) (changed, error) {
		n, err := b.remove(tx, rows)
		return changed{count: n}, err
	})
	if err != nil {
		return done.count, table.Refusal("remove messages", err)
	}
	return done.count, nil
}

// Flush removes what was received before a time, and returns how many messages of that age it kept: those that no person
// saw, unless they are to go, too.
func (b *Mailbox) Flush(f protocol.InboxFlush) (count, kept int, err error) {
	all := protocol.InboxChange{All: true, Mesh: f.Mesh}
	done, err := b.inParts(all, nil, func(tx *store.Tx, rows map[uint64]*Row) (part changed, err error) {
		for seq, row := range rows {
			old := row.Received < f.Before.UnixMilli()
			if old && row.Read == 0 && !f.Unread {
				part.kept++
				old = false
			}
			if !old {
				delete(rows, seq)
			}
		}
		part.count, err = b.remove(tx, rows)
		return part, err
	})
	if err != nil {
		return done.count, done.kept, table.Refusal("remove messages", err)
	}
	return done.count, done.kept, nil
}

// remove deletes rows with all that is beside them, and returns how many.
func (b *Mailbox) remove(tx *store.Tx, rows map[uint64]*Row) (int, error) {
	for seq, row := range rows {
		if err := tx.Delete(table.Inbox, table.U64(seq)); err != nil {
			return 0, err
		}
		if row.Counts() {
			if err := AddShare(tx, row.Share, -1, -row.Size()); err != nil {
				return 0, err
			}
		}
		if err := tx.Delete(table.Waiting, table.U64(seq)); err != nil {
			return 0, err
		}
		for _, id := range row.ids() {
			if err := tx.Delete(table.InboxIDs, indexKey(id, seq)); err != nil {
				return 0, err
			}
		}
	}
	return len(rows), nil
}
