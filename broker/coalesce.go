package broker

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

const (
	flushAt   = 32 << 10  // bytes after which the writer flushes before it goes on
	keepAtMax = 128 << 10 // larger buffers are left to the collector
)

var flushBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// readAhead is how much one system call reads: a dozen messages. The WebSocket's own buffer is as small as an idle connection
// wants it.
const readAhead = 16 << 10

// frameBuffer is the WebSocket's own buffer, the smallest that the upgrader takes from us.
const frameBuffer = 257

var readAheads = sync.Pool{New: func() any { return new([readAhead]byte) }}

// coalescer is a net.Conn that gathers what is written until Flush, and reads ahead: one system call for all frames that wait.
// An idle one holds no buffer.
type coalescer struct {
	net.Conn
	timeout time.Duration   // for one flush
	raw     syscall.RawConn // nil where the connection is no socket of the system's, as with TLS

	// owned by the reader
	frames   *bufio.Reader // of the WebSocket, which reads from here
	ahead    []byte        // read and not yet asked for
	aheadBuf *[readAhead]byte

	mu     sync.Mutex
	gather bool // false until the WebSocket handshake is over
	buf    *[]byte
}

func newCoalescer(conn net.Conn, timeout time.Duration) *coalescer {
	c := &coalescer{Conn: conn, timeout: timeout}
	if sc, ok := conn.(syscall.Conn); ok && canReadAhead {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	return c
}

// Read reads what was read ahead first. Only one goroutine may call it.
func (c *coalescer) Read(p []byte) (int, error) {
	if c.raw == nil {
		return c.Conn.Read(p)
	}
	if len(c.ahead) == 0 {
		if err := c.fillAhead(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
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

// frame gathers one text frame, unmasked and whole (RFC 6455 section 5.2), whose payload f appends; after an error of f
// nothing. Only the goroutine that writes frames may call it.
func (c *coalescer) frame(f func(dst []byte) ([]byte, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.buf == nil {
		c.buf = flushBuffers.Get().(*[]byte)
	}
	const text = 0x80 | websocket.TextMessage
	start := len(*c.buf)
	b, err := f(append(*c.buf, text, 126, 0, 0)) // for a payload of 126 to 65535 bytes, which most are
	if err != nil {
		return err
	}
	switch payload := b[start+4:]; {
	case len(payload) < 126:
		b[start+1] = byte(len(payload))
		copy(b[start+2:], payload)
		b = b[:len(b)-2]
	case len(payload) <= 0xffff:
		binary.BigEndian.PutUint16(b[start+2:], uint16(len(payload)))
	default:
		n := len(payload)
		b = append(b, make([]byte, 6)...)
		copy(b[start+10:], b[start+4:start+4+n])
		b[start+1] = 127
		binary.BigEndian.PutUint64(b[start+2:], uint64(n))
	}
	*c.buf = b
	return nil
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

// flushFrom flushes when n bytes or more wait.
func (c *coalescer) flushFrom(n int) error {
	c.mu.Lock()
	few := c.buf == nil || len(*c.buf) < n
	c.mu.Unlock()
	if few {
		return nil
	}
	return c.Flush()
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
	h.conn = newCoalescer(conn, h.timeout)
	if rw.Reader.Buffered() == 0 { // else the upgrader refuses
		rw.Reader = bufio.NewReaderSize(h.conn, frameBuffer)
		h.conn.frames = rw.Reader
	}
	return h.conn, rw, nil
}
