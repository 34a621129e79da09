package mesh

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

const (
	outboxWindow  = 256                 // sends without an ack, per connection: the broker's own window
	outboxGiveUp  = 7 * 24 * time.Hour  // a message that no broker took by then is dead
	outboxKept    = 30 * 24 * time.Hour // how long a finished row is kept for `message status`
	ackPatience   = time.Minute         // a connection that answers pings but no sends is given up
	retryAtFirst  = time.Second         // after a retryable refusal without retry_after_ms; doubles
	retryAtMost   = 5 * time.Minute
	outboxPerMesh = 100_000 // rows that wait: beyond that the caller hears it instead of the disk
)

// Stages of an outbox row.
const (
	stagePending = "pending" // the broker has not acknowledged it
	stageQueued  = "queued"
	stageDead    = "dead"
)

// outRow is a message on its way, on disk from the moment it is accepted. Its box is in a sealedRow beside it.
type outRow struct {
	ID         string           `json:"id"`
	MessageID  string           `json:"message_id"`
	To         string           `json:"to"` // 64 hex, "*", "@group"
	Name       string           `json:"name"`
	From       crypto.PublicKey `json:"from"`
	Priority   string           `json:"priority"`
	Kind       string           `json:"kind,omitempty"`
	ReplyTo    string           `json:"reply_to,omitempty"`
	Asked      string           `json:"asked,omitempty"`   // the target as the sender wrote it
	Content    []byte           `json:"content,omitempty"` // draft.content, by which a client id used again is judged
	Bytes      int              `json:"bytes"`
	Created    int64            `json:"created"` // Unix ms
	Since      int64            `json:"since"`   // Unix ms: of the last requeue, from which giving up counts
	Stage      string           `json:"stage"`
	Reason     string           `json:"reason,omitempty"`
	Died       int64            `json:"died,omitempty"` // Unix ms: when Stage became dead
	Recipients []outRecipient   `json:"recipients"`
	Files      []spool.File     `json:"files,omitempty"` // without their keys
}

// outRecipient is how far the message has come for one recipient.
type outRecipient struct {
	Key     crypto.PublicKey `json:"key"` // what it was sealed to: member or session
	Member  crypto.PublicKey `json:"member"`
	Name    string           `json:"name"`
	Session string           `json:"session,omitempty"`
	State   protocol.State   `json:"state"`
	Proof   string           `json:"proof"`
	At      int64            `json:"at"` // Unix ms
	Reason  string           `json:"reason,omitempty"`
	Rung    string           `json:"rung,omitempty"`
}

// sealedRow is the box of an outRow.
type sealedRow struct {
	Nonce      []byte            `json:"nonce"`
	Ciphertext []byte            `json:"ciphertext"`
	Keys       map[string][]byte `json:"keys,omitempty"` // recipient member (hex) → wrap
}

// outbox is the messages of one mesh that are on their way. The rows are on disk; what waits for an ack is also listed
// in memory, in the order of acceptance. Nothing in the list survives the process, so rows that were in flight at a
// crash wait again after it.
type outbox struct {
	db   *store.DB
	mesh protocol.MeshID

	mu      sync.Mutex
	waiting []*outItem    // ascending by row
	changed chan struct{} // closed and replaced at every change of a state
}

// outItem is a row that waits for the broker's ack.
type outItem struct {
	row      uint64
	id       string
	from     crypto.PublicKey
	to       string
	priority string
	attempts int
	next     time.Time       // not before; by time.Now
	sentAt   time.Time       // by time.Now
	refusal  *protocol.Error // the broker's last answer, which asked to wait; nil: none yet
	flight   *uplink         // nil: not in flight
	holds    bool            // its files are not known to be at the broker: first they are uploaded
}

// loadOutbox lists the rows that the broker has not acknowledged.
func loadOutbox(db *store.DB, mesh protocol.MeshID, damage *table.Damage) (*outbox, error) {
	o := &outbox{db: db, mesh: mesh, changed: make(chan struct{})}
	err := db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Outbox, []byte(mesh), nil) {
			var row outRow
			if damage.Skip(table.Outbox, k, json.Unmarshal(v, &row)) {
				continue
			}
			if row.Stage == stagePending {
				o.waiting = append(o.waiting, itemOf(table.ParseU64(k[len(mesh):]), &row))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox of mesh %s: %w", mesh, err)
	}
	return o, nil
}

// lane is a target and a priority: messages of one lane keep their order.
type lane struct{ to, priority string }

func (it *outItem) lane() lane { return lane{it.to, it.priority} }

func itemOf(n uint64, row *outRow) *outItem {
	return &outItem{row: n, id: row.ID, from: row.From, to: row.To, priority: row.Priority, holds: len(row.Files) > 0}
}

// add stores a row and its box, in the caller's transaction, and returns the row's number. enqueue follows the commit.
func (o *outbox) add(tx *store.Tx, row *outRow, box *sealedRow) (uint64, error) {
	n, err := tx.NextSequence(table.Outbox)
	if err != nil {
		return 0, err
	}
	key := table.RowKey(o.mesh, n)
	if err := table.PutJSON(tx, table.Outbox, key, row); err != nil {
		return 0, err
	}
	if err := table.PutJSON(tx, table.Sealed, key, box); err != nil {
		return 0, err
	}
	if err := tx.Put(table.OutboxIDs, o.clientKey(row.ID), table.U64(n)); err != nil {
		return 0, err
	}
	return n, tx.Put(table.OutboxIDs, o.messageKey(row.MessageID), table.U64(n))
}

// clientKey and messageKey are where table.OutboxIDs has the row of an id, or the first of those that begin with one.
func (o *outbox) clientKey(id string) []byte  { return table.Key(o.mesh, []byte("c"+id)) }
func (o *outbox) messageKey(id string) []byte { return table.Key(o.mesh, []byte("m"+id)) }

// enqueue lists a committed row for the drain. Commits return in any order: the list is kept by row.
func (o *outbox) enqueue(n uint64, row *outRow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := len(o.waiting)
	for i > 0 && o.waiting[i-1].row > n {
		i--
	}
	if i > 0 && o.waiting[i-1].row == n {
		return
	}
	o.waiting = append(o.waiting, nil)
	copy(o.waiting[i+1:], o.waiting[i:])
	o.waiting[i] = itemOf(n, row)
}

// rowOf finds a row by its client id.
func (o *outbox) rowOf(tx *store.Tx, id string) (n uint64, row *outRow, err error) {
	b := tx.Peek(table.OutboxIDs, o.clientKey(id))
	if b == nil {
		return 0, nil, nil
	}
	n = table.ParseU64(b)
	if row, err = o.row(tx, n); row == nil {
		return 0, nil, err
	}
	return n, row, nil
}

// row reads a row by its number; nil when there is none.
func (o *outbox) row(tx *store.Tx, n uint64) (*outRow, error) {
	row := new(outRow)
	ok, err := table.GetJSON(tx, table.Outbox, table.RowKey(o.mesh, n), row)
	if !ok || err != nil {
		return nil, err
	}
	return row, nil
}

// find returns the row of a client id, a message id, or a unique prefix of either; nil when there is none. It costs the same
// however many rows there are.
func (o *outbox) find(tx *store.Tx, id string) (*outRow, error) {
	if _, row, err := o.rowOf(tx, id); row != nil || err != nil || len(id) < inbox.MinIDPrefix {
		return row, err
	}
	var numbers []uint64
	for _, prefix := range [][]byte{o.clientKey(id), o.messageKey(id)} {
		some := 0
		for _, v := range tx.Scan(table.OutboxIDs, prefix, nil) {
			if n := table.ParseU64(v); !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
			if some++; some == nearestNames {
				break
			}
		}
	}
	switch len(numbers) {
	case 0:
		return nil, nil
	case 1:
		return o.row(tx, numbers[0])
	}
	return nil, o.ambiguous(tx, id, numbers)
}

func (o *outbox) ambiguous(tx *store.Tx, id string, numbers []uint64) error {
	e := protocol.Refuse(protocol.CodeAmbiguous, "message id %q matches more than one", id)
	for _, n := range numbers {
		row, err := o.row(tx, n)
		if err != nil {
			return err
		}
		if row != nil {
			e.Names = append(e.Names, row.ID)
		}
	}
	return e
}

// depth is the number of rows that the broker has not acknowledged.
func (o *outbox) depth() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting)
}

// next takes the first row that may go out on u now, and marks it as in flight. Behind a row that waits for its retry
// the others to the same target wait too, so that order holds. Behind a row whose files are on their way those of its priority wait:
// an upload may take long. later is when the next one becomes due; zero: none.
func (o *outbox) next(u *uplink, mine func(from crypto.PublicKey) bool) (item *outItem, later time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	var blocked map[string]bool // targets
	var uploading map[lane]bool
	flying := 0
	for _, it := range o.waiting {
		switch {
		case it.flight == u:
			flying++
			if flying >= outboxWindow {
				return nil, later
			}
		case it.flight != nil || blocked[it.to] || uploading[it.lane()] || !mine(it.from):
		case it.holds:
			if uploading == nil {
				uploading = make(map[lane]bool)
			}
			uploading[it.lane()] = true
		case it.next.After(now):
			if later.IsZero() || it.next.Before(later) {
				later = it.next
			}
			if blocked == nil {
				blocked = make(map[string]bool)
			}
			blocked[it.to] = true
		default:
			it.flight, it.sentAt = u, now
			it.attempts++
			return it, later
		}
	}
	return nil, later
}

// release makes what was in flight on u wait again: its connection is gone, and with it the acks.
func (o *outbox) release(u *uplink) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.waiting {
		if it.flight == u {
			it.flight = nil
		}
	}
}

// oldestFlight is when the longest unanswered send of u went out; zero when there is none.
func (o *outbox) oldestFlight(u *uplink) (at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.waiting {
		if it.flight == u && (at.IsZero() || it.sentAt.Before(at)) {
			at = it.sentAt
		}
	}
	return at
}

// retry makes a refused row wait, for after or, when that is zero, twice as long as the last time.
func (o *outbox) retry(id string, refusal *protocol.Error) {
	after := refusal.After
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range o.waiting {
		if it.id == id {
			if after <= 0 {
				after = min(retryAtFirst<<min(it.attempts-1, 16), retryAtMost)
			}
			it.next, it.flight, it.refusal = time.Now().Add(after), nil, refusal
			return
		}
	}
}

// refused is why the broker did not take a row yet, nil where it did not say no.
func (o *outbox) refused(id string) *protocol.Error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, it := range slices.Backward(o.waiting) { // mostly the newest is asked for
		if it.id == id {
			return it.refusal
		}
	}
	return nil
}

// drop takes rows off the list after their stage was committed.
func (o *outbox) drop(ids map[string]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := o.waiting[:0]
	for _, it := range o.waiting {
		if !ids[it.id] {
			kept = append(kept, it)
		}
	}
	clear(o.waiting[len(kept):])
	o.waiting = kept
}

// notify wakes all who wait for a state.
func (o *outbox) notify() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
}

// watch returns a channel that is closed at the next change of any state.
func (o *outbox) watch() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}
