package queue

import (
	"math"

	"github.com/claudemesh/claudemesh/store"
)

// Walk calls f with the header of every row that waits, and stops at the first
// error of f. The rows of one recipient and class come in their order, those in
// the DB first of all. What is put or acknowledged meanwhile may be missed.
// Bodies are not read; header is only valid during the call, size is that of
// header and body.
func (d *Disk) Walk(f func(to Recipient, lsn uint64, header []byte, size int) error) error {
	d.flushMu.Lock() // no row moves from a ring to the DB
	defer d.flushMu.Unlock()
	if err := d.walkDisk(f); err != nil {
		return err
	}
	for q := range d.all() {
		for class := range Class(classes) {
			if err := d.walkRing(q, class, f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) walkDisk(f func(to Recipient, lsn uint64, header []byte, size int) error) error {
	return d.db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(rowBucket, nil, nil) {
			to, _, lsn, err := parseKey(k)
			if err != nil {
				return err
			}
			h, err := parseRowHeader(v)
			if err != nil {
				return err
			}
			if d.deleted(to, lsn) {
				continue
			}
			if err := f(to, lsn, v[rowHeaderSize:rowHeaderSize+h.header], h.size()); err != nil {
				return err
			}
		}
		return nil
	})
}

// deleted tells whether a row of the DB was acknowledged.
func (d *Disk) deleted(to Recipient, lsn uint64) bool {
	q := d.find(to)
	if q == nil {
		return true
	}
	defer q.mu.Unlock()
	_, deleted := q.deletes[lsn]
	return deleted
}

func (d *Disk) walkRing(q *queue, class Class, f func(to Recipient, lsn uint64, header []byte, size int) error) error {
	for after := uint64(0); ; {
		left := budget{rows: pageRows, bytes: math.MaxInt}
		q.mu.Lock()
		rows, spills := q.lanes[class].ring.read(nil, class, after, &left)
		q.mu.Unlock()
		if len(rows) == 0 {
			return nil
		}
		for _, s := range spills {
			if err := d.readSpan(&rows[s.index].Header, s.at, s.header); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := f(q.to, r.LSN, r.Header, r.Size); err != nil {
				return err
			}
			after = r.LSN
		}
	}
}
