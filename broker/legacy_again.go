package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
)

const (
	// redeliverAfter is how long the daemon of 1.37 and its sessions have to acknowledge a push. The original's claim on a row
	// lasts as long.
	redeliverAfter = 30 * time.Second

	// redeliverMost is how often a push is repeated on one connection. Beyond that it waits for the next one: a client that
	// drops a message without a word would get it for ever.
	redeliverMost = 5
)

// unconfirmed is a push that waits for its client_ack.
type unconfirmed struct {
	id    string
	feed  *feed
	class queue.Class
	lsn   uint64
	due   time.Time
	times int // that it was repeated
}

// awaitReading sees to it that pushes are known to be read: those who acknowledge get them again when they do not, the others
// are asked by a ping. Only the writer calls it.
func (c *conn) awaitReading(rows []pushed) {
	for i := range rows {
		p := &rows[i]
		if c.legacy.kind.acknowledges() {
			c.expectAck(unconfirmed{id: string(p.id()), feed: p.feed, class: p.class, lsn: p.lsn})
		} else {
			c.confirmAfter(string(p.id()))
		}
	}
}

// expectAck notes when the push is to be repeated.
func (c *conn) expectAck(u unconfirmed) {
	l := c.legacy
	u.due = time.Now().Add(redeliverAfter)
	l.unacked = append(l.unacked, u)
	if len(l.unacked) == 1 {
		l.armRedelivery(c)
	}
}

func (l *legacyConn) armRedelivery(c *conn) {
	wait := time.Until(l.unacked[0].due)
	if l.again == nil {
		l.again = time.AfterFunc(wait, c.nudge)
		return
	}
	l.again.Reset(wait)
}

// redeliver writes again what was not acknowledged in time, and returns how much. Only the writer calls it.
func (c *conn) redeliver() (n int, err error) {
	l, now := c.legacy, time.Now()
	if l == nil || len(l.unacked) == 0 || now.Before(l.unacked[0].due) {
		return 0, nil
	}
	due := 0
	for due < len(l.unacked) && !now.Before(l.unacked[due].due) {
		due++
	}
	late := l.unacked[:due:due]
	l.unacked = append([]unconfirmed(nil), l.unacked[due:]...)
	for _, u := range late {
		wrote, err := c.pushAgain(u)
		if err != nil {
			return n, err
		}
		if wrote {
			n++
		}
	}
	if len(l.unacked) > 0 {
		l.armRedelivery(c)
	}
	return n, nil
}

// pushAgain writes a push again, unless it was acknowledged, its row is gone, or its queue is another connection's now.
func (c *conn) pushAgain(u unconfirmed) (wrote bool, err error) {
	c.mu.Lock()
	waits := c.pushes.out.holds(u.feed, u.lsn) && slices.Contains(c.pushes.feeds, u.feed)
	c.mu.Unlock()
	if !waits || u.times >= redeliverMost {
		return false, nil
	}
	rows, err := c.srv.queue.Pull(u.feed.to(), u.class, u.lsn-1, 1, 0)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errQueueRead, err)
	}
	if len(rows) == 0 || rows[0].LSN != u.lsn { // expired, or another connection of the member's had it
		c.takePushed([]byte(u.id))
		return false, nil
	}
	err = c.net.frame(func(dst []byte) (_ []byte, err error) {
		_, dst, err = c.frameFor(dst, &rows[0])
		return dst, err
	})
	if err != nil {
		return false, err
	}
	c.log().Debug("pushed again", "msg", u.id, "times", u.times+1)
	u.times++
	c.expectAck(u)
	return true, c.net.flushFrom(flushAt)
}

// stopRedelivery is called when nobody reads or writes any more.
func (l *legacyConn) stopRedelivery() {
	if l.again != nil {
		l.again.Stop()
	}
}
