package broker

import (
	"bytes"

	"github.com/claudemesh/claudemesh/broker/queue"
)

// window is what was pushed on a connection and is not acknowledged, in the order in which it went out: acknowledgements
// mostly come in that order too.
type window struct {
	rows  []pushed // from head on; those that were taken out of turn are empty
	head  int
	count int
	bytes int
}

// pushed is a row that the peer has not acknowledged.
type pushed struct {
	feed  *feed  // that it came from; nil: acknowledged
	row   []byte // of a message what settledHeader leaves, of a receipt its id
	lsn   uint64
	from  sharer
	size  uint32
	class queue.Class
}

// id is what the acknowledgement names.
func (p *pushed) id() []byte {
	if p.row[0] == rowMessage {
		return messageIDOf(p.row)
	}
	return p.row
}

const keepWindow = 64 // rows of room that an empty window keeps

func (w *window) add(p *pushed) {
	if w.head > 0 && len(w.rows) == cap(w.rows) {
		n := copy(w.rows, w.rows[w.head:])
		clear(w.rows[n:])
		w.rows, w.head = w.rows[:n], 0
	}
	w.rows = append(w.rows, *p)
	w.count++
	w.bytes += int(p.size)
}

// take removes the oldest row with that id. A message that its sender repeated when the broker had forgotten it is there
// twice, and acknowledged twice.
func (w *window) take(id []byte) (pushed, bool) {
	for i := w.head; i < len(w.rows); i++ {
		if w.rows[i].feed == nil || !bytes.Equal(w.rows[i].id(), id) {
			continue
		}
		p := w.rows[i]
		w.rows[i] = pushed{}
		w.count--
		w.bytes -= int(p.size)
		w.trim()
		return p, true
	}
	return pushed{}, false
}

// trim moves head to the first row that is not acknowledged.
func (w *window) trim() {
	for w.head < len(w.rows) && w.rows[w.head].feed == nil {
		w.head++
	}
	if w.head < len(w.rows) {
		return
	}
	w.rows, w.head = w.rows[:0], 0
	if cap(w.rows) > keepWindow {
		w.rows = nil
	}
}
