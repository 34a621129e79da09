package mesh

import (
	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// queueAsk keeps a message of the memory for the engine, in the transaction that acknowledges it.
// Only verified members are answered, so the others' go no further.
func (a *arrival) queueAsk(tx *store.Tx) error {
	if a.msg.Trust() != protocol.TrustVerified {
		return nil
	}
	h := a.msg.Header()
	body, err := a.msg.MemoryBody()
	if err != nil {
		return err
	}
	return ask.Queue(tx, ask.Incoming{
		Mesh: string(a.m.meshID), Member: a.msg.Member().String(), From: a.msg.From().String(), ID: h.ID, Kind: h.Kind, ReplyTo: h.ReplyTo, Body: body,
	})
}

// MayAsk reports whether a member is verified and the user refuses him nothing that he asks of the memory.
func (m *Mesh) MayAsk(member crypto.PublicKey) bool {
	return m.trust.View().Verified(member) && m.grants.Allows(member, member, false)
}

// SendMemory accepts a message of the memory, or the mail of a late answer. Other sessions of this
// member get no copy of it. A nil from is the member.
func (m *Mesh) SendMemory(to, kind, replyTo string, from *crypto.PrivateKey, body []byte) (protocol.SendResult, error) {
	if from == nil {
		from = m.key
	}
	d := &draft{id: protocol.NewClientID(), from: from, priority: protocol.PriorityNext, kind: kind, replyTo: replyTo, body: body, number: true}
	if err := m.checkSending(); err != nil {
		return protocol.SendResult{}, err
	}
	t, err := m.Resolve(to)
	if err != nil {
		return protocol.SendResult{}, err
	}
	if err := m.address(d, t); err != nil {
		return protocol.SendResult{}, err
	}
	d.echo = false
	if len(d.people) == 0 {
		return protocol.SendResult{}, protocol.Refuse(protocol.CodeNotFound, "nobody but you in %s of %s", t.Spec, m.Slug())
	}
	row, err := m.accept(d)
	if err != nil {
		return protocol.SendResult{}, err
	}
	return m.result(row), nil
}
