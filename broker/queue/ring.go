package queue

import (
	"slices"
	"sync/atomic"

	"github.com/claudemesh/claudemesh/store"
)

// row is a committed row above F.
type row struct {
	lsn     uint64
	expires int64
	data    []byte  // header and own body; nil when acknowledged or only in the journal
	shared  *shared // the body, when it has several rows
	at      store.Position
	header  span // in the journal record
	body    span

	acked    bool
	flushing bool // a flush has taken it as unacknowledged and has not settled
}

// span is a part of a record's payload.
type span struct{ off, len uint32 }

func (r *row) size() int { return int(r.header.len) + int(r.body.len) }

// shared is the body of a group message while rows of it are above F.
type shared struct {
	body []byte // nil: only in the journal
	rows atomic.Int32
}

// forget lets go of the bytes in memory and returns how many they were.
func (r *row) forget() int64 {
	n := int64(len(r.data))
	if r.shared != nil && r.shared.rows.Add(-1) == 0 {
		n += int64(len(r.shared.body))
	}
	r.data, r.shared = nil, nil
	return n
}

// letGo has the journal alone keep what was read just now: it is about to reach its recipient, who hardly asks for it again, and
// others have better use for the memory. It returns how many bytes it was.
func (g *ring) letGo(read []Row) (n int64) {
	if len(read) == 0 {
		return 0
	}
	rows := g.after(read[0].LSN - 1)
	for i := range rows {
		if rows[i].lsn > read[len(read)-1].LSN {
			break
		}
		n += int64(len(rows[i].data))
		rows[i].data = nil
	}
	return n
}

// ring holds rows in the order of their LSN.
type ring struct {
	rows []row
	head int
}

// keepRing is how many rows of room an empty ring keeps.
const keepRing = 64

func (g *ring) live() []row { return g.rows[g.head:] }

func (g *ring) push(r row) {
	if len(g.rows) == cap(g.rows) && g.head > len(g.rows)/2 {
		n := copy(g.rows, g.rows[g.head:])
		clear(g.rows[n:])
		g.rows, g.head = g.rows[:n], 0
	}
	g.rows = append(g.rows, r)
}

// pop drops the first n rows.
func (g *ring) pop(n int) {
	clear(g.rows[g.head : g.head+n])
	g.head += n
	if g.head < len(g.rows) {
		return
	}
	g.rows, g.head = g.rows[:0], 0
	if cap(g.rows) > keepRing {
		g.rows = nil
	}
}

// after returns the rows with an LSN above lsn.
func (g *ring) after(lsn uint64) []row {
	live := g.live()
	if len(live) == 0 || live[0].lsn > lsn {
		return live
	}
	i, found := slices.BinarySearchFunc(live, lsn, func(r row, lsn uint64) int {
		switch {
		case r.lsn < lsn:
			return -1
		case r.lsn > lsn:
			return 1
		}
		return 0
	})
	if found {
		i++
	}
	return live[i:]
}

// find returns the row with that LSN, or nil.
func (g *ring) find(lsn uint64) *row {
	if lsn == 0 {
		return nil
	}
	if rest := g.after(lsn - 1); len(rest) > 0 && rest[0].lsn == lsn {
		return &rest[0]
	}
	return nil
}

// trim drops acknowledged rows from the front, but none that a flush holds.
func (g *ring) trim() {
	live := g.live()
	n := 0
	for n < len(live) && live[n].acked && !live[n].flushing {
		n++
	}
	if n > 0 {
		g.pop(n)
	}
}
