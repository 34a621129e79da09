package daemon

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

// eventReady is the first event of a stream: what comes after its Seq will follow.
const eventReady = "ready"

const (
	eventsKept  = 10000 // rows, for subscribers that were away; the inbox and the outbox remain the truth
	eventsBatch = 256   // rows read in one transaction
)

// eventOptions say who may see an event.
type eventOptions struct {
	Session string // id of the only session of this machine that may; empty: all
	Inbox   uint64 // of a message: its row. The body is not copied, so deleting the row deletes it from the replay too
}

// eventRow is an event on disk.
type eventRow struct {
	Event   protocol.Event `json:"event"`
	Session string         `json:"session,omitempty"`
	Inbox   uint64         `json:"inbox,omitempty"`
}

// hub keeps events and wakes who waits for them. Subscribers read the rows behind their own cursor, so a slow one costs no
// memory and misses nothing that is kept.
type hub struct {
	db   *store.DB
	mail *mailbox
	now  func() time.Time
	log  *slog.Logger

	mu    sync.Mutex
	wakes map[chan struct{}]struct{} // each with one slot
}

func newHub(db *store.DB, mail *mailbox, now func() time.Time, log *slog.Logger) *hub {
	return &hub{db: db, mail: mail, now: now, log: log, wakes: make(map[chan struct{}]struct{})}
}

// put keeps an event in the transaction of what it tells. It sets Seq and At. The caller wakes after the commit.
func (h *hub) put(tx *store.Tx, e protocol.Event, o eventOptions) error {
	seq, err := tx.NextSequence(table.Events)
	if err != nil {
		return err
	}
	e.Seq, e.At = seq, h.now().UTC()
	if o.Inbox != 0 {
		e.Message = nil
	}
	if err := table.PutJSON(tx, table.Events, table.U64(seq), eventRow{Event: e, Session: o.Session, Inbox: o.Inbox}); err != nil {
		return err
	}
	if seq <= eventsKept {
		return nil
	}
	return tx.Delete(table.Events, table.U64(seq-eventsKept))
}

// wake tells subscribers that there is something to read.
func (h *hub) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.wakes {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// emit is put in a transaction of its own, and wake. That an event cannot be kept is logged: what it tells has happened.
func (h *hub) emit(e protocol.Event, o eventOptions) {
	if err := h.db.Commit(func(tx *store.Tx) error { return h.put(tx, e, o) }); err != nil {
		h.log.Error("event not kept", "type", e.Type, "reason", err)
	}
	h.wake()
}

// subscribe returns a channel with a token for what happens from now on; cancel ends it.
func (h *hub) subscribe() (wake <-chan struct{}, cancel func()) {
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

// span returns the first and the last number that are kept; both are zero when nothing is.
func (h *hub) span() (first, last uint64, err error) {
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

// audience is who a subscriber is.
type audience struct {
	who  *viewer // nil: the person, who sees all
	mesh string  // slug; empty: all
}

// read returns events behind the cursor that the audience may see, and the cursor behind what was looked at: equal to
// the one given when there is nothing more.
func (h *hub) read(cursor uint64, a audience) (events []protocol.Event, next uint64, err error) {
	next = cursor
	err = h.db.View(func(tx *store.Tx) error {
		n := 0
		for k, v := range tx.Scan(table.Events, nil, table.U64(cursor)) {
			if n++; n > eventsBatch {
				return nil
			}
			next = binary.BigEndian.Uint64(k)
			var row eventRow
			if err := json.Unmarshal(v, &row); err != nil {
				return fmt.Errorf("decode a row of %s: %w", table.Events, err)
			}
			show, err := h.resolve(tx, &row, a)
			if err != nil {
				return err
			}
			if show {
				events = append(events, row.Event)
			}
		}
		return nil
	})
	return events, next, err
}

// resolve fills in the message of a row and reports whether the audience may see it. A message that was deleted is gone
// from the replay.
func (h *hub) resolve(tx *store.Tx, row *eventRow, a audience) (bool, error) {
	if a.mesh != "" && row.Event.Mesh != "" && row.Event.Mesh != a.mesh {
		return false, nil
	}
	if a.who != nil && row.Session != "" && row.Session != a.who.id {
		return false, nil
	}
	if row.Inbox == 0 {
		return true, nil
	}
	var mail inRow
	found, err := table.GetJSON(tx, table.Inbox, table.U64(row.Inbox), &mail)
	if err != nil || !found || !mail.visible(a.who) {
		return false, err
	}
	msg, err := h.mail.show(&mail)
	if err != nil {
		return false, err
	}
	row.Event.Message = &msg
	return true, nil
}
