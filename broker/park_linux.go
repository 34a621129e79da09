package broker

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// parking has one goroutine wait for all connections that have nothing to say: one each, with its stack, would be a fifth of what they
// cost. No thread waits, since Go's own poller is asked about the epoll.
type parking struct {
	read func(*conn) // goes on with one that is unparked: readLoop, whose name here would be an initialization cycle

	once  sync.Once
	epoll *os.File // nil: the system has none for us, and nobody parks
	fd    int      // of epoll
	done  chan struct{}

	mu    sync.Mutex
	conns map[int32]*conn // the open ones that have parked before, by descriptor
}

func (p *parking) open() {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return
	}
	f := os.NewFile(uintptr(fd), "epoll")
	if f.SetReadDeadline(time.Time{}) != nil { // Go's poller does not take it
		f.Close()
		return
	}
	p.fd, p.epoll, p.done, p.conns = fd, f, make(chan struct{}), make(map[int32]*conn)
	go p.wait()
}

// park is the last that a goroutine which reads c does: true says that another one reads on as soon as there is something to read, or
// at unpark. False changes nothing.
func (p *parking) park(c *conn) bool {
	p.once.Do(p.open)
	if p.epoll == nil {
		return false
	}
	c.parked.Store(true) // from here on somebody else may go on with c
	armed := false
	c.net.raw.Control(func(fd uintptr) { armed = p.arm(int32(fd), c) })
	if !armed || c.ended.Load() { // it may have ended just before it was parked
		return !c.parked.CompareAndSwap(true, false)
	}
	return true
}

// arm has wait hear of the next bytes, or the end, of c: once, also of what is there already.
func (p *parking) arm(fd int32, c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	op := unix.EPOLL_CTL_MOD
	if p.conns[fd] != c { // a new descriptor: the system forgets those that are closed
		op = unix.EPOLL_CTL_ADD
	}
	err := unix.EpollCtl(p.fd, op, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: fd})
	if err != nil {
		return false
	}
	p.conns[fd], c.descriptor = c, fd
	return true
}

// forget is for a connection that is closed.
func (p *parking) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns[c.descriptor] == c {
		delete(p.conns, c.descriptor)
	}
}

// wait unparks whoever has something to say, until close. A word that comes late, for one that is not parked any more or for the
// next one with that descriptor, does no harm.
func (p *parking) wait() {
	defer close(p.done)
	raw, err := p.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events, 0)
			return n > 0 || err == unix.EINTR
		})
		if err != nil { // closed
			return
		}
		p.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if c := p.conns[e.Fd]; c != nil {
				c.unpark()
			}
		}
		p.mu.Unlock()
	}
}

// close ends wait. Nobody may park any more.
func (p *parking) close() {
	p.once.Do(func() {})
	if p.epoll != nil {
		p.epoll.Close()
		<-p.done
	}
}
