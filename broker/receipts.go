package broker

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// maxProof bounds a sealed receipt, in base64: a header and a few ids.
const maxProof = 32 << 10

// sideQueueFactor times QueueMessages is what a side queue takes: each message may have three receipts.
const sideQueueFactor = 4

// handleClientAck forgets a row that its recipient has on disk, and queues the receipt for its sender. Both go into the same
// journal in this order, so no crash can keep the one without the other the wrong way round.
func (c *conn) handleClientAck(frame []byte) {
	v, err := protocol.SplitClientAck(frame)
	tag := protocol.Tag{Type: protocol.TypeClientAck, ReqID: string(v.ReqID)}
	if err == nil {
		err = c.clientAck(&v)
	}
	if err != nil {
		c.refuse(tag, err)
		return
	}
	if tag.ReqID != "" {
		c.ok(tag)
	}
}

func (c *conn) clientAck(v *protocol.ClientAckView) error {
	if len(v.Proof.Ciphertext) > maxProof {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "a proof is at most %d bytes", maxProof)
	}
	state := protocol.StateDelivered
	if string(v.State) == string(protocol.StateRefused) {
		state = protocol.StateRefused
	}
	p, ok := c.takePushed(v.BrokerMessageID)
	if !ok {
		return nil // acknowledged before, or pushed on another connection: it will be pushed again
	}
	c.srv.metrics.acked.Inc()
	if err := c.mesh.settle(p.row, p.feed.of, state, v); err != nil {
		return err
	}
	there, err := c.srv.queue.Ack(p.feed.to(), p.class, p.lsn)
	if err != nil {
		return c.srv.storeError("acknowledge", err)
	}
	if there {
		c.mesh.release(p.feed.of, p.from, p.feed.side, int64(p.size))
	}
	return nil
}

// settle tells the sender of a row what became of it.
func (m *mesh) settle(header []byte, owner *address, state protocol.State, v *protocol.ClientAckView) error {
	if len(header) == 0 || header[0] != rowMessage {
		return nil
	}
	row, err := parseMessageRow(header)
	if err != nil {
		return err
	}
	at := m.srv.now().UnixMilli()
	m.noteState(row.member, row.clientID, owner.key, state, at)
	if row.noReceipt {
		return nil
	}
	var proof *protocol.SealedView
	if v.HasProof {
		proof = &v.Proof
	}
	m.queueReceipt(row.sender, row.member, owner.member, receiptRow{ReceiptView: protocol.ReceiptView{
		MessageID: row.messageID, ClientMessageID: row.clientID, Recipient: []byte(owner.key.String()), State: []byte(state),
		At: at, Proof: proof,
	}}, nil)
	return nil
}

// queueReceipt keeps a receipt of by for the key that sent the message; for its member, once the key is forgotten. When it cannot, the sender learns less: done (which may
// be nil) hears of it.
func (m *mesh) queueReceipt(to, member crypto.PublicKey, by *member, r receiptRow, done func(error)) {
	if done == nil {
		done = func(err error) {
			if err != nil {
				m.srv.log.Debug("receipt not saved", "mesh", m.id, "to", to.Short(), "reason", protocol.CodeOf(err), "err", err)
			}
		}
	}
	m.mu.Lock()
	a := m.addresses[to]
	if a == nil {
		a = m.addresses[member]
	}
	known := a != nil && m.reachableLocked(a, m.srv.now())
	r.sharer = m.sharerLocked(by)
	m.mu.Unlock()
	if !known {
		done(protocol.Refuse(protocol.CodeUnknownRecipient, "the sender %s is not in this mesh", to.Short()))
		return
	}
	if n, size := m.srv.queue.Depth(a.side); n >= sideQueueFactor*m.srv.limits.QueueMessages || size >= m.srv.limits.QueueBytes {
		done(protocol.Refuse(protocol.CodeQueueFull, "too many receipts wait for %s", to.Short()).RetryAfter(queueFullRetry))
		return
	}
	state, from, header := string(r.State), r.sharer, r.appendTo(nil)
	size := int64(len(header))
	if err := m.reserve(a, from, true, size); err != nil {
		done(err)
		return
	}
	m.srv.queue.Put(queue.Message{
		To: []queue.Recipient{a.side}, Headers: [][]byte{header},
		Class: queue.Now, Expires: m.srv.now().Add(m.srv.limits.Retention).UnixMilli(),
	}, func(_ uint64, err error) {
		if err == nil {
			m.srv.metrics.receipts.WithLabelValues(state).Inc()
		} else {
			m.release(a, from, true, size)
		}
		done(err)
	})
}

// handleReceipt forwards what a recipient tells a sender: shown or read. With _reqId it answers when the receipt is on disk.
func (c *conn) handleReceipt(tag protocol.Tag, frame []byte) error {
	var f protocol.Receipt
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	to, err := crypto.ParsePublicKey(f.To)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "to is not a key")
	}
	if err := c.checkReceipt(&f); err != nil {
		return err
	}
	row := receiptRow{ReceiptView: protocol.ReceiptView{
		MessageID: []byte(f.MessageID), ClientMessageID: []byte(f.ClientMessageID), Recipient: []byte(f.Recipient),
		State: []byte(f.State), Reason: []byte(f.Reason), At: f.At,
	}}
	if f.Proof != nil {
		row.Proof = &protocol.SealedView{Sender: []byte(f.Proof.Sender), Nonce: []byte(f.Proof.Nonce), Ciphertext: []byte(f.Proof.Ciphertext)}
	}
	c.mesh.queueReceipt(to, to, c.member, row, func(err error) {
		if err == nil {
			c.ok(tag)
			return
		}
		c.refuse(tag, c.srv.storeError("queue receipt", err))
	})
	return nil
}

// checkReceipt tells whether c may say this: it speaks for its member's keys only.
func (c *conn) checkReceipt(f *protocol.Receipt) error {
	switch protocol.State(f.State) {
	case protocol.StateDelivered, protocol.StateShown, protocol.StateRead, protocol.StateRefused:
	default:
		return protocol.Refuse(protocol.CodeInvalid, "a receipt says delivered, shown, read or refused")
	}
	if !protocol.ValidClientID(f.ClientMessageID) || len(f.MessageID) > 64 || len(f.Reason) > 200 {
		return protocol.Refuse(protocol.CodeInvalid, "a receipt names a message and at most 200 characters of reason")
	}
	if p := f.Proof; p != nil && (!validNonce([]byte(p.Nonce)) || !validBase64([]byte(p.Ciphertext)) || len(p.Ciphertext) > maxProof || !validKeyOrEmpty(p.Sender)) {
		return protocol.Refuse(protocol.CodeInvalid, "the proof is no sealed envelope of at most %d bytes", maxProof)
	}
	recipient, err := crypto.ParsePublicKey(f.Recipient)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "recipient is not a key")
	}
	c.mesh.mu.Lock()
	defer c.mesh.mu.Unlock()
	if a := c.mesh.addresses[recipient]; a == nil || a.member != c.member {
		return protocol.Refuse(protocol.CodeForbidden, "a receipt comes from its recipient")
	}
	return nil
}
