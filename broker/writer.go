package broker

import (
	"encoding/json"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// closeGrace is how long an ended connection waits for the peer's own close, so that a reset does not eat what we said last.
const closeGrace = 2 * time.Second

// outbox is a run of frames in one buffer.
type outbox struct {
	buf  *[]byte // borrowed while there are frames, so that an idle connection is small
	ends []int   // where each frame ends
}

const keepEnds = 64 // of an empty outbox

func (o *outbox) add(f func([]byte) []byte) {
	if o.buf == nil {
		o.buf = flushBuffers.Get().(*[]byte)
	}
	*o.buf = f(*o.buf)
	o.ends = append(o.ends, len(*o.buf))
}

func (o *outbox) size() int {
	if o.buf == nil {
		return 0
	}
	return len(*o.buf)
}

func (o *outbox) reset() {
	returnBuffer(o.buf)
	o.buf, o.ends = nil, o.ends[:0]
	if cap(o.ends) > keepEnds {
		o.ends = nil
	}
}

// enqueue hands the writer the frame that f appends. Any goroutine may call it; after the end it does nothing.
func (c *conn) enqueue(f func(dst []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.out.add(f)
	c.nudge()
}

// reply sends v as one frame. A request whose answer has no JSON is refused: a fault of ours is answered, too.
func (c *conn) reply(v any) {
	frame, err := json.Marshal(v)
	if err != nil {
		c.log().Error("frame cannot be encoded", "err", err)
		refusal := protocol.ErrorFrame{Tag: protocol.Tag{Type: protocol.TypeError}, Code: protocol.CodeInternal, Message: "internal error"}
		if of, ok := v.(interface{ RequestID() string }); ok {
			refusal.ReqID = of.RequestID()
		}
		if frame, err = json.Marshal(refusal); err != nil {
			return
		}
	}
	c.enqueue(func(dst []byte) []byte { return append(dst, frame...) })
}

// refuse answers a request with an error frame and counts it.
func (c *conn) refuse(tag protocol.Tag, err error) {
	e := c.srv.refusal(err)
	c.log().Debug("refused", "request", tag.Type, "reason", e.Code, "text", e.Message)
	c.reply(protocol.ErrorFrame{
		Tag: protocol.Tag{Type: protocol.TypeError, ReqID: tag.ReqID}, Code: e.Code, Message: e.Message,
		Retryable: e.Retryable, RetryAfter: e.After.Milliseconds(),
	})
}

// writing tells whether a connection has a writer. An idle connection has none: its stack would be a third of what it costs.
type writing struct{ state atomic.Int32 }

const (
	noWriter   = iota
	writes     // there is a writer
	writesMore // and there is more to write than it had seen
)

// begin notes that there is something to write, and reports whether a writer must be made for it.
func (w *writing) begin() bool {
	for {
		switch {
		case w.state.Load() == writesMore, w.state.CompareAndSwap(writes, writesMore):
			return false
		case w.state.CompareAndSwap(noWriter, writes):
			return true
		}
	}
}

// done reports whether the writer is done; if not there was more to write meanwhile.
func (w *writing) done() bool {
	if w.state.CompareAndSwap(writes, noWriter) {
		return true
	}
	w.state.Store(writes)
	return false
}

// nudge has a writer look for what is to be written.
func (c *conn) nudge() {
	if c.writing.begin() {
		go c.write()
	}
}

// write writes until nothing waits. The last writer says goodbye, and there is none after it.
func (c *conn) write() {
	growStack()
	for {
		if err := c.writeWaiting(); err != nil {
			c.end(ending{reason: writeFailure(err)})
			c.net.Close()
			c.written.Done()
			return
		}
		if c.ended.Load() {
			c.sayGoodbye()
			c.written.Done()
			return
		}
		if c.writing.done() {
			return
		}
	}
}

// growStack has the stack grow once, while there is next to nothing on it to move, instead of twice under all that a push calls.
//
//go:noinline
func growStack() {
	var room [5 << 10]byte
	keepRoom(&room)
}

//go:noinline
func keepRoom(*[5 << 10]byte) {}

// startPings pings the peer every PingEvery, until stopPings.
func (c *conn) startPings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ping = time.AfterFunc(c.srv.limits.PingEvery, func() {
		c.pingDue.Store(true)
		c.nudge()
	})
}

func (c *conn) stopPings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ping.Stop()
}

// writePing writes the ping that is due.
func (c *conn) writePing() {
	if !c.pingDue.Swap(false) {
		return
	}
	c.unpark() // for the pong, or its deadline
	c.ws.WriteControl(websocket.PingMessage, nil, time.Time{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ping.Reset(c.srv.limits.PingEvery)
}

// writeFailure names the end that a write error stands for.
func writeFailure(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return endSlow
	case errors.Is(err, errQueueRead):
		return endStoreFailed
	}
	return endLost
}

// writeWaiting writes all that waits, answers first, and flushes once.
func (c *conn) writeWaiting() error {
	c.writePing()
	for {
		n, err := c.writeReplies()
		if err != nil {
			return err
		}
		m, err := c.writeNews()
		if err != nil {
			return err
		}
		k, err := c.writePushes()
		if err != nil {
			return err
		}
		if n+m+k == 0 {
			return c.net.Flush()
		}
	}
}

func (c *conn) writeReplies() (int, error) {
	c.mu.Lock()
	c.sending, c.out = c.out, c.sending
	pongs := c.pongs
	c.pongs = nil
	c.giveRoomLocked()
	c.mu.Unlock()
	for _, data := range pongs {
		c.ws.WriteControl(websocket.PongMessage, []byte(data), time.Time{})
	}
	from, n := 0, len(c.sending.ends)
	for _, end := range c.sending.ends {
		if err := c.writeFrame((*c.sending.buf)[from:end]); err != nil {
			return 0, err
		}
		from = end
	}
	c.sending.reset()
	return n + len(pongs), nil
}

// writeFrame writes one frame; it reaches the peer with the next flush.
func (c *conn) writeFrame(frame []byte) error {
	_ = c.net.frame(func(dst []byte) ([]byte, error) { return append(dst, frame...), nil })
	return c.net.flushFrom(flushAt)
}

// writeJSON is writeFrame for a value. Only the writer calls it. News that have no JSON are logged and left out.
func (c *conn) writeJSON(v any) error {
	frame, err := json.Marshal(v)
	if err != nil {
		c.log().Error("frame cannot be encoded", "err", err)
		return nil
	}
	return c.writeFrame(frame)
}

// sayGoodbye writes the last answers and the close frame, then gives the peer closeGrace for its own.
func (c *conn) sayGoodbye() {
	c.mu.Lock()
	e := *c.ending
	c.mu.Unlock()
	if e.code == 0 {
		c.net.Close()
		return
	}
	c.writeReplies()
	c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(e.code, e.text), time.Time{})
	if err := c.net.Flush(); err != nil {
		c.net.Close()
		return
	}
	c.ws.SetReadDeadline(time.Now().Add(closeGrace))
}
