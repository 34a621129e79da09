package mesh

import (
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// arrival is a push: a message, or what passed for one.
type arrival struct {
	m        *Mesh
	push     protocol.Push
	raw      []byte            // the frame, for one that is held
	keptIn   string            // bucket of heldRow
	heldRow  []byte            // key of one that was kept before, and acknowledged: held, or set aside
	ackID    string            // the broker's id, if we can say it again
	failed   error             // a fault of ours: the message is not opened yet
	msg      *protocol.Message // proved; nil for all others
	alarm    *protocol.AlarmError
	expired  *protocol.ExpiredError
	held     *protocol.HeldError
	inbound  string // accept, hold or refuse
	blocked  bool   // the user takes nothing of this kind from the sender
	repeated bool   // set by apply
	full     string // set by apply: why there is no room for it
	share    []byte // key that it is counted under
	stored   []byte // the message as it is kept
}

// opener returns what opens messages for this member now.
func (m *Mesh) opener() *protocol.Opener {
	keys := m.ring.Keys()
	return &protocol.Opener{
		Mesh: m.meshID, View: m.trust.View(), Now: m.env.now(), Member: keys[0], Sessions: keys[1:],
		Shared: m.ring.Shared, Attested: &m.vouched,
		Invited: func(member crypto.PublicKey) (string, bool) {
			return m.trust.Name(member), m.trust.IsInvited(member)
		},
	}
}

// readPush opens a message: checks 1 to 8. It returns nil for a malformed push.
func (w *worker) readPush(frame []byte) incoming {
	a := &arrival{m: w.m, raw: frame, inbound: w.m.cfg.Inbound}
	if err := decodeFrame(w.m.log, frame, &a.push); err != nil {
		return nil
	}
	if protocol.ValidWireID(a.push.MessageID) {
		a.ackID = a.push.MessageID
	}
	a.failed = guarded(w.m.log, a.open)
	a.push.MessageID = a.ackID
	if a.msg != nil && a.ackID == "" { // the broker has no say in it: it follows from the message
		a.push.MessageID = protocol.MessageID(w.m.meshID, a.msg.Member(), a.msg.ID())
	}
	return a
}

// open sorts the message by what the checks say. The error is one of ours, which says nothing of the message.
func (a *arrival) open() error {
	msg, err := a.m.opener().Open(a.push.Incoming())
	switch {
	case err == nil:
		a.msg, a.blocked = msg, !a.m.grants.Allows(msg.From(), msg.Member(), msg.Group())
	case errors.As(err, &a.alarm), errors.As(err, &a.expired), errors.As(err, &a.held):
	default:
		return fmt.Errorf("open a message: %w", err)
	}
	return nil
}

// apply stores the arrival: checks 9 and 10.
func (a *arrival) apply(tx *store.Tx) error {
	a.repeated, a.full = false, ""
	switch {
	case a.failed != nil:
		return a.failed
	case a.alarm != nil:
		return a.storeAlarm(tx)
	case a.expired != nil:
		return nil
	case a.held != nil:
		return a.hold(tx)
	}
	if a.msg.Kind() == protocol.KindReceipt {
		return a.m.applyReceipts(tx, a.msg)
	}
	if a.refused() || a.msg.Kind() == protocol.KindPing { // a ping asks for a receipt, which done gives, and for nothing else
		return nil
	}
	h := a.msg.Header()
	if err := a.findRoom(tx, h.ID); err != nil || a.full != "" {
		return err
	}
	var err error
	if a.repeated, err = a.m.rememberID(tx, a.msg.Opened(), a.msg.Member(), h.ID, h.TS); err != nil || a.repeated {
		return err
	}
	cloned, err := a.m.noteNumber(tx, a.msg)
	if err != nil {
		return err
	}
	if protocol.MemoryKind(a.msg.Kind()) {
		return a.queueAsk(tx)
	}
	if !a.kept() {
		return nil
	}
	return a.storeMessage(tx, cloned)
}

// findRoom looks where the message is counted, and sets full if there is no room. One that came before has its room.
func (a *arrival) findRoom(tx *store.Tx, id string) (err error) {
	if !a.kept() || a.m.knowsID(tx, a.msg.Opened(), a.msg.Member(), id) {
		return nil
	}
	if a.stored, err = a.msg.MarshalBinary(); err != nil {
		return err
	}
	a.share = a.m.shareOf(a.msg.Member(), a.msg.Trust())
	a.full = a.m.env.most().Full(tx, a.share, inbox.RowBytes+len(a.stored))
	return nil
}

// kept reports whether the message gets a row in the inbox.
func (a *arrival) kept() bool {
	kind := a.msg.Kind()
	return kind != protocol.KindLog && kind != protocol.KindCard && !protocol.MemoryKind(kind)
}

// refused reports whether the user takes no messages in this mesh, or none from the sender.
func (a *arrival) refused() bool {
	return (a.blocked || a.inbound == "refuse") && a.msg.Kind() != protocol.KindLog
}

func (a *arrival) refusal() string {
	if a.blocked {
		return "takes no such messages from you"
	}
	return "takes no messages in this mesh"
}

// storeMessage makes the inbox row and its event.
func (a *arrival) storeMessage(tx *store.Tx, cloned bool) error {
	row := &inbox.Row{
		Mesh: a.m.meshID, Own: a.msg.Opened(), Member: a.msg.Opened() == a.m.self, From: a.msg.From(),
		Name: a.m.CallName(a.msg.Member()), ID: a.msg.ID(), MessageID: a.push.MessageID, Message: a.stored,
		Received: a.m.env.now().UnixMilli(), Several: a.msg.Group(), Share: a.share,
	}
	if cloned {
		row.Flags = append(row.Flags, "cloned")
	}
	switch {
	case a.msg.Trust() == protocol.TrustInvited:
		row.Held = "the sender holds a link and is not admitted yet"
	case a.inbound == "hold":
		row.Held = "messages of this mesh are held"
	}
	return a.m.storeRow(tx, row, a.msg)
}

// storeRow puts a row into the inbox and tells of it. msg is nil for an alarm, which waits for nobody.
func (m *Mesh) storeRow(tx *store.Tx, row *inbox.Row, msg *protocol.Message) error {
	if s, _ := m.ring.Session(row.Own); s != nil && !row.Member {
		row.ToSession = s.Label
	}
	n, err := m.env.Mail.Add(tx, row)
	if err != nil {
		return err
	}
	if msg != nil {
		if err := inbox.Await(tx, n, row, msg); err != nil {
			return err
		}
	}
	return m.env.Events.Put(tx, protocol.Event{Type: inbox.EventMessage, Mesh: m.Slug()}, inbox.EventOptions{Inbox: n})
}

// done acknowledges: the message is on disk, or is nothing that a repetition would make better.
func (a *arrival) done(w *worker) error {
	ack := a.ack()
	var err error
	switch {
	case a.full != "":
		ack.State = string(protocol.StateRefused)
		ack.Proof, err = w.m.proof(a.header(), protocol.ReceiptBody{State: protocol.StateRefused, Reason: a.full})
		w.m.noRoom(a.header().Member, a.full)
	case a.alarm != nil:
		w.m.log.Warn("alarm", "msg", a.push.MessageID, "check", a.alarm.Check, "reason", a.alarm.Reason, "peer", a.alarm.Sender.Short())
		if h := a.alarm.Header; h != nil && w.m.trust.Trust(h.Member) != protocol.TrustUnverified { // he hears why it does not arrive
			ack.State = string(protocol.StateRefused)
			ack.Proof, err = w.m.proof(h, protocol.ReceiptBody{State: protocol.StateRefused, Reason: a.alarm.Reason})
		}
	case a.held != nil:
		w.askMembers()
	case a.expired != nil:
		ack.State = string(protocol.StateRefused)
		ack.Proof, err = w.m.proof(a.expired.Header, protocol.ReceiptBody{State: protocol.StateRefused, Reason: "sealed too long ago"})
	case a.refused():
		h := a.msg.Header()
		ack.State = string(protocol.StateRefused)
		ack.Proof, err = w.m.proof(&h, protocol.ReceiptBody{State: protocol.StateRefused, Reason: a.refusal()})
	case a.msg.Kind() != protocol.KindReceipt && a.msg.Kind() != protocol.KindLog:
		h := a.msg.Header()
		ack.Proof, err = w.m.proof(&h, protocol.ReceiptBody{State: protocol.StateDelivered})
	}
	if err != nil {
		w.m.log.Warn("receipt not sealed", "msg", a.push.MessageID, "err", err)
	}
	if a.heldRow != nil {
		return w.settleHeld(a, ack)
	}
	if err := w.ackPush(ack); err != nil {
		return err
	}
	return w.followUp(a)
}

// header is the envelope's, of a message that was opened.
func (a *arrival) header() *protocol.Header {
	if a.held != nil {
		return a.held.Header
	}
	h := a.msg.Header()
	return &h
}

// ack names the push, as the broker did.
func (a *arrival) ack() protocol.ClientAck {
	ack := protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: a.ackID}
	if protocol.ValidWireID(a.push.ClientMessageID) {
		ack.ClientMessageID = a.push.ClientMessageID
	}
	return ack
}

func (w *worker) ackPush(ack protocol.ClientAck) error {
	if ack.BrokerMessageID == "" {
		w.m.log.Warn("push without id")
		return nil
	}
	return w.c.write(&ack)
}

// aside keeps a message that this daemon cannot store, and tells of it in the inbox. One that was kept before stays where
// it is.
func (a *arrival) aside(w *worker, cause error) error {
	if a.heldRow != nil {
		return nil
	}
	err := a.m.setAside(a.raw, cause, func(tx *store.Tx) error {
		return a.m.storeRow(tx, &inbox.Row{
			Mesh: a.m.meshID, Own: a.m.self, Member: true, Name: "unknown", MessageID: a.push.MessageID, Received: a.m.env.now().UnixMilli(),
			Alarm: "a message is set aside, because this machine cannot store it: " + protocol.ForeignText(cause.Error()),
		}, nil)
	})
	if err != nil {
		return err
	}
	return w.ackPush(a.ack())
}

// followUp is what a proved message has to say beyond itself: statements, and which log its sender knows.
func (w *worker) followUp(a *arrival) error {
	if a.msg == nil || a.repeated || a.full != "" || a.refused() || a.msg.Trust() != protocol.TrustVerified {
		return nil
	}
	if protocol.MemoryKind(a.msg.Kind()) && w.m.env.Asked != nil {
		w.m.env.Asked()
	}
	if a.msg.Kind() == protocol.KindLog && a.msg.From() == a.msg.Member() { // a session or API key speaks for no mesh
		statements, err := a.msg.LogStatements()
		if err != nil {
			w.m.log.Warn("malformed log message", "peer", a.msg.Member().Short(), "err", err)
			return nil
		}
		if err := w.m.learnStatements(statements); err != nil {
			return err
		}
	}
	w.m.compareLogs(a.msg)
	return nil
}

// proof seals a receipt of the member for the message of header h to the key that sent it.
func (m *Mesh) proof(h *protocol.Header, r protocol.ReceiptBody) (*protocol.Sealed, error) {
	now := m.env.now().UnixMilli()
	r.ID = h.ID
	if r.At == 0 {
		r.At = now
	}
	body, err := protocol.EncodeReceipts([]protocol.ReceiptBody{r})
	if err != nil {
		return nil, err
	}
	shared, err := m.ring.Shared(m.self, h.From)
	if err != nil {
		return nil, err
	}
	nonce, ciphertext, err := protocol.SealDirect(&protocol.Header{
		ID: protocol.NewClientID(), Mesh: m.meshID, From: m.self, Member: m.self, To: h.From.String(), Prio: protocol.PriorityNext,
		TS: now, Ep: noEpoch, Log: m.trust.View().Digest(), Kind: protocol.KindReceipt,
	}, body, m.key, &shared)
	if err != nil {
		return nil, err
	}
	return &protocol.Sealed{Sender: m.self.String(), Nonce: base64Text(nonce), Ciphertext: base64Text(ciphertext)}, nil
}

// noEpoch is the epoch of envelopes that bear no number.
const noEpoch = "0000000000000000"
