package queue

import (
	"errors"

	"github.com/claudemesh/claudemesh/store"
)

// budget is what a Pull may still return.
type budget struct {
	rows  int
	bytes int
	first bool // nothing was returned yet: the next row always fits
}

func (b *budget) take(size int) bool {
	if b.rows <= 0 || size > b.bytes && !b.first {
		return false
	}
	b.rows--
	b.bytes -= size
	b.first = false
	return true
}

// Pull implements Queue.
func (d *Disk) Pull(to Recipient, class Class, after uint64, max, maxBytes int) ([]Row, error) {
	if class >= classes {
		return nil, nil
	}
	if maxBytes <= 0 {
		maxBytes = int(^uint(0) >> 1)
	}
	left := budget{rows: max, bytes: maxBytes, first: true}
	var rows []Row
	for {
		q := d.find(to)
		if q == nil {
			return rows, nil
		}
		l := &q.lanes[class]
		if l.disk == 0 || after >= q.flushed {
			n := len(rows)
			var spills []spill
			rows, spills = l.ring.read(rows, class, after, &left)
			q.mu.Unlock()
			err := d.fetch(rows, spills)
			if err == nil || !errors.Is(err, store.ErrGone) {
				return rows, err
			}
			// A flush has moved these rows since: they are in bbolt now.
			for _, r := range rows[n:] {
				left.rows++
				left.bytes += r.Size
			}
			rows = rows[:n]
			left.first = n == 0
			continue
		}
		upTo, moves := q.flushed, q.moves
		q.mu.Unlock()
		found, next, err := d.readDisk(to, class, after, upTo, left)
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		if q.moves != moves || q.gone {
			q.mu.Unlock()
			continue
		}
		full := false
		for _, r := range found {
			if _, gone := q.deletes[r.LSN]; gone {
				continue
			}
			if full = !left.take(r.Size); full {
				break
			}
			rows = append(rows, r)
		}
		q.mu.Unlock()
		if full || left.rows <= 0 || left.bytes <= 0 {
			return rows, nil
		}
		after = next // up to F this was all: go on in the ring
	}
}

// readDisk copies rows from bbolt with after < LSN ≤ upTo, as many as fit, and
// returns up to where it has looked.
func (d *Disk) readDisk(to Recipient, class Class, after, upTo uint64, left budget) (rows []Row, next uint64, err error) {
	next = upTo
	err = d.db.View(func(tx *store.Tx) error {
		first, start := makeKey(to, class, 0), makeKey(to, class, after)
		for k, v := range tx.Scan(rowBucket, first[:33], start[:]) {
			_, _, lsn, err := parseKey(k)
			if err != nil {
				return err
			}
			if lsn > upTo {
				return nil
			}
			h, err := parseRowHeader(v)
			if err != nil {
				return err
			}
			if !left.take(h.size()) {
				return nil
			}
			r, err := readRow(tx, class, lsn, v)
			if err != nil {
				return err
			}
			rows = append(rows, r)
			next = lsn
		}
		next = upTo
		return nil
	})
	return rows, next, err
}

// spill is a row of a Pull whose bytes are in the journal.
type spill struct {
	index        int // in the rows
	at           store.Position
	header, body span
	own          bool // the body is missing too
}

// read appends the unacknowledged rows with an LSN above after.
func (g *ring) read(rows []Row, class Class, after uint64, left *budget) ([]Row, []spill) {
	src := g.after(after)
	if rows == nil && len(src) > 0 {
		rows = make([]Row, 0, min(len(src), max(left.rows, 0)))
	}
	var spills []spill
	for i := range src {
		r := &src[i]
		if r.acked {
			continue
		}
		if !left.take(r.size()) {
			break
		}
		row := Row{LSN: r.lsn, Class: class, Expires: r.expires, Size: r.size()}
		missing := spill{index: len(rows), at: r.at}
		switch {
		case r.shared == nil && r.data != nil:
			row.Header, row.Body = r.data[:r.header.len:r.header.len], r.data[r.header.len:]
		case r.shared == nil:
			missing.header, missing.body = r.header, r.body
		default:
			row.Header, row.Body = r.data, r.shared.body
			if row.Header == nil {
				missing.header = r.header
			}
			if row.Body == nil {
				missing.body = r.body
			}
		}
		if missing.header.len > 0 || missing.body.len > 0 {
			spills = append(spills, missing)
		}
		rows = append(rows, row)
	}
	return rows, spills
}

// fetch reads what rows miss from the journal.
func (d *Disk) fetch(rows []Row, spills []spill) error {
	for _, s := range spills {
		r := &rows[s.index]
		if err := d.readSpan(&r.Header, s.at, s.header); err != nil {
			return err
		}
		if err := d.readSpan(&r.Body, s.at, s.body); err != nil {
			return err
		}
	}
	return nil
}

func (d *Disk) readSpan(p *[]byte, at store.Position, s span) error {
	if s.len == 0 {
		return nil
	}
	*p = make([]byte, s.len)
	return d.journal.ReadAt(*p, at, int(s.off))
}
