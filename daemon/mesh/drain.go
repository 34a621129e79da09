package mesh

import (
	"encoding/base64"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// drain sends what waits for this connection, as far as the window allows, and returns when the next row becomes due.
func (w *worker) drain() (later time.Time, err error) {
	for {
		item, later := w.m.out.next(w.u, w.mine)
		if item == nil {
			return later, nil
		}
		if err := w.sendRow(item); err != nil {
			return later, err
		}
	}
}

// mine reports whether messages from a key go out on this connection: its own, and on the control connection those of
// sessions that have none.
func (w *worker) mine(from crypto.PublicKey) bool {
	if from == w.u.key {
		return true
	}
	return w.u.control && !w.m.hasUplink(from)
}

func (m *Mesh) hasUplink(key crypto.PublicKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uplinks[key] != nil
}

// sendRow puts a row on the wire, or ends it where the view has changed since it was sealed.
func (w *worker) sendRow(item *outItem) error {
	var row outRow
	var box sealedRow
	var ok bool
	err := w.m.env.DB.View(func(tx *store.Tx) (err error) {
		key := table.RowKey(w.m.meshID, item.row)
		if ok, err = table.GetJSON(tx, table.Outbox, key, &row); err != nil || !ok {
			return err
		}
		ok, err = table.GetJSON(tx, table.Sealed, key, &box)
		return err
	})
	damaged := w.m.env.Mail.Damage.Skip(table.Outbox, table.RowKey(w.m.meshID, item.row), err)
	if damaged || !ok || row.Stage != stagePending {
		w.m.out.drop(map[string]bool{item.id: true})
		return nil
	}
	dropped := w.m.dropRevoked(&row, &box)
	if dropped > 0 {
		if err := w.m.saveDropped(item.row, &row, &box); err != nil {
			return err
		}
		if row.Stage == stageDead {
			w.m.out.drop(map[string]bool{row.ID: true})
			return nil
		}
	}
	return w.sendBox(&row, &box)
}

func (w *worker) sendBox(row *outRow, box *sealedRow) error {
	frame := &protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: row.ID, ClientMessageID: row.ID, TargetSpec: row.To, Priority: row.Priority,
		Nonce: base64Text(box.Nonce), Ciphertext: base64Text(box.Ciphertext), Kind: wireKind(row.Kind),
	}
	if row.From != w.u.key {
		if err := w.introduce(row.From); err != nil {
			return err
		}
		frame.Sender = row.From.String()
	}
	if len(box.Keys) > 0 {
		frame.Keys = make(map[string]string, len(box.Keys))
		for member, wrap := range box.Keys {
			frame.Keys[member] = base64Text(wrap)
		}
	}
	return w.c.write(frame)
}

// wireKind is what the broker is told of a message's kind: only what it counts apart.
func wireKind(kind string) string {
	if kind == protocol.KindLog {
		return kind
	}
	return ""
}

// introduce publishes the statement of an ended session, once a connection: the broker takes messages of keys that it
// knows to be ours.
func (w *worker) introduce(key crypto.PublicKey) error {
	if w.introduced[key] {
		return nil
	}
	s, err := w.m.ring.Statement(key, false)
	if err != nil {
		return err
	}
	if _, err := w.offer([]*protocol.Statement{s}); err != nil {
		return err
	}
	w.introduced[key] = true
	return nil
}

const reasonRevoked = "removed from the mesh before the message left"

// dropRevoked ends the recipients whose keys were revoked since the message was sealed, and returns how many.
func (m *Mesh) dropRevoked(row *outRow, box *sealedRow) (n int) {
	view := m.trust.View()
	alive := 0
	for i := range row.Recipients {
		r := &row.Recipients[i]
		if r.State == protocol.StateDead {
			continue
		}
		if _, gone := view.RevokedOf(r.Member, r.Key); !gone {
			alive++
			continue
		}
		n++
		r.State, r.Proof, r.Reason, r.At = protocol.StateDead, protocol.ProofSelf, reasonRevoked, m.env.now().UnixMilli()
		delete(box.Keys, r.Key.String())
	}
	if n > 0 && alive == 0 && len(box.Keys) == 0 {
		row.Stage, row.Reason = stageDead, reasonRevoked
	}
	return n
}

func (m *Mesh) saveDropped(n uint64, row *outRow, box *sealedRow) error {
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		if err := table.PutJSON(tx, table.Sealed, table.RowKey(m.meshID, n), box); err != nil {
			return err
		}
		return m.saveRow(tx, n, row)
	})
	if err != nil {
		return table.Refusal("end a message", err)
	}
	m.env.Events.Wake()
	m.out.notify()
	return nil
}
