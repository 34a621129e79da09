package broker

import (
	"encoding/json"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// minIDPrefix is the shortest prefix by which a message is found.
const minIDPrefix = 8

// handleMessageStatus tells how far a message of this member's is. The broker remembers the last messages of each sender
// only: what it has forgotten, the receipts have told.
func (c *conn) handleMessageStatus(tag protocol.Tag, frame []byte) error {
	var f protocol.MessageStatus
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	if len(f.MessageID) < minIDPrefix {
		return protocol.Refuse(protocol.CodeInvalid, "a message is named by its id, or by the first %d or more of it", minIDPrefix)
	}
	st, err := c.mesh.stateOf(c.member, f.MessageID)
	if err != nil {
		return err
	}
	st.Tag = protocol.Tag{Type: protocol.TypeMessageState, ReqID: tag.ReqID}
	c.reply(st.MessageState)
	return nil
}

// messageState is an answer, and the client id of the message that it is about.
type messageState struct {
	protocol.MessageState
	clientID string
}

func (s messageState) is(id string) bool { return s.MessageID == id || s.clientID == id }

// stateOf tells what became of a message of p's.
func (m *mesh) stateOf(p *member, id string) (answer messageState, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := p.recent.find(id)
	if err == nil {
		answer.clientID = p.recent.clientID(s)
		answer.MessageID, answer.TargetSpec = string(s.messageID[:]), p.recent.target(s)
		answer.Delivered = true
		for _, r := range p.recent.recipients(s) {
			state := r.state.state()
			answer.Delivered = answer.Delivered && state == protocol.StateDelivered
			answer.Recipients = append(answer.Recipients, protocol.RecipientState{
				Pubkey: r.to.String(), Status: string(state), At: r.at, Name: m.nameOfLocked(r.to),
			})
		}
	}
	return answer, err
}

// nameOfLocked is the name of the member that a key belongs to, empty when that is forgotten.
func (m *mesh) nameOfLocked(key crypto.PublicKey) string {
	if a := m.addresses[key]; a != nil {
		return m.nameLocked(a.member)
	}
	return ""
}

// noteState remembers what became of a message of the member with that key.
func (m *mesh) noteState(sender crypto.PublicKey, clientID []byte, recipient crypto.PublicKey, state protocol.State, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[sender]
	if p == nil {
		return
	}
	if s, ok := p.recent.get(clientID); ok {
		p.recent.note(s, recipient, state, at)
	}
}
