package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// peer is a person with a connection. It sends his letters, acknowledges what it gets, and comes back when the connection
// breaks.
type peer struct {
	g     *load
	index int
	*person
	wake chan struct{} // one slot: something for writeLoop

	mu      sync.Mutex
	out     []byte // client_acks that wait
	ends    []int
	pongs   [][]byte
	next    int    // next letter
	unacked int    // sent on this connection, no answer yet
	acked   []bool // by the broker, by letter
	again   []int  // letters to send again, from later on
	later   time.Time

	// owned by readLoop
	last       []int32 // by sender: highest letter that arrived
	connection uint32  // counts them, from 1; set before the loop begins
}

func newPeer(g *load, index int) *peer {
	p := &peer{g: g, index: index, person: g.w.people[index], wake: make(chan struct{}, 1)}
	p.acked, p.last = make([]bool, len(p.letters)), make([]int32, len(g.w.people))
	return p
}

func (p *peer) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// serve keeps the peer connected until ctx ends. The first connection is open already.
func (p *peer) serve(ctx context.Context, l *link) {
	for {
		p.carry(ctx, l)
		p.g.links.Add(-1)
		for {
			if ctx.Err() != nil {
				return
			}
			var err error
			if l, err = p.reconnect(ctx); err == nil {
				break
			}
		}
		p.g.links.Add(1)
	}
}

// backoff of a daemon: full jitter, doubling.
const (
	backoffFirst = 500 * time.Millisecond
	backoffMost  = 30 * time.Second
)

// reconnect dials until it succeeds.
func (p *peer) reconnect(ctx context.Context) (*link, error) {
	most := backoffFirst
	for {
		timer := time.NewTimer(rand.N(most))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		l, err := dial(ctx, p.g.target.url, p.person, p.g.o.Receipts, readBuffer)
		if err == nil {
			return l, nil
		}
		p.g.noteDialError(err)
		most = min(2*most, backoffMost)
	}
}

const readBuffer = 16 << 10

// carry runs one connection until it ends.
func (p *peer) carry(ctx context.Context, l *link) {
	p.connection++
	p.mu.Lock()
	p.out, p.ends, p.pongs, p.unacked, p.again = nil, nil, nil, 0, nil
	for i := range p.next { // what has no answer goes out once more
		if !p.acked[i] {
			p.again = append(p.again, i)
			p.g.repeated[p.g.firsts[p.index]+i].Store(true)
		}
	}
	p.mu.Unlock()
	l.ws.SetPingHandler(func(data string) error {
		p.mu.Lock()
		p.pongs = append(p.pongs, []byte(data))
		p.mu.Unlock()
		p.nudge()
		return nil
	})
	ctx, cancel := context.WithCancel(ctx)
	var both sync.WaitGroup
	both.Go(func() {
		defer cancel()
		p.readLoop(l)
	})
	p.writeLoop(ctx, l)
	l.ws.Close()
	cancel()
	both.Wait()
}

// writeLoop ends when ctx does or the connection breaks.
func (p *peer) writeLoop(ctx context.Context, l *link) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	p.nudge()
	for {
		wait, err := p.write(l)
		if err == nil {
			err = l.gather.flush()
		}
		if err != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// write writes all that may go out, and returns how long there is nothing else to do.
func (p *peer) write(l *link) (time.Duration, error) {
	for {
		if err := p.writeAcks(l); err != nil {
			return 0, err
		}
		i, wait := p.take()
		if i < 0 {
			return wait, nil
		}
		p.g.stamp(p.index, i)
		if err := l.write(p.letters[i].frame); err != nil {
			return 0, err
		}
	}
}

func (l *link) write(frame []byte) error {
	if err := l.ws.WriteMessage(websocket.TextMessage, frame); err != nil {
		return err
	}
	if l.gather.waiting() < flushAt {
		return nil
	}
	return l.gather.flush()
}

// take returns the next letter to send, or -1 and how long to wait for one.
func (p *peer) take() (int, time.Duration) {
	if !p.g.started.Load() { // from here on the epoch stands
		return -1, time.Hour
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unacked >= p.g.o.Window {
		return -1, time.Hour
	}
	if len(p.again) > 0 {
		if wait := time.Until(p.later); wait > 0 {
			return -1, wait
		}
		i := p.again[0]
		p.again = p.again[1:]
		p.unacked++
		return i, 0
	}
	if p.next == len(p.letters) {
		return -1, time.Hour
	}
	if wait := p.g.due(p.index, p.next) - time.Since(p.g.epoch); wait > 0 {
		return -1, wait
	}
	p.next++
	p.unacked++
	return p.next - 1, 0
}

func (p *peer) writeAcks(l *link) error {
	p.mu.Lock()
	out, ends, pongs := p.out, p.ends, p.pongs
	p.out, p.ends, p.pongs = nil, nil, nil
	p.mu.Unlock()
	for _, data := range pongs {
		l.ws.WriteControl(websocket.PongMessage, data, time.Time{})
	}
	from := 0
	for _, end := range ends {
		if err := l.write(out[from:end]); err != nil {
			return err
		}
		from = end
	}
	p.mu.Lock()
	if p.out == nil && cap(out) <= keepBuffer {
		p.out, p.ends = out[:0], ends[:0]
	}
	p.mu.Unlock()
	return nil
}

// readLoop ends with the connection.
func (p *peer) readLoop(l *link) {
	var buf []byte
	var err error
	for {
		if buf, err = l.next(buf); err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(buf, []byte(`{"type":"push"`)):
			p.handlePush(buf)
		case bytes.HasPrefix(buf, []byte(`{"type":"ack"`)):
			p.handleAck(buf)
		case bytes.HasPrefix(buf, []byte(`{"type":"receipt"`)):
			p.confirm(value(buf, `"receiptId":"`))
			p.g.receipts.Add(1)
		}
	}
}

// confirm queues a client_ack.
func (p *peer) confirm(id []byte) {
	p.mu.Lock()
	p.out = append(p.out, `{"type":"client_ack","brokerMessageId":"`...)
	p.out = append(append(p.out, id...), `"}`...)
	p.ends = append(p.ends, len(p.out))
	p.mu.Unlock()
	p.nudge()
}

func (p *peer) handlePush(frame []byte) {
	p.confirm(value(frame, `"messageId":"`))
	from, n, ok := p.g.w.parseID(value(frame, `"client_message_id":"`))
	if !ok {
		return // of an earlier run
	}
	slot := p.g.slot(from, n, p.index)
	if slot < 0 || !bytes.Equal(value(frame, `"ciphertext":"`), p.g.w.people[from].letters[n].ciphertext) {
		p.g.altered.Add(1)
		return
	}
	if before := p.g.seen[slot].Swap(p.connection); before == p.connection && !p.g.repeated[p.g.firsts[from]+n].Load() {
		p.g.duplicates.Add(1)
		return
	} else if before != 0 {
		p.g.redelivered.Add(1)
		return
	}
	if int32(n+1) <= p.last[from] {
		p.g.outOfOrder.Add(1)
	}
	p.last[from] = int32(n + 1)
	p.g.arrived(slot, from, n)
	if slot%p.g.sampleEvery == 0 {
		p.g.sample(p.index, frame)
	}
}

func (p *peer) handleAck(frame []byte) {
	from, n, ok := p.g.w.parseID(value(frame, `"id":"`))
	if !ok || from != p.index {
		return
	}
	var ack protocol.Ack
	if bytes.HasSuffix(frame, []byte(`"queued":true}`)) {
		ack.Queued = true
	} else if json.Unmarshal(frame, &ack) != nil {
		return
	}
	p.mu.Lock()
	p.unacked--
	first := !p.acked[n]
	switch {
	case ack.Queued:
		p.acked[n] = true
	case ack.Retryable:
		i, _ := slices.BinarySearch(p.again, n)
		p.again = slices.Insert(p.again, i, n)
		p.later = time.Now().Add(time.Duration(ack.RetryAfter) * time.Millisecond)
		p.g.retried.Add(1)
	default:
		p.g.refused(ack.Code)
	}
	p.mu.Unlock()
	if ack.Queued && first {
		p.g.acknowledged(from, n)
	}
	p.nudge()
}
