package broker

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// recollection is what a broker that starts finds out about what it had accepted: from the messages that wait for their
// recipients, and from the receipts that wait for their senders. So a sender who heard no answer before a crash repeats
// nothing into a queue, and message_status goes on. Of what was delivered and told, nobody asks again.
type recollection struct {
	dedupe    int
	addresses map[queue.Recipient]whose
	members   map[*member]map[string]*recollected // by client id
}

type whose struct {
	mesh    *mesh
	address *address
}

type recollected struct {
	clientID   string
	messageID  [messageIDSize]byte
	target     string // of a message to several
	recipients []recipientState
	lsn        uint64 // of its oldest row: the order in which they came
}

// recollect fills the senders' memories. Nobody is connected yet.
func (s *Server) recollect() error {
	r := recollection{
		dedupe: s.limits.Dedupe, addresses: make(map[queue.Recipient]whose), members: make(map[*member]map[string]*recollected),
	}
	for _, m := range s.meshes {
		for _, a := range m.addresses {
			r.addresses[a.mail], r.addresses[a.side] = whose{m, a}, whose{m, a}
		}
	}
	err := s.queue.Walk(func(to queue.Recipient, lsn uint64, header []byte, size int) error {
		w, known := r.addresses[to]
		if !known || len(header) == 0 { // of somebody who is gone: it expires
			return nil
		}
		w.mesh.recount(w.address, sharerOf(header), to == w.address.side, int64(size))
		if header[0] == rowReceipt {
			return r.receipt(w, lsn, header)
		}
		return r.message(w, lsn, header)
	})
	if err != nil {
		return err
	}
	for p, byID := range r.members {
		all := inOrder(byID)
		for _, e := range all[max(0, len(all)-r.dedupe):] {
			e.enter(p.recent)
		}
	}
	return nil
}

func (r *recollection) message(w whose, lsn uint64, header []byte) error {
	row, err := parseMessageRow(header)
	if err != nil {
		return err
	}
	p := w.mesh.members[row.member]
	if p == nil || len(row.messageID) != messageIDSize {
		return nil
	}
	e := r.entry(p, row.clientID, row.messageID, lsn)
	if len(row.wrap) > 0 || bytes.ContainsAny(row.target, "*@") { // else it is to its one recipient
		e.target = string(row.target)
	}
	e.note(w.address.key, protocol.StateQueued, 0)
	return nil
}

// receipt takes from a receipt that waits for a sender which message it is about, and what became of it.
func (r *recollection) receipt(w whose, lsn uint64, header []byte) error {
	row, err := parseReceiptRow(header)
	if err != nil {
		return err
	}
	key, err := crypto.ParsePublicKey(string(row.Recipient))
	if err != nil || len(row.MessageID) != messageIDSize {
		return nil
	}
	if w.mesh.addresses[key] == nil {
		return nil
	}
	r.entry(w.address.member, row.ClientMessageID, row.MessageID, lsn).note(key, protocol.State(row.State), row.At)
	return nil
}

// entry returns what is known of a message of p's, the oldest forgotten when that is far too much.
func (r *recollection) entry(p *member, clientID, messageID []byte, lsn uint64) *recollected {
	byID := r.members[p]
	if byID == nil {
		byID = make(map[string]*recollected)
		r.members[p] = byID
	}
	e, ok := byID[string(clientID)]
	if !ok {
		e = &recollected{clientID: string(clientID), messageID: [messageIDSize]byte(messageID), lsn: lsn}
		byID[e.clientID] = e
	}
	e.lsn = min(e.lsn, lsn)
	if len(byID) > 2*r.dedupe {
		for _, old := range inOrder(byID)[:len(byID)-r.dedupe] {
			delete(byID, old.clientID)
		}
	}
	return e
}

func inOrder(byID map[string]*recollected) []*recollected {
	return slices.SortedFunc(maps.Values(byID), func(a, b *recollected) int {
		return cmp.Or(cmp.Compare(a.lsn, b.lsn), cmp.Compare(a.clientID, b.clientID))
	})
}

// note adds a recipient, or what became of the message for him.
func (e *recollected) note(to crypto.PublicKey, state protocol.State, at int64) {
	now := recipientState{to, codeOf(state), at}
	i := slices.IndexFunc(e.recipients, func(r recipientState) bool { return r.to == to })
	switch {
	case i < 0:
		e.recipients = append(e.recipients, now)
	case at >= e.recipients[i].at:
		e.recipients[i] = now
	}
}

// enter adds the message to its sender's memory.
func (e *recollected) enter(r *recent) {
	s := r.add([]byte(e.clientID))
	s.messageID, s.committed = e.messageID, true
	if e.target == "" && len(e.recipients) == 1 {
		s.to, s.state, s.at = e.recipients[0].to, e.recipients[0].state, e.recipients[0].at
		return
	}
	b := r.more(s)
	b.target, b.recipients = cmp.Or(e.target, unknownTarget), e.recipients // receipts say only that it was to many
}
