package queue

import (
	"sync"

	"github.com/claudemesh/claudemesh/store"
)

// putRecord is a message on its way through the journal.
type putRecord struct {
	d       *Disk
	m       Message // its slices are the caller's, until Put returns
	targets []target
	done    func(uint64, error)
	lsn     uint64
	err     error
}

type target struct {
	q   *queue
	row row
}

var putRecords = sync.Pool{New: func() any { return new(putRecord) }}

// Put implements Queue. It panics on a message without recipients, with
// another number of headers, of an unknown class, or with an Owned that is not
// the length of header and body.
func (d *Disk) Put(m Message, done func(lsn uint64, err error)) {
	if len(m.To) == 0 || len(m.To) != len(m.Headers) || m.Class >= classes || m.Owned != nil && !m.ownedWell() {
		panic("queue: malformed message")
	}
	p := putRecords.Get().(*putRecord)
	p.d, p.m, p.done = d, m, done
	p.targets = d.makeRows(&p.m, p.targets[:0])
	for i := range p.targets {
		t := &p.targets[i]
		t.q = d.lock(m.To[i])
		t.q.addLocked(1, int64(t.row.size()))
		t.q.mu.Unlock()
	}
	if err := d.journal.Append(p); err != nil {
		p.fail()
		p.recycle()
		if done != nil {
			done(0, err)
		}
	}
}

// ownedWell tells whether Owned is what it must be.
func (m *Message) ownedWell() bool {
	return len(m.To) == 1 && len(m.Owned) == len(m.Headers[0])+len(m.Body)
}

// makeRows appends a row for each recipient, with copies of the bytes while
// there is room in memory.
func (d *Disk) makeRows(m *Message, rows []target) []target {
	off, body := m.spans()
	group := len(m.To) > 1
	var common *shared
	if group {
		common = new(shared)
		common.rows.Store(int32(len(m.To)))
		if d.hold(len(m.Body)) {
			common.body = append([]byte{}, m.Body...)
		}
	}
	for _, h := range m.Headers {
		r := row{expires: m.Expires, header: span{off, uint32(len(h))}, body: body, shared: common}
		off += r.header.len
		own := m.Body
		if group {
			own = nil
		}
		switch n := len(h) + len(own); {
		case !d.hold(n):
		case m.Owned != nil:
			r.data = m.Owned
		default:
			r.data = append(append(make([]byte, 0, n), h...), own...)
		}
		rows = append(rows, target{row: r})
	}
	return rows
}

// hold takes n bytes of the memory limit if they are to be had.
func (d *Disk) hold(n int) bool {
	if d.memory.Add(int64(n)) <= d.memoryLimit {
		return true
	}
	d.memory.Add(-int64(n))
	return false
}

// AppendTo implements store.Record and lets go of the caller's slices.
func (p *putRecord) AppendTo(b []byte) []byte {
	b = appendPut(b, &p.m)
	p.m = Message{Class: p.m.Class}
	return b
}

// Committed implements store.Record.
func (p *putRecord) Committed(lsn uint64, at store.Position, err error) {
	p.lsn, p.err = lsn, err
	if err != nil {
		p.fail()
	} else {
		p.publish(lsn, at)
	}
	p.d.batch = append(p.d.batch, p)
}

// publish makes the rows visible.
func (p *putRecord) publish(lsn uint64, at store.Position) {
	for i := range p.targets {
		t := &p.targets[i]
		t.row.lsn, t.row.at = lsn, at
		t.q.mu.Lock()
		t.q.pushLocked(p.m.Class, t.row)
		if t.q.woken != p.d.batchNumber {
			t.q.woken = p.d.batchNumber
			p.d.wakes = append(p.d.wakes, t.q.subs...)
		}
		t.q.mu.Unlock()
	}
}

// fail takes back what Put counted.
func (p *putRecord) fail() {
	for i := range p.targets {
		t := &p.targets[i]
		p.d.memory.Add(-t.row.forget())
		t.q.mu.Lock()
		t.q.addLocked(-1, -int64(t.row.size()))
		idle := t.q.idleLocked()
		t.q.mu.Unlock()
		if idle {
			p.d.prune(t.q)
		}
	}
}

// recycle is called when nobody will look at p again.
func (p *putRecord) recycle() {
	clear(p.targets)
	*p = putRecord{targets: p.targets[:0]}
	putRecords.Put(p)
}

// afterBatch acknowledges what a commit has brought or refused, then wakes.
func (d *Disk) afterBatch(last uint64, err error) {
	if err == nil {
		d.committed.Store(last)
		d.commits.Add(1)
		d.accepted.Add(uint64(len(d.batch)))
		d.oldest.CompareAndSwap(0, d.now().UnixNano())
		if d.journal.Size() > d.journalLimit/4*journalFull {
			signal(d.kick)
		}
	}
	for _, p := range d.batch {
		if p.done != nil {
			p.done(p.lsn, p.err)
		}
		p.recycle()
	}
	for _, s := range d.wakes {
		s.wake()
	}
	clear(d.batch)
	clear(d.wakes)
	d.batch, d.wakes = d.batch[:0], d.wakes[:0]
	d.batchNumber++
}
