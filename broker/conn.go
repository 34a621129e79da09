package broker

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// conn is one WebSocket connection. readLoop reads frames and answers them; a writer, which is there while there is something
// to write, writes the answers and whatever the queues hold for it. While the peer has nothing to say there may be no readLoop
// either: the connection is parked.
type conn struct {
	// fixed at construction
	srv    *Server
	ws     *websocket.Conn
	net    *coalescer
	addr   string // of the peer, for the log and the limit
	host   string // that the peer dialled
	opened time.Time

	// set by an accepted hello under mu, before anything is pushed; fixed from then on
	mesh     *mesh
	member   *member
	key      crypto.PublicKey // session key, or the member key of a control connection
	control  bool
	receipts bool // the peer named CapReceipts: it hears what becomes of what it sends
	instance [8]byte
	atHome   bool   // its user said that these keys are at home there
	presence string // id told in hello_ack

	told readTo // guarded by mesh.mu

	// owned by readLoop
	nonce     *[32]byte // of the last challenge, until it is used
	lastHeard time.Time // when the read deadline was last moved

	// owned by the writer
	sending  outbox // swapped with out
	newsSeen uint64 // mesh.news when it was last read

	writing writing // whether there is a writer
	pingDue atomic.Bool
	ping    *time.Timer    // sets pingDue; guarded by mu
	written sync.WaitGroup // for the last writer

	parked     atomic.Bool // nobody reads; whoever takes it back starts readLoop
	descriptor int32       // guarded by parking.mu
	early      int32       // frames before an accepted hello; owned by readLoop

	ended    atomic.Bool // set under mu
	mu       sync.Mutex
	out      outbox        // replies that wait
	room     chan struct{} // readLoop waits for out to empty, until it is closed; nil: it does not wait
	ending   *ending       // once ended
	pushes   pushState
	pongs    []string  // pings of the peer that wait for their pong, the last few
	owed     *owed     // nil: nothing
	cardNext time.Time // when the next card is allowed
}

// ending is how a connection ends: what the peer hears, and the reason in the log.
type ending struct {
	code   int // WebSocket close code; 0: the peer is gone, nothing to say
	text   string
	reason string
	clean  bool // the peer said that it will not be back soon
}

func newConn(s *Server, ws *websocket.Conn, nc *coalescer, addr, host string) *conn {
	c := &conn{srv: s, ws: ws, net: nc, addr: addr, host: host, opened: time.Now()}
	c.written.Add(1)
	return c
}

// serve runs the connection. Server.running is told when nobody reads and writes any more and it is out of every table. A hello takes
// a deep stack, which a goroutine keeps: once it is accepted another one goes on.
func (c *conn) serve() {
	c.ws.SetPingHandler(c.handlePing)
	c.ws.SetPongHandler(func(string) error {
		c.heard()
		return nil
	})
	c.ws.SetCloseHandler(func(int, string) error { return nil }) // the writer answers it
	c.ws.SetReadLimit(c.srv.limits.PreHello)
	c.ws.SetReadDeadline(c.opened.Add(c.srv.limits.HelloTimeout))
	c.startPings()
	for c.mesh == nil {
		if err := c.readFrame(); err != nil {
			c.finish(err)
			return
		}
	}
	if !c.park() {
		go c.readLoop()
	}
}

// finish ends the connection for the reader's reason and waits for the writer.
func (c *conn) finish(err error) {
	c.end(c.endOf(err))
	c.written.Wait()
	c.stopPings()
	c.net.Close()
	c.srv.parking.forget(c)
	c.leave()
	c.srv.running.Done()
}

// park is for the goroutine that reads: true ends it, and another one goes on when there is something to read or the next ping goes out.
// So whoever is read by nobody has no pong outstanding, and the read deadline need not be watched.
func (c *conn) park() bool {
	return c.net.empty() && c.srv.parking.park(c)
}

// unpark has somebody read again. Any goroutine may call it.
func (c *conn) unpark() {
	if c.parked.CompareAndSwap(true, false) {
		go c.srv.parking.read(c)
	}
}

// end begins the end of the connection. The first caller decides how; the writer does it.
func (c *conn) end(e ending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.ending = &e
	c.ended.Store(true)
	c.giveRoomLocked()
	c.nudge()
	c.unpark()
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// readLoop waits for frames and handles them one after the other. It ends with the connection, or when the peer has nothing to say
// with the pong. Where that cannot be parked another goroutine goes on waiting, without the stack that frames took.
func (c *conn) readLoop() {
	framed := false
	for {
		opcode, payload, err := c.net.nextUsual()
		switch {
		case err != nil:
		case opcode == websocket.TextMessage:
			framed = true
			c.take(payload)
		case opcode == websocket.PongMessage:
			c.heard()
			if c.park() {
				return
			}
			if framed {
				go c.readLoop()
				return
			}
		default:
			framed, err = true, c.readFrame()
		}
		if err != nil {
			c.finish(err)
			return
		}
	}
}

// take handles a frame, and waits for the peer if he does not read his answers.
func (c *conn) take(frame []byte) {
	c.heard()
	c.handle(frame)
	c.waitForRoom()
}

// readFrame reads one frame from the WebSocket and takes it.
func (c *conn) readFrame() error {
	_, r, err := c.ws.NextReader()
	if err != nil {
		return err
	}
	buf := readBuffers.Get().(*[]byte)
	*buf, err = readAll((*buf)[:0], r)
	if err == nil {
		c.take(*buf)
	}
	if cap(*buf) <= keepAtMax {
		readBuffers.Put(buf)
	}
	return err
}

// readAll is io.ReadAll into a buffer of the caller's.
func readAll(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return b, err
		}
	}
}

// closeStopped is the close text of a daemon that was stopped, not restarted: its member is offline at once. A session that
// closes in order needs none.
const closeStopped = "stopped"

// endOf names the end that a read error stands for.
func (c *conn) endOf(err error) ending {
	if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
		switch ce.Code {
		case websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived:
			return ending{code: websocket.CloseNormalClosure, reason: endClient, clean: !c.control || ce.Text == closeStopped}
		case websocket.CloseAbnormalClosure:
			return ending{reason: endLost}
		}
		return ending{code: websocket.CloseNormalClosure, reason: endClient}
	}
	ne, isNet := errors.AsType[net.Error](err) // gorilla hides what it wraps
	switch {
	case errors.Is(err, websocket.ErrReadLimit):
		return ending{code: websocket.CloseMessageTooBig, text: string(protocol.CodePayloadTooLarge), reason: endTooLarge}
	case isNet && ne.Timeout() && c.mesh == nil:
		return ending{code: websocket.ClosePolicyViolation, text: string(protocol.CodeTimeout), reason: endHelloTimeout}
	case isNet && ne.Timeout():
		return ending{code: websocket.CloseGoingAway, text: string(protocol.CodeTimeout), reason: endSilent}
	case isNet, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrUnexpectedEOF):
		return ending{reason: endLost}
	}
	return ending{code: websocket.CloseProtocolError, reason: endBadFrame}
}

// heard moves the read deadline after an accepted hello, at most once a second: it costs as much as a small frame.
func (c *conn) heard() {
	now := time.Now()
	if c.mesh == nil || now.Sub(c.lastHeard) < time.Second {
		return
	}
	c.lastHeard = now
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended.Load() { // the end has set a deadline of its own
		c.ws.SetReadDeadline(now.Add(c.srv.limits.Silence))
	}
}

// awaySince is from when on the peer counts as away: now, or when its next sign of life was due, if that is earlier. So the
// lease of a machine that vanished does not begin only when the silence has ended its connection, and no machine is away
// before it could be missed. For readLoop's goroutine.
func (c *conn) awaySince() time.Time {
	heard, now := c.lastHeard, time.Now()
	if heard.IsZero() {
		heard = c.opened
	}
	if due := heard.Add(c.srv.limits.PingEvery); due.Before(now) {
		return due
	}
	return now
}

// leaseLeft is how long the presence of the ended connection outlives it.
func (c *conn) leaseLeft() time.Duration {
	return time.Until(c.awaySince().Add(c.srv.limits.Lease))
}

const maxPongs = 4 // a peer that pings faster than it reads gets fewer pongs

func (c *conn) handlePing(data string) error {
	c.heard()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pongs) < maxPongs {
		c.pongs = append(c.pongs, data)
	}
	c.nudge()
	return nil
}

// waitForRoom holds the reader back while the peer does not read its answers.
func (c *conn) waitForRoom() {
	for {
		c.mu.Lock()
		if c.out.size() <= c.srv.limits.ReplyBytes || c.ended.Load() {
			c.mu.Unlock()
			return
		}
		room := make(chan struct{})
		c.room = room
		c.mu.Unlock()
		<-room
	}
}

// giveRoomLocked lets a reader go on that waits for room.
func (c *conn) giveRoomLocked() {
	if c.room != nil {
		close(c.room)
		c.room = nil
	}
}

// leave takes the ended connection out of the tables of its mesh and of the server.
func (c *conn) leave() {
	c.mu.Lock()
	e, feeds, pending := *c.ending, c.pushes.feeds, c.pushes.out.count
	c.pushes = pushState{}
	c.mu.Unlock()
	for _, f := range feeds {
		f.stop()
	}
	if c.mesh != nil {
		c.mesh.left(c, e)
	}
	c.srv.metrics.closes.WithLabelValues(e.reason).Inc()
	c.srv.closed.add(c.closedStatus(e, pending))
	c.srv.forget(c) // last: whoever sees that it is gone finds why
	c.log().Info("connection ended", "reason", e.reason, "text", e.text, "lasted", time.Since(c.opened).Round(time.Millisecond))
}

func (c *conn) closedStatus(e ending, pending int) ClosedStatus {
	st := ClosedStatus{At: c.srv.now().UTC(), Addr: c.addr, Kind: c.kind(), Reason: e.reason, Lasted: time.Since(c.opened).Seconds(), Pending: pending}
	if c.mesh != nil {
		st.Mesh, st.Member = string(c.mesh.id), c.member.key.Short()
	}
	return st
}

// kind is what the connection counts as.
func (c *conn) kind() string {
	switch {
	case c.mesh == nil:
		return kindHello
	case c.control:
		return kindControl
	}
	return kindSession
}

// log names the connection in all that it logs. Most connections log so little that they keep no logger.
func (c *conn) log() *slog.Logger {
	if c.mesh == nil {
		return c.srv.log.With("addr", c.addr)
	}
	return c.srv.log.With("addr", c.addr, "mesh", c.mesh.id, "member", c.member.key.Short(), "key", c.key.Short(), "kind", c.kind())
}
