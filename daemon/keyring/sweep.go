package keyring

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// ended is one session of this machine that is over.
type ended struct {
	pub crypto.PublicKey
	row ownRow
}

// Sweep forgets sessions of this machine that ended long ago, and the oldest beyond EndedMost.
func (r *Ring) Sweep() error {
	var gone []ended
	err := r.db.Commit(func(tx *store.Tx) (err error) {
		if gone, err = r.sweepRows(tx); err != nil {
			return err
		}
		for _, e := range gone {
			if err := tx.Delete(table.OwnSessions, table.Key(r.mesh, e.pub[:])); err != nil {
				return err
			}
		}
		return dropSeeds(tx, gone)
	})
	if err != nil {
		return fmt.Errorf("forget old sessions: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range gone {
		if own, ok := r.own[e.pub]; ok && !own.live {
			delete(r.own, e.pub)
		}
	}
	return nil
}

// sweepRows returns what is to be forgotten. A session that ended while no daemon ran has ended
// now.
func (r *Ring) sweepRows(tx *store.Tx) (gone []ended, err error) {
	now := r.now()
	var over []ended
	for k := range tx.Scan(table.OwnSessions, []byte(r.mesh), nil) {
		e := ended{pub: crypto.PublicKey(k[len(r.mesh):])}
		if _, err := table.GetJSON(tx, table.OwnSessions, k, &e.row); err != nil {
			return nil, err
		}
		if _, live := r.Session(e.pub); !live {
			over = append(over, e)
		}
	}
	for i, e := range over {
		if e.row.EndedAt != 0 {
			continue
		}
		over[i].row.EndedAt = now.UnixMilli()
		if err := table.PutJSON(tx, table.OwnSessions, table.Key(r.mesh, e.pub[:]), over[i].row); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(over, func(a, b ended) int { return cmp.Compare(b.row.EndedAt, a.row.EndedAt) })
	for i, e := range over {
		if i >= EndedMost || e.row.EndedAt < now.Add(-EndedKept).UnixMilli() {
			gone = append(gone, e)
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	needed, err := r.senders(tx)
	return slices.DeleteFunc(gone, func(e ended) bool { return needed[e.pub] }), err
}

// senders lists the keys that sent what is not proved to have arrived: the proof is sealed to them.
func (r *Ring) senders(tx *store.Tx) (map[crypto.PublicKey]bool, error) {
	keys := make(map[crypto.PublicKey]bool)
	for k := range tx.Scan(table.Sealed, []byte(r.mesh), nil) {
		var row struct {
			From crypto.PublicKey `json:"from"`
		}
		if _, err := table.GetJSON(tx, table.Outbox, k, &row); err != nil {
			return nil, err
		}
		keys[row.From] = true
	}
	return keys, nil
}

// dropSeeds forgets the keys of sessions that no mesh knows any more.
func dropSeeds(tx *store.Tx, gone []ended) error {
	if len(gone) == 0 {
		return nil
	}
	known := make(map[string]bool)
	for k := range tx.Scan(table.OwnSessions, nil, nil) {
		var row ownRow
		if _, err := table.GetJSON(tx, table.OwnSessions, k, &row); err != nil {
			return err
		}
		known[row.ID] = true
	}
	for _, e := range gone {
		if known[e.row.ID] {
			continue
		}
		if err := tx.Delete(table.Sessions, []byte(e.row.ID)); err != nil {
			return err
		}
	}
	return nil
}
