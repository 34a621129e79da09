package broker

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	flushAt   = 64 << 10  // bytes after which the writer flushes before it goes on
	keepAtMax = 128 << 10 // larger buffers are left to the collector
)

var flushBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// coalescer is a net.Conn that gathers what is written until Flush: one system call for all frames that wait.
// An idle one holds no buffer.
type coalescer struct {
	net.Conn
	timeout time.Duration // for one flush

	mu     sync.Mutex
	gather bool // false until the WebSocket handshake is over
	buf    *[]byte
}

// Write keeps p for the next Flush. It never blocks on the peer.
func (c *coalescer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gather {
		return c.Conn.Write(p)
	}
	if c.buf == nil {
		c.buf = flushBuffers.Get().(*[]byte)
	}
	*c.buf = append(*c.buf, p...)
	return len(p), nil
}

// SetWriteDeadline does nothing once writes are gathered: Flush sets its own.
func (c *coalescer) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gather {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}

// gatherWrites ends the time of the handshake, when writes go out at once.
func (c *coalescer) gatherWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gather = true
}

// waiting returns how many bytes the next Flush writes.
func (c *coalescer) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		return 0
	}
	return len(*c.buf)
}

// Flush writes what was gathered. Only the goroutine that writes frames may call it.
func (c *coalescer) Flush() error {
	c.mu.Lock()
	buf := c.buf
	c.buf = nil
	c.mu.Unlock()
	if buf == nil {
		return nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	_, err := c.Conn.Write(*buf)
	returnBuffer(buf)
	return err
}

// returnBuffer gives a borrowed buffer back; nil is none.
func returnBuffer(buf *[]byte) {
	if buf != nil && cap(*buf) <= keepAtMax {
		*buf = (*buf)[:0]
		flushBuffers.Put(buf)
	}
}

// hijacker hands the upgrader a coalescer instead of the bare connection.
type hijacker struct {
	http.ResponseWriter
	timeout time.Duration
	conn    *coalescer
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &coalescer{Conn: conn, timeout: h.timeout}
	return h.conn, rw, nil
}
