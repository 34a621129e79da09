package mesh

import (
	"encoding/binary"
	"fmt"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// replayKey is what makes a message the same again: nobody but its sender can use up an id of that sender.
func replayKey(mesh protocol.MeshID, own, member crypto.PublicKey, id string) []byte {
	return table.Key(mesh, own[:], member[:], []byte(id))
}

// knowsID reports whether a message came before.
func (m *Mesh) knowsID(tx *store.Tx, own, member crypto.PublicKey, id string) bool {
	return tx.Peek(table.Replay, replayKey(m.meshID, own, member, id)) != nil
}

// rememberID notes a message and reports whether it came before. The memory outlives every copy that would still open.
func (m *Mesh) rememberID(tx *store.Tx, own, member crypto.PublicKey, id string, ts int64) (repeated bool, err error) {
	key := replayKey(m.meshID, own, member, id)
	if tx.Peek(table.Replay, key) != nil {
		return true, nil
	}
	until := max(m.env.now().UnixMilli(), ts) + protocol.ReplayMemory.Milliseconds()
	return false, tx.Put(table.Replay, key, table.U64(uint64(until)))
}

// sweepReplay forgets messages that would not be opened again.
func (m *Mesh) sweepReplay() error {
	now := uint64(m.env.now().UnixMilli())
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		var old [][]byte
		for k, v := range tx.Scan(table.Replay, []byte(m.meshID), nil) {
			if binary.BigEndian.Uint64(v) < now {
				old = append(old, append([]byte(nil), k...))
			}
		}
		for _, k := range old {
			if err := tx.Delete(table.Replay, k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget old ids: %w", err)
	}
	return nil
}
