package queue

import (
	"fmt"

	"github.com/claudemesh/claudemesh/store"
)

// replay brings back what one journal record did. Up to F that is in bbolt.
func (d *Disk) replay(lsn uint64, at store.Position, payload []byte) error {
	if lsn <= d.flushed.Load() {
		return nil
	}
	d.committed.Store(lsn)
	if len(payload) == 0 {
		return fmt.Errorf("empty record: %w", store.ErrCorrupt)
	}
	switch payload[0] {
	case kindPut:
		m, err := parsePut(payload)
		if err != nil {
			return err
		}
		for i, t := range d.makeRows(&m, nil) {
			t.row.lsn, t.row.at = lsn, at
			q := d.lock(m.To[i])
			q.addLocked(1, int64(t.row.size()))
			q.pushLocked(m.Class, t.row)
			q.mu.Unlock()
		}
	case kindAck:
		to, class, acked, err := parseAck(payload)
		if err != nil {
			return err
		}
		_, err = d.remove(to, class, acked)
		return err
	case kindProbe:
	default:
		return fmt.Errorf("record of kind %d: %w", payload[0], store.ErrNewer)
	}
	return nil
}
