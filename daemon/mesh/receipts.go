package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// receiptIn is what became of a message of ours: the recipient's word, or the broker's.
type receiptIn struct {
	m     *Mesh
	raw   []byte
	frame protocol.Receipt
	proof *protocol.Message // nil: only the broker says so
}

// readReceipt decodes a receipt and opens its proof. It returns nil for a malformed one.
func (w *worker) readReceipt(frame []byte) incoming {
	r := &receiptIn{m: w.m, raw: frame}
	if err := decodeFrame(w.m.log, frame, &r.frame); err != nil {
		return nil
	}
	if r.frame.Proof != nil {
		msg, err := w.m.opener().Open(r.frame.Proof.Incoming())
		if err != nil || msg.Kind() != protocol.KindReceipt {
			w.m.log.Warn("receipt is no proof", "msg", r.frame.ClientMessageID, "err", err)
		} else {
			r.proof = msg
		}
	}
	return r
}

func (r *receiptIn) apply(tx *store.Tx) error {
	if r.proof != nil {
		return r.m.applyReceipts(tx, r.proof)
	}
	return r.m.applyWord(tx, &r.frame)
}

// done lets the broker forget the receipt.
func (r *receiptIn) done(w *worker) error {
	if r.proof != nil {
		r.m.pings.answer(r.proof)
	}
	return w.ackReceipt(r)
}

func (w *worker) ackReceipt(r *receiptIn) error {
	if !protocol.ValidWireID(r.frame.ReceiptID) {
		return nil
	}
	return w.c.write(&protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: r.frame.ReceiptID})
}

func (r *receiptIn) aside(w *worker, cause error) error {
	if err := r.m.setAside(r.raw, cause, nil); err != nil {
		return err
	}
	return w.ackReceipt(r)
}

// applyReceipts raises the states that a recipient vouches for. A receipt counts for the rows of which its signer is the
// recipient, and for no other.
func (m *Mesh) applyReceipts(tx *store.Tx, msg *protocol.Message) error {
	receipts, err := msg.Receipts()
	if err != nil {
		if err := m.alarmOf(tx, msg, err.Error()); err != nil {
			return err
		}
	}
	for _, body := range receipts {
		n, row, err := m.out.rowOf(tx, body.ID)
		if err != nil {
			return err
		}
		if row == nil || row.From != msg.Opened() && msg.Opened() != m.self { // the member answers for its sessions
			continue
		}
		if !m.mayHappen(body.At, row.Created) {
			if err := m.alarmOf(tx, msg, "a receipt with an impossible time, "+protocol.TimeOf(body.At).Format(time.DateOnly)); err != nil {
				return err
			}
			continue
		}
		changed := false
		for i := range row.Recipients {
			if row.Recipients[i].Member == msg.Member() {
				changed = row.Recipients[i].believe(body) || changed
			}
		}
		if !changed {
			continue
		}
		if row.Stage == stagePending {
			row.Stage = stageQueued // the ack was lost; who has it cannot have it from elsewhere
		}
		if row.allDead() {
			row.Stage, row.Reason = stageDead, row.Recipients[0].Reason
		}
		if err := m.saveRow(tx, n, row); err != nil {
			return err
		}
	}
	return nil
}

// mayHappen reports whether a recipient can have had a message at a time (Unix ms): between its acceptance and now, give
// or take what clocks may be off. A recipient who was away tells late, so how long ago it was does not matter.
func (m *Mesh) mayHappen(at, accepted int64) bool {
	span := protocol.MessageSpan.Milliseconds()
	return at >= accepted-span && at <= m.env.now().UnixMilli()+span
}

// believe applies a peer's receipt and reports whether it changed anything. States only rise; the recipient's word
// replaces the broker's for the same state.
func (r *outRecipient) believe(body protocol.ReceiptBody) bool {
	if body.State == protocol.StateRefused {
		if r.State.Rank() >= protocol.StateDelivered.Rank() && r.Proof == protocol.ProofPeer {
			return false
		}
		r.State, r.Proof, r.At, r.Reason = protocol.StateDead, protocol.ProofPeer, body.At, "refused: "+protocol.Neutralize(body.Reason)
		return true
	}
	// The broker's word, or our own giving up, does not outweigh the recipient's.
	weaker := r.Proof != protocol.ProofPeer && (r.State == protocol.StateDead || r.State == body.State)
	if body.State.Rank() <= r.State.Rank() && !weaker {
		return false
	}
	r.State, r.Proof, r.At, r.Reason = body.State, protocol.ProofPeer, body.At, ""
	if body.Rung != "" {
		r.Rung = protocol.NeutralizeName(body.Rung)
	}
	return true
}

// applyWord notes what the broker says without a proof.
func (m *Mesh) applyWord(tx *store.Tx, f *protocol.Receipt) error {
	n, row, err := m.out.rowOf(tx, f.ClientMessageID)
	if err != nil || row == nil {
		return err
	}
	to, err := crypto.ParsePublicKey(f.Recipient)
	if err != nil {
		m.log.Warn("receipt without recipient", "msg", f.ClientMessageID)
		return nil
	}
	changed := false
	for i := range row.Recipients {
		r := &row.Recipients[i]
		if r.Key != to && r.Member != to || r.Proof == protocol.ProofPeer {
			continue
		}
		switch state := protocol.State(f.State); state {
		case protocol.StateDelivered:
			if r.State.Rank() < state.Rank() {
				r.State, r.Proof, r.At, changed = state, protocol.ProofBroker, m.env.now().UnixMilli(), true
			}
		case "expired", protocol.StateRefused:
			if r.State.Rank() <= protocol.StateDelivered.Rank() {
				r.State, r.Proof, r.At, changed = protocol.StateDead, protocol.ProofBroker, m.env.now().UnixMilli(), true
				r.Reason = brokerReason(f)
			}
		}
	}
	if !changed {
		return nil
	}
	if row.allDead() {
		row.Stage, row.Reason = stageDead, row.Recipients[0].Reason
	}
	return m.saveRow(tx, n, row)
}

func brokerReason(f *protocol.Receipt) string {
	if f.Reason == "" {
		return f.State
	}
	return f.State + ": " + protocol.ForeignText(f.Reason)
}

func (row *outRow) allDead() bool {
	for _, r := range row.Recipients {
		if r.State != protocol.StateDead {
			return false
		}
	}
	return len(row.Recipients) > 0
}

// receiptsAtOnce is how many receipts wait for the broker's answer together.
const receiptsAtOnce = 64

// receiptsAgain is how long receipts wait that the broker does not take now.
const receiptsAgain = 10 * time.Second

// receiptFlow is where the worker stands with the receipts that are due.
type receiptFlow struct {
	after []byte    // key of the last one of this round; nil: a new round
	again time.Time // not before, by time.Now
}

// sendReceipts sends what is due to senders: shown, read, and what was delivered late. A receipt stays on disk until the
// broker has it. One that the broker does not take now, such as for a sender who fetches none, waits and holds up nothing else. It
// returns when to look again; zero: when woken.
func (w *worker) sendReceipts() (again time.Time, err error) {
	f := &w.receipts
	if time.Now().Before(f.again) {
		return f.again, nil
	}
	f.again = time.Time{}
	for {
		rows, err := w.m.dueReceipts(f.after)
		if err != nil {
			return again, err
		}
		if len(rows) == 0 {
			f.after = nil
			return f.again, nil
		}
		refused, err := w.sendSome(rows)
		if err != nil {
			return again, err
		}
		if refused != nil {
			f.again = time.Now().Add(max(refused.After, receiptsAgain))
		}
		f.after = rows[len(rows)-1].key
		if refused != nil && refused.Code == protocol.CodeRateLimit {
			return f.again, nil // the round goes on then
		}
	}
}

// dueReceipt is a receipt on disk.
type dueReceipt struct {
	key []byte
	row inbox.Receipt
}

func (m *Mesh) dueReceipts(after []byte) (rows []dueReceipt, err error) {
	err = m.env.DB.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Receipts, []byte(m.meshID), after) {
			if len(rows) == receiptsAtOnce {
				break
			}
			due := dueReceipt{key: bytes.Clone(k)}
			if m.env.Mail.Damage.Skip(table.Receipts, k, json.Unmarshal(v, &due.row)) {
				continue
			}
			rows = append(rows, due)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read receipts: %w", err)
	}
	return rows, nil
}

// sendSome sends receipts and forgets those that the broker answered for: taken, or refused for a reason that stays. It returns a
// refusal that does not stay.
func (w *worker) sendSome(rows []dueReceipt) (later *protocol.Error, err error) {
	answers := make([]<-chan []byte, len(rows))
	for i := range rows {
		frame, err := w.m.receiptFrame(&rows[i].row, false)
		if err != nil {
			w.m.log.Warn("receipt not sealed", "msg", rows[i].row.ID, "err", err)
			continue
		}
		if answers[i], err = w.c.start(frame, &frame.Tag); err != nil {
			return nil, err
		}
	}
	var settled [][]byte
	for i := range rows {
		if answers[i] != nil {
			err := w.receiptAnswer(answers[i], &rows[i].row)
			switch e, refused := err.(*protocol.Error); {
			case err == nil:
			case !refused || e.Code == protocol.CodeTimeout:
				return nil, err
			case e.Retryable:
				if later == nil || e.Code == protocol.CodeRateLimit {
					later = e
				}
				continue
			}
		}
		settled = append(settled, rows[i].key)
	}
	err = w.m.env.DB.Commit(func(tx *store.Tx) error {
		for _, key := range settled {
			if err := tx.Delete(table.Receipts, key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, table.Refusal("forget sent receipts", err)
	}
	return later, nil
}

// receiptAnswer waits for the broker's answer to a receipt. A session that the broker has forgotten hears by its member.
func (w *worker) receiptAnswer(answer <-chan []byte, row *inbox.Receipt) error {
	var ok protocol.OK
	err := w.c.wait(answer, protocol.TypeOK, &ok)
	if protocol.CodeOf(err) != protocol.CodeUnknownRecipient {
		return err
	}
	frame, failed := w.m.receiptFrame(row, true) // its own machine may have forgotten it, too
	if failed != nil {
		return err
	}
	return w.c.call(frame, &frame.Tag, protocol.TypeOK, &ok)
}

// receiptFrame seals a receipt for the key that sent the message, or for its member.
func (m *Mesh) receiptFrame(row *inbox.Receipt, toMember bool) (*protocol.Receipt, error) {
	var msg protocol.Message
	if err := msg.UnmarshalBinary(row.Message); err != nil {
		return nil, err
	}
	h := msg.Header()
	if toMember {
		h.From = msg.Member()
	}
	proof, err := m.proof(&h, protocol.ReceiptBody{State: protocol.State(row.State), At: row.At, Rung: row.Rung, Reason: row.Reason})
	if err != nil {
		return nil, err
	}
	return &protocol.Receipt{
		Tag: protocol.Tag{Type: protocol.TypeReceipt}, MessageID: row.ID, ClientMessageID: h.ID, To: h.From.String(),
		Recipient: msg.Opened().String(), State: row.State, At: row.At, Reason: row.Reason, Proof: proof,
	}, nil
}
