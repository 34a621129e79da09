package daemon

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// receiptRow is a receipt to be sealed and sent, durable until the broker has it.
type receiptRow struct {
	Message []byte `json:"message"` // protocol.Message that it is for
	ID      string `json:"message_id"`
	State   string `json:"state"`
	At      int64  `json:"at"` // Unix ms
	Rung    string `json:"rung,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// markRead marks messages as read and keeps a receipt for each sender, unless the user wants none sent. The meshes returned have receipts to send: wake them.
func (b *mailbox) markRead(c protocol.InboxChange, acting *localSession) ([]protocol.MeshID, int, error) {
	return b.change(c, acting, func(row *inRow, now int64) *receiptRow {
		if row.Read != 0 {
			return nil
		}
		row.Read = now
		return &receiptRow{State: string(protocol.StateRead), At: now}
	})
}

// markShown records that messages were put in front of somebody: by names the session, rung the way.
func (b *mailbox) markShown(ids []string, by, rung string) ([]protocol.MeshID, int, error) {
	if len(ids) == 0 {
		return nil, 0, nil
	}
	return b.change(protocol.InboxChange{IDs: ids}, nil, func(row *inRow, now int64) *receiptRow {
		if row.Shown != 0 {
			return nil
		}
		row.Shown, row.ShownBy = now, by
		return &receiptRow{State: string(protocol.StateShown), At: now, Rung: rung}
	})
}

// change applies edit to rows, and stores them and the receipts that it returns in one transaction. Edit returns nil for
// a row that stays as it is.
func (b *mailbox) change(c protocol.InboxChange, acting *localSession, edit func(*inRow, int64) *receiptRow) (meshes []protocol.MeshID, count int, err error) {
	err = b.db.Commit(func(tx *store.Tx) error {
		meshes, count = nil, 0
		rows, err := b.pick(tx, c, acting)
		if err != nil {
			return err
		}
		for seq, row := range rows {
			receipt := edit(row, b.now().UnixMilli())
			if receipt == nil {
				continue
			}
			count++
			if err := putJSON(tx, bucketInbox, u64(seq), row); err != nil {
				return err
			}
			if row.Read != 0 {
				if err := tx.Delete(bucketWaiting, u64(seq)); err != nil {
					return err
				}
			}
			if row.Alarm != "" {
				continue
			}
			if err := passNumber(tx, row); err != nil {
				return err
			}
			if b.silent(row.Mesh) {
				continue
			}
			receipt.Message, receipt.ID = row.Message, row.MessageID
			if err := addReceipt(tx, row.Mesh, receipt); err != nil {
				return err
			}
			if !slices.Contains(meshes, row.Mesh) {
				meshes = append(meshes, row.Mesh)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, storeRefusal("change the inbox", err)
	}
	return meshes, count, nil
}

// addReceipt keeps a receipt until the broker has it.
func addReceipt(tx *store.Tx, mesh protocol.MeshID, r *receiptRow) error {
	seq, err := tx.NextSequence(bucketReceipts)
	if err != nil {
		return err
	}
	return putJSON(tx, bucketReceipts, rowKey(mesh, seq), r)
}

// pick reads the rows that c names, or all of c.Mesh (empty: of all meshes) that acting may see.
func (b *mailbox) pick(tx *store.Tx, c protocol.InboxChange, acting *localSession) (map[uint64]*inRow, error) {
	rows := make(map[uint64]*inRow)
	for _, id := range c.IDs {
		seq, err := b.lookup(tx, id)
		if err != nil {
			return nil, err
		}
		row := new(inRow)
		if _, err := getJSON(tx, bucketInbox, u64(seq), row); err != nil {
			return nil, err
		}
		if !row.visible(acting) {
			return nil, protocol.Refuse(protocol.CodeForbidden, "message %q is another session's", id)
		}
		rows[seq] = row
	}
	if !c.All {
		return rows, nil
	}
	for k, v := range tx.Scan(bucketInbox, nil, nil) {
		row := new(inRow)
		if err := json.Unmarshal(v, row); err != nil {
			return nil, fmt.Errorf("decode a row of %s: %w", bucketInbox, err)
		}
		if row.visible(acting) && (c.Mesh == "" || b.slug(row.Mesh) == c.Mesh) {
			rows[uint64FromKey(k)] = row
		}
	}
	return rows, nil
}

// delete removes messages. What was removed stays known as received.
func (b *mailbox) delete(c protocol.InboxChange, acting *localSession) (int, error) {
	return b.remove(func(tx *store.Tx) (map[uint64]*inRow, error) { return b.pick(tx, c, acting) })
}

// flush removes what was received before a time, read or not.
func (b *mailbox) flush(f protocol.InboxFlush) (int, error) {
	return b.remove(func(tx *store.Tx) (map[uint64]*inRow, error) {
		rows, err := b.pick(tx, protocol.InboxChange{All: true, Mesh: f.Mesh}, nil)
		for seq, row := range rows {
			if row.Received >= f.Before.UnixMilli() {
				delete(rows, seq)
			}
		}
		return rows, err
	})
}

func (b *mailbox) remove(pick func(*store.Tx) (map[uint64]*inRow, error)) (count int, err error) {
	err = b.db.Commit(func(tx *store.Tx) error {
		rows, err := pick(tx)
		if err != nil {
			return err
		}
		count = len(rows)
		for seq, row := range rows {
			if err := tx.Delete(bucketInbox, u64(seq)); err != nil {
				return err
			}
			if err := tx.Delete(bucketWaiting, u64(seq)); err != nil {
				return err
			}
			for _, id := range row.ids() {
				if err := tx.Delete(bucketInIDs, indexKey(id, seq)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, storeRefusal("remove messages", err)
	}
	return count, nil
}
