package broker

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

// errQueueRead wraps what went wrong when the queue was read.
var errQueueRead = errors.New("the queue cannot be read")

// pullRows is how many rows are taken at once: so few that a message of priority now does not wait long behind others.
const pullRows = 32

// feed is one queue that a connection drains.
type feed struct {
	of    *address
	side  bool         // its side queue, not its mail
	stop  func()       // ends the subscription
	woken atomic.Int64 // when the first commit came that the writer has not looked at, in ns of the connection's life; 0: none did
	ready atomic.Bool  // set by a commit after woken, taken by the writer

	// owned by the writer
	more  bool      // there may be rows behind the cursors
	since int64     // woken of the rows that are to be pushed; 0: no commit has told of them, or they are observed
	from  uint64    // up to this LSN rows were there before the feed, or are observed
	after [3]uint64 // cursor of each class: what was pushed on this connection
}

func (f *feed) to() queue.Recipient {
	if f.side {
		return f.of.side
	}
	return f.of.mail
}

// pushState is the flow of pushes on one connection, guarded by conn.mu except where feed says otherwise.
type pushState struct {
	started bool
	stale   bool    // feeds must be made anew
	feeds   []*feed // replaced, never changed
	out     window
	full    bool // the writer waits for an acknowledgement
}

// startPushes lets the writer push, from now on.
func (c *conn) startPushes() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushes.started, c.pushes.stale = true, true
	c.nudge()
}

// restale has the writer look again at which queues it drains.
func (c *conn) restale() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pushes.stale = true
	c.nudge()
}

// refreshFeeds subscribes to the queues that c is to drain now, keeps the cursors of those that stay and leaves the others.
func (c *conn) refreshFeeds() []*feed {
	c.mu.Lock()
	p := &c.pushes
	old, fresh := p.feeds, p.started && !p.stale
	p.stale = false
	started := p.started
	c.mu.Unlock()
	if !started || fresh {
		return old
	}
	c.mesh.mu.Lock()
	addresses := c.mesh.feedsLocked(c)
	c.mesh.mu.Unlock()

	feeds := make([]*feed, 0, 2*len(addresses))
	for _, a := range addresses {
		feeds = append(feeds, c.feed(old, a, true), c.feed(old, a, false))
	}
	for _, f := range old {
		if !slices.Contains(feeds, f) {
			f.stop()
		}
	}
	c.mu.Lock()
	c.pushes.feeds = feeds
	c.mu.Unlock()
	return feeds
}

// feed returns the feed of that queue among old, or a new one.
func (c *conn) feed(old []*feed, of *address, side bool) *feed {
	f := &feed{of: of, side: side, more: true}
	for _, o := range old {
		if o.to() == f.to() {
			return o
		}
	}
	f.from = c.srv.queue.Committed()
	f.stop = c.srv.queue.Subscribe(f.to(), func() {
		f.woken.CompareAndSwap(0, c.age())
		f.ready.Store(true)
		c.nudge()
	})
	return f
}

// age is how long the connection has been open, in ns.
func (c *conn) age() int64 { return int64(time.Since(c.opened)) + 1 }

// look takes what commits have told of the queue since the last time.
func (f *feed) look() {
	f.more = f.ready.Swap(false) || f.more
	if at := f.woken.Swap(0); f.since == 0 {
		f.since = at
	}
}

// writePushes writes a round of pushes, now before next before low, and returns how many.
func (c *conn) writePushes() (int, error) {
	feeds := c.refreshFeeds()
	waiting := false
	for _, f := range feeds {
		f.look()
		waiting = waiting || f.more
	}
	if !waiting {
		return 0, nil
	}
	n := 0
	drained := make([]bool, len(feeds))
	for i := range drained {
		drained[i] = true
	}
	for class := queue.Now; class <= queue.Low; class++ {
		for i, f := range feeds {
			if !f.more {
				continue
			}
			k, all, err := c.pushFrom(f, class)
			n += k
			drained[i] = drained[i] && all
			if err != nil {
				return n, err
			}
		}
		if n > 0 {
			break // look for higher classes before going on
		}
	}
	if n == 0 {
		for i, f := range feeds {
			if drained[i] {
				f.more, f.since = false, 0
			}
		}
	}
	return n, nil
}

// pushFrom writes the next rows of one class, as many as the window takes, and reports whether that was all.
func (c *conn) pushFrom(f *feed, class queue.Class) (n int, all bool, err error) {
	room, bytes := c.window()
	if room == 0 {
		return 0, false, nil
	}
	rows, err := c.srv.queue.Pull(f.to(), class, f.after[class], min(room, pullRows), bytes)
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", errQueueRead, err)
	}
	if len(rows) == 0 {
		return 0, true, nil
	}
	f.after[class] = rows[len(rows)-1].LSN
	c.observe(f)
	return len(rows), false, c.pushRows(f, rows)
}

// observe counts how long the rows of f that were pulled waited since their commit. A row can be pulled before its commit tells of
// it: then it did not wait.
func (c *conn) observe(f *feed) {
	if f.since == 0 {
		f.since = f.woken.Swap(0)
	}
	if last := slices.Max(f.after[:]); (f.since != 0 || last > f.from) && !f.side {
		waited := time.Duration(0)
		if f.since != 0 {
			waited = time.Duration(c.age() - f.since)
		}
		c.srv.metrics.pushTime.Observe(waited.Seconds())
		f.from = max(last, c.srv.queue.Committed())
	}
	f.since = 0
}

// window returns how many frames and bytes may be pushed now, and notes when there is no room.
func (c *conn) window() (frames, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames = c.srv.limits.Window - c.pushes.out.count
	bytes = c.srv.limits.WindowBytes - c.pushes.out.bytes
	if frames <= 0 || bytes <= 0 {
		c.pushes.full = true
		return 0, 0
	}
	return frames, bytes
}

var pushBatches = sync.Pool{New: func() any { return new([pullRows]pushed) }}

// pushRows writes rows and remembers them until they are acknowledged.
func (c *conn) pushRows(f *feed, rows []queue.Row) error {
	out := pushBatches.Get().(*[pullRows]pushed) // too large for the stack of a writer
	defer pushBatches.Put(out)
	defer clear(out[:])
	n := 0
	for i := range rows {
		p := &out[n]
		err := c.net.frame(func(dst []byte) (_ []byte, err error) {
			p.row, dst, err = c.mesh.frameOf(dst, &rows[i])
			return dst, err
		})
		if err != nil { // it stays until it expires, and holds up nobody
			c.log().Error("queued row cannot be read", "lsn", rows[i].LSN, "err", err)
			continue
		}
		if rows[i].Header[0] == rowMessage {
			p.row = settledHeader(rows[i].Header)
		}
		p.feed, p.lsn, p.class, p.size, p.from = f, rows[i].LSN, rows[i].Class, uint32(rows[i].Size), sharerOf(rows[i].Header)
		n++
	}
	c.srv.metrics.pushed.Add(float64(n))
	c.mu.Lock()
	for i := range out[:n] { // before they go out
		c.pushes.out.add(&out[i])
	}
	c.mu.Unlock()
	return c.net.flushFrom(flushAt)
}

// frameOf appends the frame of a row to b, and returns the id that its acknowledgement bears.
func (m *mesh) frameOf(b []byte, r *queue.Row) (id, frame []byte, err error) {
	if len(r.Header) > 0 && r.Header[0] == rowReceipt {
		row, err := parseReceiptRow(r.Header)
		if err != nil {
			return nil, nil, err
		}
		row.ReceiptID = strconv.AppendUint([]byte("r"), r.LSN, 10)
		return row.ReceiptID, protocol.AppendReceipt(b, &row.ReceiptView), nil
	}
	row, err := parseMessageRow(r.Header)
	if err != nil {
		return nil, nil, err
	}
	if len(r.Body) < nonceSize {
		return nil, nil, errRow(r.Body)
	}
	var sender, member [64]byte
	v := protocol.PushView{
		MessageID: row.messageID, MeshID: m.idBytes, SenderPubkey: hexOf(&sender, row.sender), SenderMemberPubkey: hexOf(&member, row.member),
		SenderName: row.name, TargetSpec: row.target, Priority: priorityBytes[row.class],
		Nonce: r.Body[:nonceSize], Ciphertext: r.Body[nonceSize:], Key: row.wrap, CreatedAt: row.created, ClientMessageID: row.clientID,
	}
	return row.messageID, protocol.AppendPush(b, &v), nil
}

// takePushed forgets a push that was acknowledged, and lets the writer go on if it waited for that.
func (c *conn) takePushed(id []byte) (pushed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.pushes.out.take(id)
	if ok && c.pushes.full {
		c.pushes.full = false
		c.nudge()
	}
	return p, ok
}
