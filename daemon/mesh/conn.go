package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// conn is one WebSocket connection of an uplink. readLoop sorts what comes into answers and the rest, writeLoop writes and
// pings; a worker does everything else.
type conn struct {
	// fixed at construction
	ws     *websocket.Conn
	u      *uplink
	log    *slog.Logger
	began  time.Time
	out    chan outgoing
	ready  chan struct{} // one slot: frames wait for the worker
	room   chan struct{} // one slot: the worker took them
	gone   chan struct{} // closed at the end of the connection
	ended  sync.Once
	finish sync.WaitGroup

	grants bool // the broker takes grants; set by hello, before anybody else has the connection

	mu      sync.Mutex
	frames  [][]byte
	size    int // bytes in frames
	waiting map[string]chan []byte
	lastID  uint64
	err     error // why it ended
}

// outgoing is a frame for writeLoop, or with a code the end of the connection.
type outgoing struct {
	frame []byte
	code  int    // WebSocket close code; 0: a frame
	text  string // of the close
}

// maxWaiting is how many bytes of frames may wait for the worker before the reader stops reading: more than the broker's
// window of pushes, and a bound for a broker that keeps none.
const maxWaiting = 16 << 20

// dialBroker connects, without hello.
func dialBroker(ctx context.Context, u *uplink) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ws, err := u.m.env.Broker.WebSocket(ctx, u.m.cfg.BrokerURL)
	if err != nil {
		return nil, err
	}
	c := &conn{
		ws: ws, u: u, log: u.m.log, began: time.Now(), out: make(chan outgoing, 64), ready: make(chan struct{}, 1), room: make(chan struct{}, 1),
		gone: make(chan struct{}), waiting: make(map[string]chan []byte),
	}
	ws.SetPongHandler(c.handlePong)
	c.heard()
	c.finish.Go(c.readLoop)
	c.finish.Go(c.writeLoop)
	return c, nil
}

// end records why the connection is over and lets everybody go. The first reason stays.
func (c *conn) end(err error) {
	c.ended.Do(func() {
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(c.gone)
		c.ws.Close()
	})
}

// close ends the connection and waits for its goroutines.
func (c *conn) close() {
	c.end(errors.New("closed"))
	c.finish.Wait()
}

// byeTimeout is how long an orderly close may take: whoever waits for it has better things to do.
const byeTimeout = time.Second

// goodbye closes in order. After 1000 the broker ends a session's presence at once; after 1001, as after a lost
// connection, it keeps the control connection's for the lease.
func (c *conn) goodbye(code int, text string) {
	late := time.NewTimer(byeTimeout)
	defer late.Stop()
	select {
	case c.out <- outgoing{code: code, text: text}:
		select {
		case <-c.gone:
			return
		case <-late.C:
		}
	case <-c.gone:
		return
	case <-late.C:
	}
	c.end(errors.New("closed by us"))
}

// reason is why the connection ended.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// heard moves the end of patience: a peer that is silent for so long is gone, whatever TCP thinks.
func (c *conn) heard() { c.ws.SetReadDeadline(time.Now().Add(protocol.SilenceLimit)) }

func (c *conn) handlePong(sent string) error {
	c.heard()
	if at, err := strconv.ParseInt(sent, 10, 64); err == nil {
		rtt := time.Since(c.began) - time.Duration(at)
		if rtt < 0 || rtt > protocol.SilenceLimit {
			return nil // not the time of a ping of ours
		}
		c.u.mu.Lock()
		c.u.rtt = rtt
		c.u.mu.Unlock()
	}
	return nil
}

func (c *conn) readLoop() {
	for {
		frame, err := c.readFrame()
		if err != nil {
			c.end(closeReason(err))
			return
		}
		c.heard()
		if frame != nil && !c.take(frame) {
			return
		}
	}
}

// maxSkipped is how much of a frame that is too long is read over. A frame without end would keep the others away for ever.
const maxSkipped = 64 << 20

// readFrame returns the next frame, and nil for one that is longer than any may be: it is skipped.
func (c *conn) readFrame() ([]byte, error) {
	_, r, err := c.ws.NextReader()
	if err != nil {
		return nil, err
	}
	frame, err := io.ReadAll(io.LimitReader(r, protocol.MaxFrame+1))
	if err != nil {
		return nil, err
	}
	if len(frame) <= protocol.MaxFrame {
		if !utf8.Valid(frame) { // parts of it go on as they are
			frame = bytes.ToValidUTF8(frame, []byte("\uFFFD"))
		}
		return frame, nil
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r, maxSkipped))
	if err == nil && rest == maxSkipped {
		err = protocol.Refuse(protocol.CodePayloadTooLarge, "the broker sends a frame of more than %d MiB", maxSkipped>>20)
	}
	c.log.Warn("frame skipped", "bytes", int64(len(frame))+rest, "reason", protocol.CodePayloadTooLarge)
	return nil, err
}

// take gives an answer to who waits for it and keeps everything else for the worker.
func (c *conn) take(frame []byte) bool {
	var tag protocol.Tag
	if err := json.Unmarshal(frame, &tag); err != nil {
		c.log.Warn("malformed frame", "err", err)
		return true
	}
	c.mu.Lock()
	if tag.ReqID != "" {
		if w, ok := c.waiting[tag.ReqID]; ok {
			delete(c.waiting, tag.ReqID)
			c.mu.Unlock()
			w <- frame
			return true
		}
	}
	c.frames = append(c.frames, frame)
	c.size += len(frame)
	c.mu.Unlock()
	c.signal(c.ready)
	for {
		c.mu.Lock()
		full := c.size > maxWaiting
		c.mu.Unlock()
		if !full {
			return true
		}
		select {
		case <-c.room:
		case <-c.gone:
			return false
		}
	}
}

func (c *conn) signal(slot chan struct{}) {
	select {
	case slot <- struct{}{}:
	default:
	}
}

// takeFrames returns what waits for the worker.
func (c *conn) takeFrames() [][]byte {
	c.mu.Lock()
	frames := c.frames
	c.frames, c.size = nil, 0
	c.mu.Unlock()
	c.signal(c.room)
	return frames
}

func (c *conn) writeLoop() {
	ping := time.NewTicker(protocol.PingEvery)
	defer ping.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-ping.C:
			stamp := strconv.FormatInt(int64(time.Since(c.began)), 10) // not the time of day, which may be set
			if err := c.ws.WriteControl(websocket.PingMessage, []byte(stamp), time.Now().Add(writeTimeout)); err != nil {
				c.end(fmt.Errorf("ping the broker: %w", err))
				return
			}
		case o := <-c.out:
			if o.code != 0 {
				c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(o.code, o.text), time.Now().Add(byeTimeout))
				c.end(errors.New("closed by us"))
				return
			}
			c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err := c.ws.WriteMessage(websocket.TextMessage, o.frame); err != nil {
				c.end(fmt.Errorf("write to the broker: %w", err))
				return
			}
		}
	}
}

// write hands a frame to writeLoop. It returns when there is room, not when the frame is on the wire.
func (c *conn) write(frame any) error {
	b, err := json.Marshal(frame)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	select {
	case c.out <- outgoing{frame: b}:
		return nil
	case <-c.gone:
		return c.reason()
	}
}

// start sends a request; the channel gets the one answer. tag is the frame's own.
func (c *conn) start(frame any, tag *protocol.Tag) (<-chan []byte, error) {
	answer := make(chan []byte, 1)
	c.mu.Lock()
	c.lastID++
	tag.ReqID = strconv.FormatUint(c.lastID, 36)
	c.waiting[tag.ReqID] = answer
	c.mu.Unlock()
	return answer, c.write(frame)
}

// wait returns the answer of type want, decoded into reply, or the refusal.
func (c *conn) wait(answer <-chan []byte, want string, reply any) error {
	timeout := time.NewTimer(answerTimeout)
	defer timeout.Stop()
	var frame []byte
	select {
	case frame = <-answer:
	case <-c.gone:
		select {
		case frame = <-answer: // it came before the end, as a refused hello does
		default:
			return c.reason()
		}
	case <-timeout.C:
		return protocol.Refuse(protocol.CodeTimeout, "the broker did not answer in %s", answerTimeout)
	}
	var tag protocol.Tag
	if err := json.Unmarshal(frame, &tag); err != nil {
		return fmt.Errorf("decode an answer: %w", err)
	}
	if tag.Type == protocol.TypeError {
		return refusalOf(c.log, frame)
	}
	if tag.Type != want {
		return protocol.Refuse(protocol.CodeBadFrame, "the broker answered %q instead of %q", tag.Type, want)
	}
	if err := decodeFrame(c.log, frame, reply); err != nil {
		return fmt.Errorf("decode the broker's %s: %w", want, err)
	}
	return nil
}

// call sends a request and waits for its answer.
func (c *conn) call(frame any, tag *protocol.Tag, want string, reply any) error {
	answer, err := c.start(frame, tag)
	if err != nil {
		return err
	}
	return c.wait(answer, want, reply)
}

// ask is call for a caller who waits for the reply. If the connection ends meanwhile, it reports that there is no connection.
func (c *conn) ask(frame any, tag *protocol.Tag, want string, reply any) error {
	err := c.call(frame, tag, want, reply)
	if _, refused := errors.AsType[*protocol.Error](err); err != nil && !refused {
		return protocol.Refuse(protocol.CodeUnavailable, "the connection to the broker ended before it answered").RetryAfter(0)
	}
	return err
}

// refusalOf reads an error frame.
func refusalOf(log *slog.Logger, frame []byte) error {
	var e protocol.ErrorFrame
	if err := decodeFrame(log, frame, &e); err != nil {
		return fmt.Errorf("decode a refusal: %w", err)
	}
	return protocol.Refused(e.Code, e.Message, e.Retryable, e.RetryAfter)
}

// closeReason names the end of a connection that the broker closed for a reason of its own.
func closeReason(err error) error {
	ce, ok := errors.AsType[*websocket.CloseError](err)
	if !ok {
		return fmt.Errorf("read from the broker: %w", err)
	}
	switch ce.Code {
	case protocol.CloseBanned:
		return protocol.Refuse(protocol.CodeRevoked, "the broker says that this key was removed from the mesh")
	case protocol.CloseKicked:
		return protocol.Refuse(protocol.CodeKicked, "an admin ended this connection")
	}
	return fmt.Errorf("the broker closed the connection: %w", err)
}
