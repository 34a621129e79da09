package broker

import (
	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/protocol"
)

// dropRevoked forgets what waits for keys that were revoked, and tells its senders. A broker that is killed meanwhile goes on
// with the next sweep.
func (m *mesh) dropRevoked() {
	var revoked []*address
	m.mu.Lock()
	for key, a := range m.addresses {
		if _, gone := m.view.RevokedOf(a.member.key, key); gone {
			revoked = append(revoked, a)
		}
	}
	m.mu.Unlock()
	m.giveUp(revoked, dropRevoked, "the recipient was revoked")
}

// giveUp forgets what waits for keys that will never fetch it, and tells its senders why.
func (m *mesh) giveUp(to []*address, why, reason string) {
	m.dropAll(to, why, func(a *address, r queue.Row) { m.tellSender(a, r, protocol.StateRefused, reason) })
}

// dropAll drops the queues of these keys. What cannot be dropped now expires.
func (m *mesh) dropAll(to []*address, why string, dropped func(a *address, r queue.Row)) {
	for _, a := range to {
		n, err := m.srv.queue.Drop(a.mail, func(r queue.Row) {
			m.srv.metrics.drops.WithLabelValues(why).Inc()
			m.release(a, sharerOf(r.Header), false, int64(r.Size))
			dropped(a, r)
		})
		if err == nil {
			_, err = m.srv.queue.Drop(a.side, func(r queue.Row) { m.release(a, sharerOf(r.Header), true, int64(r.Size)) })
		}
		if err != nil {
			m.srv.storeError("drop a queue", err)
		}
		if n > 0 {
			m.srv.log.Info("messages dropped", "mesh", m.id, "to", a.key.Short(), "messages", n, "reason", why)
		}
	}
}

// tellSender queues a receipt for the sender of a message that a never gets.
func (m *mesh) tellSender(a *address, r queue.Row, state protocol.State, reason string) {
	if len(r.Header) == 0 || r.Header[0] != rowMessage {
		return
	}
	row, err := parseMessageRow(r.Header)
	if err != nil || row.noReceipt {
		return
	}
	at := m.srv.now().UnixMilli()
	m.noteState(row.member, row.clientID, a.key, state, at)
	m.queueReceipt(row.sender, row.member, a.member, receiptRow{ReceiptView: protocol.ReceiptView{
		MessageID: row.messageID, ClientMessageID: row.clientID, Recipient: []byte(a.key.String()), State: []byte(state),
		Reason: []byte(reason), At: at,
	}}, nil)
}
