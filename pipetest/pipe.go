// Package pipetest has a net.Listener in memory, so that tests of the broker and of daemons can run in a synctest bubble.
package pipetest

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Listener is a net.Listener in memory. Its connections hold 64 KiB in each direction, as sockets do.
type Listener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// New returns a listener that is open.
func New() *Listener {
	return &Listener{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *Listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *Listener) Addr() net.Addr { return addr("10.0.0.1:7900") }

// Dial connects from an address. It returns net.ErrClosed when the listener was closed.
func (l *Listener) Dial(from string) (*Conn, error) {
	a, b := newHalf(), newHalf()
	client := &Conn{in: a, out: b, local: addr(from), remote: l.Addr()}
	server := &Conn{in: b, out: a, local: l.Addr(), remote: addr(from)}
	select {
	case l.accept <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

// room is what a pipe holds before its writer waits, as a socket does.
const room = 64 << 10

// half is one direction of a pipe.
type half struct {
	mu             sync.Mutex
	buf            []byte
	closed         bool
	readBy, sendBy time.Time
	changed        chan struct{} // closed and made anew when something above changes
}

func newHalf() *half { return &half{changed: make(chan struct{})} }

func (h *half) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait waits for a change until the deadline.
func wait(changed chan struct{}, by time.Time) error {
	if by.IsZero() {
		<-changed
		return nil
	}
	d := time.Until(by)
	if d <= 0 {
		return os.ErrDeadlineExceeded
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
		return nil
	case <-t.C:
		return os.ErrDeadlineExceeded
	}
}

func (h *half) read(p []byte) (int, error) {
	for {
		h.mu.Lock()
		if len(h.buf) > 0 {
			n := copy(p, h.buf)
			h.buf = h.buf[n:]
			h.changedLocked()
			h.mu.Unlock()
			return n, nil
		}
		closed, changed, by := h.closed, h.changed, h.readBy
		h.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		if err := wait(changed, by); err != nil {
			return 0, err
		}
	}
}

func (h *half) write(p []byte) (n int, err error) {
	for len(p) > 0 {
		h.mu.Lock()
		if h.closed {
			h.mu.Unlock()
			return n, net.ErrClosed
		}
		if free := room - len(h.buf); free > 0 {
			k := min(free, len(p))
			h.buf = append(h.buf, p[:k]...)
			n, p = n+k, p[k:]
			h.changedLocked()
			h.mu.Unlock()
			continue
		}
		changed, by := h.changed, h.sendBy
		h.mu.Unlock()
		if err := wait(changed, by); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (h *half) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.changedLocked()
}

// Conn is one end of a pipe.
type Conn struct {
	in, out       *half
	local, remote net.Addr
	frozen        atomic.Bool // reads block until the other side closes
}

func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	for c.frozen.Load() && err == nil {
		c.in.mu.Lock()
		closed, changed := c.in.closed, c.in.changed
		c.in.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		<-changed
	}
	return n, err
}

func (c *Conn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *Conn) LocalAddr() net.Addr         { return c.local }
func (c *Conn) RemoteAddr() net.Addr        { return c.remote }

func (c *Conn) Close() error {
	c.in.set(func() { c.in.closed = true })
	c.out.set(func() { c.out.closed = true })
	return nil
}

func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.sendBy = t })
	return nil
}

func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// Freeze has reads block, as in a suspended laptop, until Thaw or until the other end closes.
func (c *Conn) Freeze() { c.frozen.Store(true) }

// Thaw ends Freeze.
func (c *Conn) Thaw() {
	c.frozen.Store(false)
	c.in.set(func() {})
}

// Closed reports whether either end was closed.
func (c *Conn) Closed() bool {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	return c.in.closed
}
