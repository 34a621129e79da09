package queue

import "github.com/claudemesh/claudemesh/store"

// Ack implements Queue.
func (d *Disk) Ack(to Recipient, class Class, lsn uint64) (bool, error) {
	there, err := d.remove(to, class, lsn)
	if there {
		d.logAck(to, class, lsn)
	}
	return there, err
}

// logAck appends the lazy record. A journal that refuses it costs a
// redelivery after a crash, no more, so nobody hears of it here.
func (d *Disk) logAck(to Recipient, class Class, lsn uint64) {
	b := encodeAck(to, class, lsn)
	_ = d.journal.AppendLazy(b[:])
}

// remove takes a row out of its queue, in memory, and tells whether it was
// there: for each row it does so once.
func (d *Disk) remove(to Recipient, class Class, lsn uint64) (bool, error) {
	if class >= classes {
		return false, nil
	}
	for {
		q := d.find(to)
		if q == nil {
			return false, nil
		}
		l := &q.lanes[class]
		if r := l.ring.find(lsn); r != nil {
			there := !r.acked
			if there {
				q.ackRingLocked(l, r)
			}
			q.mu.Unlock()
			return there, nil
		}
		_, deleted := q.deletes[lsn]
		if deleted || l.disk == 0 || lsn > q.flushed {
			q.mu.Unlock()
			return false, nil
		}
		moves := q.moves
		q.mu.Unlock()

		size, there, err := d.lookUp(to, class, lsn)
		if err != nil || !there {
			return false, err
		}
		q.mu.Lock()
		if q.moves != moves || q.gone {
			q.mu.Unlock()
			continue // a flush came between: look again
		}
		_, deleted = q.deletes[lsn]
		if !deleted {
			q.deleteLocked(class, lsn)
			l.disk--
			q.addLocked(-1, -int64(size))
		}
		q.mu.Unlock()
		return !deleted, nil
	}
}

func (q *queue) ackRingLocked(l *lane, r *row) {
	size := int64(r.size())
	q.addLocked(-1, -size)
	q.d.ringBytes.Add(-size)
	r.acked = true
	q.d.memory.Add(-r.forget())
	l.ring.trim()
}

// deleteLocked has the next flush remove a row from bbolt.
func (q *queue) deleteLocked(class Class, lsn uint64) {
	if q.deletes == nil {
		q.deletes = make(map[uint64]Class)
	}
	q.deletes[lsn] = class
	q.touchLocked()
}

// lookUp tells whether bbolt has the row, and the bytes of its header and body.
func (d *Disk) lookUp(to Recipient, class Class, lsn uint64) (size int, there bool, err error) {
	k := makeKey(to, class, lsn)
	err = d.db.View(func(tx *store.Tx) error {
		v := tx.Peek(rowBucket, k[:])
		if v == nil {
			return nil
		}
		h, err := parseRowHeader(v)
		size, there = h.size(), err == nil
		return err
	})
	return size, there, err
}

// Drop implements Queue. As with Expire, a crash between dropped and the record
// of the removal brings the row back.
func (d *Disk) Drop(to Recipient, dropped func(Row)) (int, error) {
	n := 0
	for class := range Class(classes) {
		var after uint64
		for {
			rows, err := d.Pull(to, class, after, pageRows, pageBytes)
			if err != nil {
				return n, err
			}
			if len(rows) == 0 {
				break
			}
			for _, r := range rows {
				after = r.LSN
				there, err := d.remove(to, class, r.LSN)
				if err != nil {
					return n, err
				}
				if !there {
					continue
				}
				n++
				if dropped != nil {
					dropped(r)
				}
				d.logAck(to, class, r.LSN)
			}
		}
	}
	return n, nil
}
