package mesh

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// ackIn is the broker's answer to a send.
type ackIn struct {
	m       *Mesh
	id      string
	refusal *protocol.Error
	ended   bool // set by apply: the row waits no more
	files   bool // likewise: it had files
}

// readAck decodes an ack. It returns nil for a malformed one.
func (w *worker) readAck(frame []byte) incoming {
	var f protocol.Ack
	if err := json.Unmarshal(frame, &f); err != nil || f.ID == "" {
		return nil
	}
	a := &ackIn{m: w.m, id: f.ID}
	if !f.Queued {
		a.refusal = protocol.Refused(f.Code, cmp.Or(f.Error, string(f.Code)), f.Retryable, f.RetryAfter)
	}
	return a
}

// readRefusal takes an error frame that names a send as the answer to it; nil for others.
func (w *worker) readRefusal(frame []byte) incoming {
	var f protocol.ErrorFrame
	if err := decodeFrame(w.m.log, frame, &f); err != nil || f.ID == "" {
		return nil
	}
	return &ackIn{m: w.m, id: f.ID, refusal: protocol.Refused(f.Code, f.Message, f.Retryable, f.RetryAfter)}
}

// aside takes a row off the list that waits: what became of it cannot be kept, and it must not wait for another answer.
func (a *ackIn) aside(w *worker, _ error) error {
	w.m.out.drop(map[string]bool{a.id: true})
	return nil
}

// transient reports whether the same message may be taken later.
func (a *ackIn) transient() bool {
	switch a.refusal.Code {
	case protocol.CodeRateLimit, protocol.CodeQueueFull, protocol.CodeStoreFailed, protocol.CodeStoreFull, protocol.CodeDraining, protocol.CodeInternal:
		return true
	}
	return a.refusal.Retryable
}

func (a *ackIn) apply(tx *store.Tx) error {
	a.ended, a.files = false, false
	if a.refusal != nil && a.transient() {
		return nil
	}
	n, row, err := a.m.out.rowOf(tx, a.id)
	if err != nil || row == nil || row.Stage != stagePending {
		return err
	}
	a.ended, a.files = true, len(row.Files) > 0
	if a.refusal != nil {
		a.m.endRow(row, protocol.ProofBroker, a.refusal.Message)
		return a.m.saveRow(tx, n, row)
	}
	if row.Kind == protocol.KindLog {
		return a.m.out.remove(tx, n, row)
	}
	row.Stage = stageQueued
	a.m.raise(row, protocol.StateQueued, protocol.ProofBroker)
	return a.m.saveRow(tx, n, row)
}

func (a *ackIn) done(w *worker) error {
	if a.files { // the broker has the message: its files need not stay
		w.m.uploads.wake()
	}
	if a.ended {
		w.m.out.drop(map[string]bool{a.id: true})
		return nil
	}
	if a.refusal != nil && a.transient() {
		w.m.log.Info("broker asks to wait", "msg", a.id, "reason", a.refusal.Code, "after", a.refusal.After)
		w.m.out.retry(a.id, a.refusal)
		return nil
	}
	w.m.out.drop(map[string]bool{a.id: true}) // acknowledged before, on a connection that was lost
	return nil
}

// raise lifts all recipients of a row to at least a state.
func (m *Mesh) raise(row *outRow, state protocol.State, proof string) {
	for i := range row.Recipients {
		r := &row.Recipients[i]
		if r.State.Rank() < state.Rank() {
			r.State, r.Proof, r.At = state, proof, m.env.now().UnixMilli()
		}
	}
}

// endRow makes a row dead for everybody whom it has not reached.
func (m *Mesh) endRow(row *outRow, proof, reason string) {
	row.Stage, row.Reason, row.Died = stageDead, reason, m.env.now().UnixMilli()
	for i := range row.Recipients {
		r := &row.Recipients[i]
		if r.State.Rank() < protocol.StateDelivered.Rank() {
			r.State, r.Proof, r.Reason, r.At = protocol.StateDead, proof, reason, m.env.now().UnixMilli()
		}
	}
}

// saveRow stores a row whose state changed and tells of it. The box goes when everybody has the message: nobody needs it
// again.
func (m *Mesh) saveRow(tx *store.Tx, n uint64, row *outRow) error {
	key := table.RowKey(m.meshID, n)
	if err := table.PutJSON(tx, table.Outbox, key, row); err != nil {
		return err
	}
	if row.Kind == protocol.KindLog {
		return nil
	}
	if row.reached() {
		if err := tx.Delete(table.Sealed, key); err != nil {
			return err
		}
	}
	res := m.result(row)
	return m.env.Events.Put(tx, protocol.Event{Type: inbox.EventState, Mesh: m.Slug(), State: &res}, inbox.EventOptions{})
}

// reached reports whether every recipient has the message on disk.
func (row *outRow) reached() bool {
	if row.Stage != stageQueued {
		return false
	}
	for _, r := range row.Recipients {
		if r.State.Rank() < protocol.StateDelivered.Rank() || r.State == protocol.StateDead {
			return false
		}
	}
	return true
}

// remove takes a row off the disk.
func (o *outbox) remove(tx *store.Tx, n uint64, row *outRow) error {
	key := table.RowKey(o.mesh, n)
	if err := tx.Delete(table.Outbox, key); err != nil {
		return err
	}
	if err := tx.Delete(table.Sealed, key); err != nil {
		return err
	}
	if err := tx.Delete(table.OutboxIDs, o.clientKey(row.ID)); err != nil {
		return err
	}
	return tx.Delete(table.OutboxIDs, o.messageKey(row.MessageID))
}

// result is a row as callers see it.
func (m *Mesh) result(row *outRow) protocol.SendResult {
	res := protocol.SendResult{
		OK: true, ID: row.ID, MessageID: row.MessageID, Mesh: m.Slug(), To: row.To, Priority: row.Priority, Kind: row.Kind,
		AcceptedAt: protocol.TimeOf(row.Created), KeptDays: m.keptDays(), Recipients: []protocol.RecipientResult{},
		State: protocol.StateAccepted,
	}
	lowest := protocol.StateDead
	for _, r := range row.Recipients {
		if r.State.Rank() < lowest.Rank() {
			lowest = r.State
		}
		res.Recipients = append(res.Recipients, m.recipient(&r, row.Priority))
	}
	res.Waits, res.Files = m.waits(row), m.sentFiles(row)
	switch {
	case len(row.Recipients) > 0:
		res.State = lowest
	case row.Stage == stageQueued:
		res.State = protocol.StateQueued
	case row.Stage == stageDead:
		res.State = protocol.StateDead
	}
	return res
}

// recipient is one recipient as callers see it, with who is there now.
func (m *Mesh) recipient(r *outRecipient, priority string) protocol.RecipientResult {
	at := m.who.reach(r.Member, r.Key)
	res := protocol.RecipientResult{
		Name: r.Name, Session: r.Session, Pubkey: r.Key.String(), State: r.State, Proof: r.Proof, At: protocol.TimeOf(r.At),
		Reason: r.Reason, Rung: r.Rung, Online: at.online(), LastSeen: at.last,
	}
	if m.isAPIKey(r.Key) {
		res.Presence = protocol.PresenceAPIKey
		return res
	}
	res.Presence, res.CanAnswer = at.presence(), at.canAnswer(priority)
	res.SessionEnded = r.Session != "" && !at.live && at.online()
	return res
}

// isAPIKey reports whether a key is a program's.
func (m *Mesh) isAPIKey(key crypto.PublicKey) bool {
	return m.trust.APIKeyMember(key, crypto.PublicKey{}) != (crypto.PublicKey{})
}

func (m *Mesh) keptDays() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept
}

// Outbox lists what is not delivered: waiting for the broker, and dead.
func (m *Mesh) Outbox() ([]protocol.OutboxRow, error) {
	waiting := m.out.tries()
	rows := []protocol.OutboxRow{}
	err := m.env.DB.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Outbox, []byte(m.meshID), nil) {
			var row outRow
			if m.env.Mail.Damage.Skip(table.Outbox, k, json.Unmarshal(v, &row)) {
				continue
			}
			if row.Stage == stageQueued || row.Kind == protocol.KindLog {
				continue
			}
			out := protocol.OutboxRow{
				ID: row.ID, MessageID: row.MessageID, Mesh: m.Slug(), To: row.To, Name: row.Name, State: protocol.StateAccepted,
				Reason: row.Reason, Bytes: row.Bytes, CreatedAt: protocol.TimeOf(row.Created),
			}
			if row.Stage == stageDead {
				out.State = protocol.StateDead
			}
			if try, ok := waiting[row.ID]; ok {
				out.Attempts = try.attempts
				if !try.next.IsZero() {
					out.NextTry = m.env.now().Add(time.Until(try.next)).UTC()
				}
			}
			rows = append(rows, out)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the outbox: %w", err)
	}
	return rows, nil
}

// Sent returns the newest messages that left from here, whatever became of them.
func (m *Mesh) Sent(limit int) ([]protocol.SendResult, error) {
	all := []protocol.SendResult{}
	err := m.env.DB.View(func(tx *store.Tx) error {
		for k, v := range tx.ScanBack(table.Outbox, []byte(m.meshID), nil) {
			if len(all) == limit {
				break
			}
			var row outRow
			if m.env.Mail.Damage.Skip(table.Outbox, k, json.Unmarshal(v, &row)) {
				continue
			}
			if row.Kind != protocol.KindLog {
				all = append(all, m.result(&row))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what was sent: %w", err)
	}
	return all, nil
}

// try is how often a waiting row was sent, and when it is sent again.
type try struct {
	attempts int
	next     time.Time
}

func (o *outbox) tries() map[string]try {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make(map[string]try, len(o.waiting))
	for _, it := range o.waiting {
		all[it.id] = try{it.attempts, it.next}
	}
	return all
}

// Requeue has a dead message tried again: to the same target, the same bytes. Nothing is sealed anew, so nothing can be
// sealed to somebody else.
func (m *Mesh) Requeue(id string) error {
	found, err := m.storedRow(id)
	if err != nil {
		return err
	}
	if found == nil {
		return protocol.Refuse(protocol.CodeNotFound, "no message %q in the outbox of %s", id, m.Slug())
	}
	var n uint64
	var row *outRow
	err = m.env.DB.Commit(func(tx *store.Tx) error {
		var err error
		if n, row, err = m.out.rowOf(tx, found.ID); err != nil || row == nil {
			return err
		}
		if row.Stage != stageDead || tx.Peek(table.Sealed, table.RowKey(m.meshID, n)) == nil {
			return protocol.Refuse(protocol.CodeInvalid, "message %s is %s: only a dead one is sent again", found.ID, row.Stage)
		}
		if name := m.missing(tx, row); name != "" {
			return protocol.Refuse(protocol.CodeExpired, "the file %s of message %s is not on this machine any more: send both again", name, found.ID)
		}
		now := m.env.now()
		if now.Sub(protocol.TimeOf(row.Created)) > protocol.SealedMaxAge {
			return protocol.Refuse(protocol.CodeExpired, "message %s was sealed more than 29 days ago: nobody would open it", found.ID)
		}
		row.Stage, row.Reason, row.Since = stagePending, "", now.UnixMilli()
		for i := range row.Recipients {
			r := &row.Recipients[i]
			if r.State == protocol.StateDead {
				r.State, r.Proof, r.Reason, r.At = protocol.StateAccepted, protocol.ProofSelf, "", now.UnixMilli()
			}
		}
		return m.saveRow(tx, n, row)
	})
	if err != nil {
		return table.Refusal("send the message again", err)
	}
	m.env.Events.Wake()
	m.out.enqueue(n, row)
	m.out.notify()
	m.uploads.wake()
	m.wakeOut(row.From)
	return nil
}

// giveUp ends messages that no broker took in time.
func (m *Mesh) giveUp() error {
	limit := m.env.now().Add(-outboxGiveUp).UnixMilli()
	old := make(map[string]bool)
	waiting := m.out.tries()
	if len(waiting) == 0 {
		return nil
	}
	tooOld := func(tx *store.Tx, each func(n uint64, row *outRow) error) error {
		for id := range waiting {
			n, row, err := m.out.rowOf(tx, id)
			if err != nil {
				return err
			}
			if row == nil || row.Stage != stagePending || row.Since >= limit {
				continue
			}
			if err := each(n, row); err != nil {
				return err
			}
		}
		return nil
	}
	err := m.env.DB.View(func(tx *store.Tx) error {
		return tooOld(tx, func(_ uint64, row *outRow) error {
			old[row.ID] = true
			return nil
		})
	})
	if err != nil || len(old) == 0 {
		return err
	}
	err = m.env.DB.Commit(func(tx *store.Tx) error {
		return tooOld(tx, func(n uint64, row *outRow) error {
			m.endRow(row, protocol.ProofSelf, "the broker could not be reached for 7 days")
			return m.saveRow(tx, n, row)
		})
	})
	if err != nil {
		return fmt.Errorf("give up old messages: %w", err)
	}
	m.out.drop(old)
	m.env.Events.Wake()
	m.out.notify()
	return nil
}

// sweepOutbox forgets messages that came to their end long ago.
func (m *Mesh) sweepOutbox() error {
	limit := m.env.now().Add(-outboxKept).UnixMilli()
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		old := make(map[uint64]*outRow)
		for k, v := range tx.Scan(table.Outbox, []byte(m.meshID), nil) {
			var row outRow
			if m.env.Mail.Damage.Skip(table.Outbox, k, json.Unmarshal(v, &row)) {
				continue
			}
			if row.Stage != stagePending && row.Since < limit {
				old[table.ParseU64(k[len(m.meshID):])] = &row
			}
		}
		for n, row := range old {
			if err := m.out.remove(tx, n, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget old messages: %w", err)
	}
	return nil
}
