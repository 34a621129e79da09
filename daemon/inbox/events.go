package inbox

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Types of events.
const (
	EventMessage    = "message"
	EventState      = "state"
	EventPeerJoined = "peer_joined"
	EventPeerLeft   = "peer_left"
	EventMesh       = "mesh"
	EventNotice     = "notice"
)

// EventReady is the first event of a stream: what comes after its Seq will follow.
const EventReady = "ready"

const (
	EventsKept  = 10000 // rows, for subscribers that were away; the inbox and the outbox remain the truth
	eventsBatch = 256   // rows read in one transaction
)

// EventOptions say who may see an event.
type EventOptions struct {
	Session string // id of the only session of this machine that may; empty: all
	Inbox   uint64 // of a message: its row. The body is not copied, so deleting the row deletes it from the replay too
}

// eventRow is an event on disk.
type eventRow struct {
	Event   protocol.Event `json:"event"`
	Session string         `json:"session,omitempty"`
	Inbox   uint64         `json:"inbox,omitempty"`
}

// Hub keeps events and wakes who waits for them. Subscribers read the rows behind their own cursor, so a slow one costs no
// memory and misses nothing that is kept.
type Hub struct {
	db   *store.DB
	mail *Mailbox
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	wakes map[chan struct{}]struct{} // each with one slot
}

func NewHub(db *store.DB, mail *Mailbox, now func() time.Time, log *slog.Logger) *Hub {
	return &Hub{db: db, mail: mail, now: now, log: log, wakes: make(map[chan struct{}]struct{})}
}

// Put keeps an event in the transaction of what it tells. It sets Seq and At. The caller wakes after the commit.
func (h *Hub) Put(tx *store.Tx, e protocol.Event, o EventOptions) error {
	seq, err := tx.NextSequence(table.Events)
	if err != nil {
		return err
	}
	e.Seq, e.At = seq, h.now().UTC()
	if o.Inbox != 0 {
		e.Message = nil
	}
	if err := tx.Put(table.Events, table.U64(seq), h.encode(e, o)); err != nil {
		return err
	}
	if seq <= EventsKept {
		return nil
	}
	return tx.Delete(table.Events, table.U64(seq-EventsKept))
}

// encode gives an event as it is stored. One that has no JSON becomes a notice: what it tells has happened, and must not
// fail for want of words.
func (h *Hub) encode(e protocol.Event, o EventOptions) []byte {
	b, err := json.Marshal(eventRow{Event: e, Session: o.Session, Inbox: o.Inbox})
	if err == nil {
		return b
	}
	h.log.Error("event cannot be encoded", "type", e.Type, "err", err)
	if b, err = json.Marshal(eventRow{Event: Unfit(e, err), Session: o.Session}); err != nil {
		panic("daemon: a notice has no JSON: " + err.Error())
	}
	return b
}

// Unfit is the notice in the place of an event that has no JSON.
func Unfit(e protocol.Event, err error) protocol.Event {
	return protocol.Event{Seq: e.Seq, Type: EventNotice, At: e.At, Mesh: e.Mesh, Notice: fmt.Sprintf("an event of type %s cannot be shown: %v", e.Type, err)}
}

// Wake tells subscribers that there is something to read.
func (h *Hub) Wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.wakes {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Emit is put in a transaction of its own, and wake. That an event cannot be kept is logged: what it tells has happened.
func (h *Hub) Emit(e protocol.Event, o EventOptions) {
	if err := h.db.Commit(func(tx *store.Tx) error { return h.Put(tx, e, o) }); err != nil {
		h.log.Error("event not saved", "type", e.Type, "err", err)
	}
	h.Wake()
}

// Subscribe returns a channel with a token for what happens from now on; cancel ends it.
func (h *Hub) Subscribe() (wake <-chan struct{}, cancel func()) {
	c := make(chan struct{}, 1)
	h.mu.Lock()
	h.wakes[c] = struct{}{}
	h.mu.Unlock()
	return c, func() {
		h.mu.Lock()
		delete(h.wakes, c)
		h.mu.Unlock()
	}
}

// Span returns the first and the last number that are kept; both are zero when nothing is.
func (h *Hub) Span() (first, last uint64, err error) {
	err = h.db.View(func(tx *store.Tx) error {
		if k, _ := tx.First(table.Events, nil); k != nil {
			first = binary.BigEndian.Uint64(k)
		}
		if k, _ := tx.Last(table.Events, nil); k != nil {
			last = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return first, last, err
}

// Audience is who a subscriber is.
type Audience struct {
	Who  *Viewer // nil: the person, who sees all
	Mesh string  // slug; empty: all
}

// Read returns events behind the cursor that the audience may see, and the cursor behind what was looked at: equal to
// the one given when there is nothing more.
func (h *Hub) Read(cursor uint64, a Audience) (events []protocol.Event, next uint64, err error) {
	next = cursor
	err = h.db.View(func(tx *store.Tx) error {
		n, bytes := 0, 0
		for k, v := range tx.Scan(table.Events, nil, table.U64(cursor)) {
			if n++; n > eventsBatch || bytes >= pageBytes {
				return nil
			}
			next = binary.BigEndian.Uint64(k)
			var row eventRow
			if h.mail.Damage.Skip(table.Events, k, json.Unmarshal(v, &row)) {
				continue
			}
			if h.resolve(tx, &row, a) {
				events = append(events, row.Event)
				if m := row.Event.Message; m != nil {
					bytes += len(m.Body)
				}
			}
		}
		return nil
	})
	return events, next, err
}

// resolve fills in the message of a row and reports whether the audience may see it. A message that was deleted is gone
// from the replay.
func (h *Hub) resolve(tx *store.Tx, row *eventRow, a Audience) bool {
	if a.Mesh != "" && row.Event.Mesh != "" && row.Event.Mesh != a.Mesh {
		return false
	}
	if a.Who != nil && row.Session != "" && row.Session != a.Who.ID {
		return false
	}
	if row.Inbox == 0 {
		return true
	}
	mail := h.mail.Row(tx, table.U64(row.Inbox))
	if mail == nil || !mail.Visible(a.Who) {
		return false
	}
	msg := h.mail.Show(mail)
	row.Event.Message = &msg
	return true
}
