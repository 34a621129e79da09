package queue

import (
	"context"
	"iter"
)

// Recipient is the public key of the session or member that a queue is for.
type Recipient [32]byte

// Class is a priority; each has its own order. Pull the lower number first.
type Class uint8

const (
	Now Class = iota
	Next
	Low

	classes = 3
)

// Message is what Put takes. It is copied, unless Owned says otherwise: the
// caller may use its slices again when Put returns.
type Message struct {
	// To holds one recipient, or the distinct recipients of a group message.
	To []Recipient
	// Headers[i] is for To[i].
	Headers [][]byte
	// Body is for all of them, kept once.
	Body    []byte
	Class   Class
	Expires int64 // Unix milliseconds; zero means never
	// Owned is Headers[0] and Body in one slice that becomes the queue's; nil
	// means that there is none. For one recipient only.
	Owned []byte
}

// Row is one message as its recipient sees it. Header and Body must not be
// changed: they may be shared with other readers.
type Row struct {
	LSN     uint64
	Class   Class
	Header  []byte
	Body    []byte
	Expires int64 // Unix milliseconds; zero means never
	Size    int   // bytes of Header and Body
}

// Queue holds a durable queue for every recipient. All methods may be called
// from any goroutine.
type Queue interface {
	// Put appends the message to the queues of its recipients. It returns at
	// once, or after a while when commits fall behind. Done (which may be nil)
	// is called once: when the message is on disk and visible to Pull, with its
	// LSN, or with the error after which it is not accepted. It may be called
	// before Put returns. So the caller holds no lock that done or a wake takes.
	Put(m Message, done func(lsn uint64, err error))

	// Pull returns the first rows of the class with an LSN above after: at most
	// max, and not more than maxBytes unless the first row alone is larger
	// (zero: no such limit). Reading removes nothing. Rows past their expiry
	// are returned until Expire has removed them.
	Pull(to Recipient, class Class, after uint64, max, maxBytes int) ([]Row, error)

	// Ack removes a row and tells whether it was there. A crash may bring it
	// back.
	Ack(to Recipient, class Class, lsn uint64) (bool, error)

	// Subscribe has wake called after each commit that appended to the queue.
	// Who subscribes, then pulls until nothing comes, then waits for a wake
	// misses nothing. A wake that is under way may end after cancel returns.
	Subscribe(to Recipient, wake func()) (cancel func())

	// Depth is what waits for the recipient, including what was Put and is not
	// committed yet. It costs the same at every depth.
	Depth(to Recipient) (messages int, bytes int64)

	// Recipients yields those for whom something waits.
	Recipients() iter.Seq[Recipient]

	// Expire removes rows past their expiry, but for those that spare (which
	// may be nil) tells to leave, and calls expired for each.
	Expire(ctx context.Context, spare func(Row) bool, expired func(Recipient, Row)) (int, error)

	// Drop removes all that is committed for the recipient, calls dropped
	// (which may be nil) for each row, and returns how many that were.
	Drop(to Recipient, dropped func(Row)) (int, error)

	// Ready writes and syncs, and returns nil when that went well.
	Ready(ctx context.Context) error
}

var _ Queue = (*Disk)(nil)
