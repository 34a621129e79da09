package broker

import (
	"bytes"
	"encoding/json"
	"strings"

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
		answer.clientID = s.clientID
		answer.MessageID, answer.TargetSpec = string(s.messageID[:]), s.targetSpec()
		answer.Delivered = true
		for _, r := range s.recipients {
			state := protocol.RecipientState{Pubkey: r.to.key.String(), Status: string(protocol.StateQueued), At: r.at}
			if r.state != "" {
				state.Status = string(r.state)
			}
			answer.Delivered = answer.Delivered && r.state == protocol.StateDelivered
			state.Name = m.nameLocked(r.to.member)
			answer.Recipients = append(answer.Recipients, state)
		}
	}
	return answer, err
}

// recipientState is what became of a message for one recipient.
type recipientState struct {
	to    *address
	state protocol.State // "" while it is queued
	at    int64          // Unix ms
}

// find returns the message of that message or client id, or of a unique prefix.
func (r *recent) find(id string) (*sent, error) {
	var found *sent
	for _, s := range r.ring {
		if !s.committed || !bytes.HasPrefix(s.messageID[:], []byte(id)) && !strings.HasPrefix(s.clientID, id) {
			continue
		}
		if string(s.messageID[:]) == id || s.clientID == id {
			return s, nil
		}
		if found != nil && found != s {
			return nil, protocol.Refuse(protocol.CodeAmbiguous, "more than one message begins with %s", id)
		}
		found = s
	}
	if found == nil {
		return nil, protocol.Refuse(protocol.CodeNotFound, "no message %s that this broker remembers", id)
	}
	return found, nil
}

// noteState remembers what became of a message of the member with that key.
func (m *mesh) noteState(sender crypto.PublicKey, clientID []byte, recipient crypto.PublicKey, state protocol.State, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.members[sender]
	if p == nil {
		return
	}
	s, ok := p.recent.get(clientID)
	if !ok {
		return
	}
	for i := range s.recipients {
		if s.recipients[i].to.key == recipient {
			s.recipients[i].state, s.recipients[i].at = state, at
		}
	}
}
