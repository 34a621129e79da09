package mesh

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeListener is a net.Listener in memory, so that tests may run in a synctest bubble.
type pipeListener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr("10.0.0.1:7900") }

func (l *pipeListener) dial(from string) (*pipeConn, error) {
	a, b := newHalf(), newHalf()
	client := &pipeConn{in: a, out: b, local: pipeAddr(from), remote: l.Addr()}
	server := &pipeConn{in: b, out: a, local: l.Addr(), remote: pipeAddr(from)}
	select {
	case l.accept <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

type pipeAddr string

func (pipeAddr) Network() string  { return "tcp" }
func (a pipeAddr) String() string { return string(a) }

// pipeRoom is what a pipe holds before its writer waits, as a socket does.
const pipeRoom = 64 << 10

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
		if room := pipeRoom - len(h.buf); room > 0 {
			k := min(room, len(p))
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

type pipeConn struct {
	in, out       *half
	local, remote net.Addr
}

func (c *pipeConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *pipeConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *pipeConn) LocalAddr() net.Addr         { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr        { return c.remote }

func (c *pipeConn) Close() error {
	c.in.set(func() { c.in.closed = true })
	c.out.set(func() { c.out.closed = true })
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.sendBy = t })
	return nil
}

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}
