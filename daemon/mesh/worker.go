package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// worker does what one connection is for, on the goroutine of its uplink: everything that comes is handled in the order of
// its coming, and what is handled together is committed together.
type worker struct {
	u *uplink
	m *Mesh
	c *conn

	log        logState                  // control only
	receipts   receiptFlow               // control only
	renew      time.Time                 // when the session statement that the broker has is replaced
	introduced map[crypto.PublicKey]bool // ended sessions whose statement the broker has from this connection
}

func newWorker(u *uplink, c *conn) *worker {
	return &worker{
		u: u, m: u.m, c: c, renew: time.Now().Add(renewAfter), introduced: make(map[crypto.PublicKey]bool),
		log: logState{has: make(map[protocol.ID]bool), read: make(map[string]bool)},
	}
}

// incoming is a frame that changes what is on disk. apply runs in a transaction shared with others, and may run twice;
// done follows the commit. aside does in their place what keeps a frame that cannot be applied from stopping the others.
type incoming interface {
	apply(tx *store.Tx) error
	done(w *worker) error
	aside(w *worker, cause error) error
}

func (w *worker) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.bye(context.Cause(ctx)) })
	defer stop()
	jumps, clockSet := w.m.env.Clock.Jumps()
	if err := w.hello(); err != nil {
		return err
	}
	w.m.env.Clock.Confirm(jumps)
	w.u.accepted(w.c)
	if w.u.control {
		if err := w.syncAll(); err != nil {
			return err
		}
	}
	w.u.setState(protocol.ConnOpen, nil) // not before the log is here: who just joined knows nobody without it
	w.m.log.Info("connected", "key", w.u.key.Short(), "control", w.u.control)
	for {
		if now, _ := w.m.env.Clock.Jumps(); now != jumps {
			return errClockSet
		}
		next, err := w.turn()
		if err != nil {
			return err
		}
		if err := w.sleep(next, clockSet); err != nil {
			return err
		}
	}
}

// errClockSet ends a connection: what was signed for it bears the time from before.
var errClockSet = protocol.Refuse(protocol.CodeUnavailable, "this machine slept, or its clock was set: connecting anew").RetryAfter(0)

// bye ends the connection when the mesh or its session ends. A session that goes on after a restart of the daemon must not
// seem to leave, so its connection is cut as a crash would cut it: the lease bridges that. A daemon that was told to stop says so.
func (w *worker) bye(cause error) {
	switch {
	case errors.Is(cause, ErrStopped):
		w.c.goodbye(websocket.CloseNormalClosure, ErrStopped.Error())
	case w.u.control:
		w.c.goodbye(websocket.CloseGoingAway, "")
	}
	w.c.end(errors.New("closed by us"))
}

// turn does all there is to do and returns when to look again, by time.Now; zero: when woken.
func (w *worker) turn() (next time.Time, err error) {
	if err := w.handle(w.c.takeFrames()); err != nil {
		return next, err
	}
	if w.u.control {
		if err := w.keepLog(); err != nil {
			return next, err
		}
		if err := w.forgetSessions(); err != nil {
			return next, err
		}
		receipts, err := w.sendReceipts()
		if err != nil {
			return next, err
		}
		var left []peer
		left, next = w.m.who.expire(time.Now())
		next = earlier(next, receipts)
		w.m.tellPeers(nil, left)
	}
	card, err := w.sendProfile()
	if err != nil {
		return next, err
	}
	retry, err := w.drain()
	if err != nil {
		return next, err
	}
	if at := w.m.out.oldestFlight(w.u); !at.IsZero() {
		late := at.Add(ackPatience)
		if !late.After(time.Now()) {
			return next, protocol.Refuse(protocol.CodeTimeout, "the broker did not acknowledge a message in %s", ackPatience)
		}
		next = earlier(next, late)
	}
	return earlier(earlier(next, card), retry), nil
}

// earlier returns the earlier of two times, of which a zero one does not count.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sleep waits for something to do.
func (w *worker) sleep(next time.Time, clockSet <-chan struct{}) error {
	var due <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(max(time.Until(next), time.Millisecond))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-w.c.ready:
	case <-w.u.wakes:
	case <-clockSet:
	case <-due:
	case <-w.c.gone:
		if err := w.handle(w.c.takeFrames()); err != nil { // what came before the end counts
			return err
		}
		return w.c.reason()
	}
	return nil
}

// handle works on frames in their order. Neighbours that change the disk share a commit.
func (w *worker) handle(frames [][]byte) error {
	var batch []incoming
	for _, frame := range frames {
		if in := w.read(frame); in != nil {
			batch = append(batch, in)
			continue
		}
		if err := w.commit(batch); err != nil {
			return err
		}
		batch = nil
		if err := w.notice(frame); err != nil {
			return err
		}
	}
	return w.commit(batch)
}

// apply applies a batch in one transaction.
func (w *worker) apply(batch ...incoming) error {
	err := w.m.env.DB.Commit(func(tx *store.Tx) error {
		for _, in := range batch {
			if err := guarded(w.m.log, func() error { return in.apply(tx) }); err != nil {
				return err
			}
		}
		return nil
	})
	w.m.env.Events.Wake()
	return err
}

// commit applies a batch in one transaction, and then lets each do what follows, even if the connection has ended. If the
// batch fails, each is applied alone, and the one at fault is set aside. If that fails as well, the fault is the disk's:
// the connection ends, and all that was not acknowledged comes again.
func (w *worker) commit(batch []incoming) (err error) {
	if len(batch) == 0 {
		return nil
	}
	defer w.m.out.notify()
	alone := w.apply(batch...) != nil
	for _, in := range batch {
		follow := in.done
		if alone {
			if cause := w.apply(in); cause != nil {
				w.m.log.Error("frame not applied", "err", cause)
				if failed := in.aside(w, cause); failed != nil {
					return failed
				}
				continue
			}
		}
		if failed := guarded(w.m.log, func() error { return follow(w) }); err == nil {
			err = failed
		}
	}
	return err
}

// read decodes the frames that change the disk; nil for all others.
func (w *worker) read(frame []byte) incoming {
	var tag protocol.Tag
	if err := json.Unmarshal(frame, &tag); err != nil {
		return nil
	}
	switch tag.Type {
	case protocol.TypePush:
		return w.readPush(frame)
	case protocol.TypeAck:
		return w.readAck(frame)
	case protocol.TypeReceipt:
		return w.readReceipt(frame)
	case protocol.TypeError:
		return w.readRefusal(frame)
	}
	return nil
}

// notice works on the frames that tell of others. What is unknown is logged: a frame that nobody handles is never silent.
func (w *worker) notice(frame []byte) error {
	var tag protocol.Tag
	if err := json.Unmarshal(frame, &tag); err != nil {
		return nil
	}
	switch tag.Type {
	case protocol.TypeLog:
		return w.handleLog(frame)
	case protocol.TypeMembership:
		return w.handleMembership(frame)
	case protocol.TypePresence:
		return w.handlePresence(frame)
	case protocol.TypeError:
		w.m.log.Warn("frame refused by the broker", "err", refusalOf(w.m.log, frame))
	case protocol.TypePush, protocol.TypeAck, protocol.TypeReceipt:
		w.m.log.Warn("malformed frame", "type", tag.Type)
	default:
		w.m.log.Warn("unknown frame", "type", brokerWord(tag.Type))
	}
	return nil
}

// ErrStopped is why a daemon ends that was told to: it says so to its brokers, and its member is offline at once. A daemon that ends for any other
// reason is expected back, and a lease hides that it was gone.
var ErrStopped = errors.New("stopped")
