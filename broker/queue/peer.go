package queue

import (
	"iter"
	"math"
	"slices"
	"sync"
)

type shard struct {
	mu     sync.RWMutex
	queues map[Recipient]*queue
}

// queue is what is known of one recipient. It exists while something waits or
// somebody subscribes.
type queue struct {
	d  *Disk
	to Recipient

	mu      sync.Mutex
	gone    bool             // no longer in its shard: look again
	lanes   *[classes]lane   // noLanes until a row comes
	deletes map[uint64]Class // acknowledged rows that are still in bbolt
	flushed uint64           // F as of the last flush that had rows of this queue
	moves   uint64           // counts flushes that visited: rows moved, deletes applied
	dirty   bool             // in Disk.dirty
	subs    []*subscriber    // replaced, never changed

	messages int   // waiting, and Put but not committed
	bytes    int64 // of them
	expires  int64 // no row expires before; MaxInt64: none ever

	woken uint64 // owned by the committer: the last batch that woke subs
}

// lane is one priority class of a queue.
type lane struct {
	ring ring
	disk int // rows in bbolt, without those in deletes
}

// noLanes is of all queues in which nothing has waited yet, most of a broker's. Nobody writes to it.
var noLanes [classes]lane

// laneLocked is where rows of that class wait, for who adds one.
func (q *queue) laneLocked(class Class) *lane {
	if q.lanes == &noLanes {
		q.lanes = new([classes]lane)
	}
	return &q.lanes[class]
}

type subscriber struct{ wake func() }

func (d *Disk) shard(to Recipient) *shard { return &d.shards[to[0]%64] }

// lock returns the recipient's queue, locked, made if necessary.
func (d *Disk) lock(to Recipient) *queue {
	for {
		if q := d.find(to); q != nil {
			return q
		}
		s := d.shard(to)
		s.mu.Lock()
		if s.queues[to] == nil {
			s.queues[to] = &queue{d: d, to: to, lanes: &noLanes, expires: math.MaxInt64}
		}
		s.mu.Unlock()
	}
}

// find is lock, or nil when nothing is known of the recipient.
func (d *Disk) find(to Recipient) *queue {
	s := d.shard(to)
	for {
		s.mu.RLock()
		q := s.queues[to]
		s.mu.RUnlock()
		if q == nil {
			return nil
		}
		q.mu.Lock()
		if !q.gone {
			return q
		}
		q.mu.Unlock()
	}
}

// prune forgets a queue without rows and subscribers.
func (d *Disk) prune(q *queue) {
	s := d.shard(q.to)
	s.mu.Lock()
	defer s.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.gone && q.idleLocked() {
		q.gone = true
		delete(s.queues, q.to)
	}
}

// idleLocked tells whether the queue can be forgotten. A dirty one is visited
// by the next flush, which prunes it.
func (q *queue) idleLocked() bool {
	return q.messages == 0 && !q.dirty && len(q.subs) == 0
}

func (q *queue) addLocked(messages int, bytes int64) {
	q.messages += messages
	q.bytes += bytes
	q.d.messages.Add(int64(messages))
	q.d.bytes.Add(bytes)
}

func (q *queue) noteExpiryLocked(at int64) {
	if at > 0 {
		q.expires = min(q.expires, at)
	}
}

// touchLocked has the next flush visit the queue.
func (q *queue) touchLocked() {
	if q.dirty {
		return
	}
	q.dirty = true
	q.d.dirtyMu.Lock()
	q.d.dirty = append(q.d.dirty, q)
	q.d.dirtyMu.Unlock()
}

// pushLocked publishes a committed row whose message was counted before. A
// recipient named twice in one message gets it once.
func (q *queue) pushLocked(class Class, r row) {
	ring := &q.laneLocked(class).ring
	if live := ring.live(); len(live) > 0 && live[len(live)-1].lsn == r.lsn {
		q.addLocked(-1, -int64(r.size()))
		q.d.memory.Add(-r.forget())
		return
	}
	ring.push(r)
	q.d.ringBytes.Add(int64(r.size()))
	q.noteExpiryLocked(r.expires)
	q.touchLocked()
}

// Depth implements Queue.
func (d *Disk) Depth(to Recipient) (messages int, bytes int64) {
	q := d.find(to)
	if q == nil {
		return 0, 0
	}
	defer q.mu.Unlock()
	return q.messages, q.bytes
}

// Subscribe implements Queue.
func (d *Disk) Subscribe(to Recipient, wake func()) (cancel func()) {
	s := &subscriber{wake}
	q := d.lock(to)
	q.subs = append(slices.Clip(q.subs), s)
	q.mu.Unlock()
	return func() {
		q.mu.Lock()
		if i := slices.Index(q.subs, s); i >= 0 {
			q.subs = slices.Concat(q.subs[:i], q.subs[i+1:])
		}
		idle := q.idleLocked()
		q.mu.Unlock()
		if idle {
			d.prune(q)
		}
	}
}

// Recipients implements Queue. Those that come or go meanwhile may be missed.
func (d *Disk) Recipients() iter.Seq[Recipient] {
	return func(yield func(Recipient) bool) {
		for q := range d.all() {
			q.mu.Lock()
			n := q.messages
			q.mu.Unlock()
			if n > 0 && !yield(q.to) {
				return
			}
		}
	}
}

// all yields every queue, unlocked.
func (d *Disk) all() iter.Seq[*queue] {
	return func(yield func(*queue) bool) {
		for i := range d.shards {
			s := &d.shards[i]
			s.mu.RLock()
			queues := make([]*queue, 0, len(s.queues))
			for _, q := range s.queues {
				queues = append(queues, q)
			}
			s.mu.RUnlock()
			for _, q := range queues {
				if !yield(q) {
					return
				}
			}
		}
	}
}
