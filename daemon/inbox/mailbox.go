// Package inbox keeps what this machine received, over all meshes: the messages and who saw them, the events
// that tell of them, the messages that still wait for a session, and the receipts that are still to be sent.
// It knows nothing of meshes and sessions beyond their ids and keys: who asks is a Viewer.
package inbox

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Mailbox is what this machine has received, over all meshes.
type Mailbox struct {
	db     *store.DB
	now    func() time.Time
	Damage *table.Damage // rows of any bucket that cannot be decoded
	passed passed

	grown atomic.Int64  // bytes that came since the last sweep
	grew  chan struct{} // one slot: so much came that the next sweep is due

	mu    sync.Mutex
	slugs map[protocol.MeshID]string
	quiet map[protocol.MeshID]bool // senders are not told of shown and read
}

// passed notes, in the transaction in which a message is shown or read, that its reader has come so far.
type passed func(tx *store.Tx, mesh protocol.MeshID, message []byte) error

func NewMailbox(db *store.DB, now func() time.Time, log *slog.Logger, p passed) *Mailbox {
	return &Mailbox{db: db, now: now, passed: p, grew: make(chan struct{}, 1), Damage: table.NewDamage(log), slugs: make(map[protocol.MeshID]string), quiet: make(map[protocol.MeshID]bool)}
}

// SetMesh says under which slug a mesh is shown, and whether its senders are told of what was shown and read.
func (b *Mailbox) SetMesh(mesh protocol.MeshID, slug string, quiet bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slugs[mesh], b.quiet[mesh] = slug, quiet
}

func (b *Mailbox) silent(mesh protocol.MeshID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.quiet[mesh]
}

// slug is the label of a mesh; of one that was left, its id.
func (b *Mailbox) slug(mesh protocol.MeshID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.slugs[mesh]; ok {
		return s
	}
	return string(mesh)
}

// Add stores a row in the caller's transaction and returns its number.
func (b *Mailbox) Add(tx *store.Tx, row *Row) (uint64, error) {
	seq, err := tx.NextSequence(table.Inbox)
	if err != nil {
		return 0, err
	}
	if err := PutRow(tx, table.U64(seq), row); err != nil {
		return 0, err
	}
	for _, id := range row.ids() {
		if err := tx.Put(table.InboxIDs, indexKey(id, seq), []byte{}); err != nil {
			return 0, err
		}
	}
	if b.grown.Add(int64(row.Size())) > sweepGrowth {
		select {
		case b.grew <- struct{}{}:
		default:
		}
	}
	return seq, b.recount(tx, row, false)
}

// recount follows a change of a row: counted says whether it took room before.
func (b *Mailbox) recount(tx *store.Tx, row *Row, counted bool) error {
	switch now := row.Counts(); {
	case now && !counted:
		return AddShare(tx, row.Share, 1, row.Size())
	case counted && !now:
		return AddShare(tx, row.Share, -1, -row.Size())
	}
	return nil
}

// Message reads a row by its number; nil when it was deleted.
func (b *Mailbox) Message(tx *store.Tx, n uint64) (*protocol.InboxMessage, error) {
	row := b.Row(tx, table.U64(n))
	if row == nil {
		return nil, nil
	}
	msg := b.Show(row)
	return &msg, nil
}

// Row reads a row; nil when there is none. One that cannot be decoded is an alarm that everybody may see.
func (b *Mailbox) Row(tx *store.Tx, key []byte) *Row {
	stored := tx.Peek(table.Inbox, key)
	if stored == nil {
		return nil
	}
	return b.decode(key, stored)
}

func (b *Mailbox) decode(key, stored []byte) *Row {
	row, err := ParseRow(stored)
	if b.Damage.Skip(table.Inbox, key, err) {
		row = &Row{Member: true, damaged: true, Alarm: fmt.Sprintf("row %d of the inbox is damaged: %v", table.ParseU64(key), err)}
	}
	return row
}

func indexKey(id string, seq uint64) []byte { return append([]byte(id+"\x00"), table.U64(seq)...) }

// Show makes of a row what people and scripts see.
func (b *Mailbox) Show(r *Row) protocol.InboxMessage {
	out := protocol.InboxMessage{
		ID: r.ID, MessageID: r.MessageID, Mesh: b.slug(r.Mesh), To: r.Own.String(), ToSession: r.ToSession,
		From:       protocol.From{Name: r.Name, Pubkey: r.From.String(), Trust: protocol.TrustAlarm},
		ReceivedAt: protocol.TimeOf(r.Received), Held: r.Held, Alarm: r.Alarm, Flags: r.Flags,
	}
	r.tellSights(&out)
	if r.Alarm != "" {
		return out
	}
	var msg protocol.Message
	if err := msg.UnmarshalBinary(r.Message); err != nil {
		out.Alarm = fmt.Sprintf("the message is damaged: %v", err)
		return out
	}
	h := msg.Header()
	out.Body, out.From.Trust = msg.Text()
	out.From.Session, out.From.MemberPubkey = msg.Label(), msg.Member().String()
	out.To, out.Topic, out.ReplyTo, out.Kind, out.Priority = h.To, h.Topic, h.ReplyTo, h.Kind, h.Prio
	out.SentAt = msg.SealedAt().UTC()
	if len(h.Meta) > 0 {
		out.Meta = h.Meta
	}
	out.Files = files.Infos(h.Files)
	return out
}

const (
	MinIDPrefix = 6 // shorter prefixes of ids are refused: they would become ambiguous tomorrow
	mostFound   = 5 // ids listed for a prefix that is not unique
)

// Find returns the message of a client id, a message id or a unique prefix of either. Errors are *protocol.Error:
// not_found, ambiguous.
func (b *Mailbox) Find(id string) (msg protocol.InboxMessage, err error) {
	err = b.db.View(func(tx *store.Tx) error {
		seq, err := b.Lookup(tx, id)
		if err != nil {
			return err
		}
		row := b.Row(tx, table.U64(seq))
		if row == nil {
			return protocol.Refuse(protocol.CodeNotFound, "message %q is not in the inbox any more", id)
		}
		msg = b.Show(row)
		return nil
	})
	return msg, err
}

// Lookup returns the row of an id.
func (b *Mailbox) Lookup(tx *store.Tx, id string) (uint64, error) {
	if len(id) < MinIDPrefix {
		return 0, protocol.Refuse(protocol.CodeInvalid, "message id %q is shorter than %d characters", id, MinIDPrefix)
	}
	found := make(map[uint64]string)
	for k := range tx.Scan(table.InboxIDs, []byte(id), nil) {
		if i := strings.IndexByte(string(k), 0); i >= 0 {
			found[table.ParseU64(k[i+1:])] = string(k[:i])
		}
		if len(found) > mostFound {
			break
		}
	}
	switch len(found) {
	case 0:
		return 0, protocol.Refuse(protocol.CodeNotFound, "no message %q in the inbox", id).WithHint("claudemesh inbox --all lists them")
	case 1:
		for seq := range found {
			return seq, nil
		}
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "message id %q matches more than one", id)
	for _, name := range found {
		e.Names = append(e.Names, name)
	}
	return 0, e
}
