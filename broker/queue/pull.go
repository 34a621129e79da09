package queue

import (
	"errors"
	"math"

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
		maxBytes = math.MaxInt
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
			before, n := left, len(rows)
			var spills []spill
			rows, spills = l.ring.read(rows, class, after, &left)
			if d.memory.Load() > d.memoryLimit/2 {
				d.memory.Add(-l.ring.letGo(rows[n:]))
			}
			q.mu.Unlock()
			err := d.fetch(rows, spills)
			switch {
			case err == nil:
				return rows, nil
			case !errors.Is(err, store.ErrGone):
				return nil, err
			case d.closed.Load():
				return nil, store.ErrClosed
			}
			// A flush has moved these rows meanwhile: they are in bbolt.
			rows, left = rows[:n], before
			continue
		}
		upTo, moves := q.flushed, q.moves
		q.mu.Unlock()

		page, err := d.readDisk(to, class, after, upTo, left)
		if err != nil {
			return nil, err
		}
		q.mu.Lock()
		if q.moves != moves {
			q.mu.Unlock()
			continue // what was skipped and what is on disk has changed
		}
		n := len(rows)
		for _, r := range page.rows {
			if _, deleted := q.deletes[r.LSN]; !deleted {
				left.take(r.Size)
				rows = append(rows, r)
			}
		}
		q.mu.Unlock()
		if page.full && len(rows)-n == len(page.rows) {
			return rows, nil
		}
		after = page.upTo // nothing is left up to F: go on in the ring
	}
}

// page is a stretch of a queue in bbolt.
type page struct {
	rows []Row
	upTo uint64 // every row up to it is in rows
	full bool   // the next row would not fit
}

// readDisk copies rows from bbolt with after < LSN ≤ upTo, as many as fit.
func (d *Disk) readDisk(to Recipient, class Class, after, upTo uint64, left budget) (page, error) {
	p := page{upTo: after}
	err := d.db.View(func(tx *store.Tx) error {
		first, start := makeKey(to, class, 0), makeKey(to, class, after)
		for k, v := range tx.Scan(rowBucket, first[:laneKeySize], start[:]) {
			_, _, lsn, err := parseKey(k)
			if err != nil {
				return err
			}
			if lsn > upTo {
				break
			}
			h, err := parseRowHeader(v)
			if err != nil {
				return err
			}
			if p.full = !left.take(h.size()); p.full {
				return nil
			}
			r, err := readRow(tx, class, lsn, v)
			if err != nil {
				return err
			}
			p.rows = append(p.rows, r)
			p.upTo = lsn
		}
		p.upTo = upTo
		return nil
	})
	return p, err
}

// spill is a row of a Pull whose bytes are in the journal.
type spill struct {
	index        int // in the rows
	at           store.Position
	header, body span
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
		if s.header.len > 0 && s.body.off == s.header.off+s.header.len { // one read for both
			var data []byte
			if err := d.readSpan(&data, s.at, span{s.header.off, s.header.len + s.body.len}); err != nil {
				return err
			}
			r.Header, r.Body = data[:s.header.len:s.header.len], data[s.header.len:]
			continue
		}
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
