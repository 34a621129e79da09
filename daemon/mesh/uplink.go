package mesh

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	backoffLeast  = time.Second
	backoffMost   = 30 * time.Second
	backoffReset  = 30 * time.Second // a connection that lived so long was a good one
	refusedWait   = 5 * time.Minute  // after a refusal that another try soon will not change
	diskWait      = time.Second      // after a disk that was full
	clockWait     = 10 * time.Second // after a refusal for the clock, this machine's or the broker's: somebody sets it
	dialTimeout   = 20 * time.Second // DNS, TCP, TLS and upgrade
	writeTimeout  = 20 * time.Second // a peer that takes nothing for so long is gone
	answerTimeout = 30 * time.Second // of the broker to a request, on a connection that is alive
)

// uplink keeps one connection to the broker: the member's (control), or that of one live session. A first connect that
// fails is a state of its loop like any other.
type uplink struct {
	m       *Mesh
	key     crypto.PublicKey
	control bool
	wakes   chan struct{}      // one slot: something to send
	cancel  context.CancelFunc // set before run, under Mesh.mu

	mu        sync.Mutex
	state     string
	since     time.Time
	lastError *protocol.Error
	conn      *conn // nil: not connected
	rtt       time.Duration
	everOpen  bool
	statement bool      // the session statement changed: publish it
	status    bool      // the status changed
	card      bool      // the card changed, or its readers
	cardNext  time.Time // a broker takes one card in 10 s
}

func newUplink(m *Mesh, key crypto.PublicKey) *uplink {
	return &uplink{
		m: m, key: key, control: key == m.self, wakes: make(chan struct{}, 1),
		state: protocol.ConnConnecting, since: m.env.now(), cancel: func() {},
	}
}

// run connects again and again until ctx ends.
func (u *uplink) run(ctx context.Context) {
	backoff := backoffLeast
	for {
		began := time.Now()
		err := u.serve(ctx)
		if ctx.Err() != nil {
			u.setState(protocol.ConnConnecting, nil)
			return
		}
		if time.Since(began) >= backoffReset {
			backoff = backoffLeast
		}
		_, clockSet := u.m.env.Clock.Jumps()
		wait := u.failed(err, backoff)
		backoff = min(2*backoff, backoffMost)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-clockSet: // what kept us out may be over, and what it was signed with is old
			backoff = backoffLeast
		}
	}
}

// serve lives through one connection.
func (u *uplink) serve(ctx context.Context) error {
	c, err := dialBroker(ctx, u)
	if err != nil {
		return err
	}
	defer c.close()
	defer u.m.out.release(u)
	return newWorker(u, c).run(ctx)
}

// failed records why there is no connection and returns how long to wait: anything up to the backoff, or long where the
// broker said no for a reason that stays.
func (u *uplink) failed(err error, backoff time.Duration) time.Duration {
	refusal, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		refusal = protocol.Refuse(protocol.CodeUnavailable, "%v", err)
	}
	wait := rand.N(backoff) + 1
	state := protocol.ConnReconnecting
	switch refusal.Code {
	case protocol.CodeUnavailable, protocol.CodeTimeout, protocol.CodeDraining, protocol.CodeInternal, protocol.CodeCapacity:
		u.mu.Lock()
		if !u.everOpen {
			state = protocol.ConnConnecting
		}
		u.mu.Unlock()
	case protocol.CodeStoreFull, protocol.CodeStoreFailed: // here or at the broker: whoever makes room does not wait for us
		wait = diskWait + rand.N(diskWait)
	default:
		state = protocol.ConnRefused
		wait = backoffMost + rand.N(backoffMost)
		switch {
		case refusal.Code == protocol.CodeRevoked && u.revoked():
			wait = revokedWait + rand.N(time.Hour)
		case refusal.Code == protocol.CodeKicked:
			wait = refusedWait
		case refusal.Code == protocol.CodeTimestamp:
			wait = clockWait + rand.N(clockWait)
			u.m.ring.SignAnew(u.key)
		}
	}
	u.m.log.Info("no connection", "key", u.key.Short(), "state", state, "reason", refusal.Code, "err", err, "again_in", wait.Round(time.Millisecond))
	u.setState(state, refusal)
	return max(wait, refusal.After)
}

// revokedWait is the wait of a connection whose key is revoked. Nothing un-revokes, but for one case: the recovery key took
// the mesh back from a thief who had removed us. Somebody shut out can hear of that only by asking.
const revokedWait = 24 * time.Hour

// revoked reports whether our own view takes back the key of this connection. The broker's word alone ends nothing.
func (u *uplink) revoked() bool {
	_, gone := u.m.trust.View().RevokedOf(u.m.self, u.key)
	return gone
}

// setState records what the connection is. Changes of the control connection are events.
func (u *uplink) setState(state string, why *protocol.Error) {
	u.mu.Lock()
	changed := u.state != state
	if changed {
		u.state, u.since = state, u.m.env.now()
	}
	u.lastError = why
	u.everOpen = u.everOpen || state == protocol.ConnOpen
	if state != protocol.ConnOpen {
		u.conn = nil
	}
	u.mu.Unlock()
	if changed && u.control {
		u.m.env.Events.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: u.m.Slug(), Notice: state}, inbox.EventOptions{})
	}
}

// accepted records an accepted hello.
func (u *uplink) accepted(c *conn) {
	u.mu.Lock()
	u.conn, u.card = c, true
	u.mu.Unlock()
	if u.control {
		u.m.out.hurryUploads()
		u.m.uploads.wake()
	}
}

// open returns the connection, or an *Error that says why there is none.
func (u *uplink) open() (*conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn != nil {
		return u.conn, nil
	}
	e := protocol.Refuse(protocol.CodeUnavailable, "no connection to the broker of %s", u.m.Slug()).RetryAfter(0)
	if u.lastError != nil {
		e.Message += ": " + u.lastError.Message
	}
	return nil, e
}

// wakeUp tells the worker that there may be something to send.
func (u *uplink) wakeUp() {
	select {
	case u.wakes <- struct{}{}:
	default:
	}
}

// stop ends the uplink for good, and tells the broker that this is meant.
func (u *uplink) stop() {
	u.mu.Lock()
	c := u.conn
	u.mu.Unlock()
	if c != nil {
		c.goodbye(websocket.CloseNormalClosure, "")
	}
	u.m.mu.Lock()
	cancel := u.cancel
	u.m.mu.Unlock()
	cancel()
}

// profileChanged has the worker publish what others see of this session.
func (u *uplink) profileChanged(statement bool) {
	u.mu.Lock()
	u.statement = u.statement || statement
	u.status, u.card = true, true
	u.mu.Unlock()
	u.wakeUp()
}

// readersChanged has the worker seal the card again: who could not read it may be able to now.
func (u *uplink) readersChanged() {
	u.mu.Lock()
	u.card = true
	u.mu.Unlock()
	u.wakeUp()
}

// shutOut reports whether the broker does not let this key in any more.
func (u *uplink) shutOut() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn == nil && u.lastError != nil && (u.lastError.Code == protocol.CodeRevoked || u.lastError.Code == protocol.CodeNotMember)
}
