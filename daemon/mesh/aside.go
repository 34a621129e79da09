package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// asideRow is a frame that this daemon could not apply. It is acknowledged, because the broker would bring
// it again for ever, and it is applied again when the next daemon runs: that may be one without the fault.
type asideRow struct {
	Frame  []byte `json:"frame"`
	Reason string `json:"reason"`
	At     int64  `json:"at"` // Unix ms
}

// maxAside is how many frames of a mesh are kept aside. Beyond that the oldest give way.
const maxAside = 1000

// setAside keeps a frame aside. tell, which may be nil, puts into the same transaction what tells of it.
func (m *Mesh) setAside(frame []byte, cause error, tell func(*store.Tx) error) error {
	row := asideRow{Frame: frame, Reason: cause.Error(), At: m.env.now().UnixMilli()}
	keep := func(tx *store.Tx) error {
		seq, err := tx.NextSequence(table.Aside)
		if err != nil {
			return err
		}
		if tx.Count(table.Aside, []byte(m.meshID)) >= maxAside {
			oldest, _ := tx.First(table.Aside, []byte(m.meshID))
			if err := tx.Delete(table.Aside, bytes.Clone(oldest)); err != nil {
				return err
			}
		}
		return table.PutJSON(tx, table.Aside, table.RowKey(m.meshID, seq), row)
	}
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		if tell != nil {
			if err := guarded(m.log, func() error { return tell(tx) }); err != nil {
				return err
			}
		}
		return keep(tx)
	})
	if err != nil && tell != nil {
		m.log.Error("frame set aside not reported", "err", err)
		err = m.env.DB.Commit(keep)
	}
	if err != nil {
		return table.Refusal("set a frame aside", err)
	}
	m.env.Events.Wake()
	return nil
}

// retryAside applies what an earlier daemon set aside, each frame on its own.
func (w *worker) retryAside() error {
	w.m.mu.Lock()
	first := !w.m.asideTried
	w.m.asideTried = true
	w.m.mu.Unlock()
	if !first {
		return nil
	}
	var keys [][]byte
	err := w.m.env.DB.View(func(tx *store.Tx) error {
		for k := range tx.Scan(table.Aside, []byte(w.m.meshID), nil) {
			keys = append(keys, bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what was set aside: %w", err)
	}
	for _, key := range keys { // one frame after the other: all of them may be large
		row, err := w.asideRow(key)
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		if err := w.retryOne(key, row.Frame); err != nil {
			return err
		}
	}
	return nil
}

// asideRow reads one row, nil where there is none or it is damaged.
func (w *worker) asideRow(key []byte) (row *asideRow, err error) {
	err = w.m.env.DB.View(func(tx *store.Tx) error {
		v := tx.Peek(table.Aside, key)
		if v == nil {
			return nil
		}
		row = new(asideRow)
		if w.m.env.Mail.Damage.Skip(table.Aside, key, json.Unmarshal(v, row)) {
			row = nil
		}
		return nil
	})
	return row, err
}

// retryOne applies one frame. Where that fails again the frame stays where it is.
func (w *worker) retryOne(key, frame []byte) error {
	in := w.read(frame)
	if a, ok := in.(*arrival); ok {
		if a.held != nil {
			return nil
		}
		a.keptIn, a.heldRow = table.Aside, key
	}
	if in == nil {
		return nil
	}
	if err := w.apply(in); err != nil {
		w.m.log.Warn("frame stays set aside", "err", err)
		return nil
	}
	if err := in.done(w); err != nil {
		return err
	}
	return w.m.env.DB.Commit(func(tx *store.Tx) error { return tx.Delete(table.Aside, key) })
}
