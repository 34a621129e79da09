package mesh

import (
	"fmt"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
)

// shareOf is where the mail of a member is counted.
func (m *Mesh) shareOf(member crypto.PublicKey, trust protocol.Trust) []byte {
	if trust == protocol.TrustInvited {
		if link, ok := m.trust.LinkOf(member); ok {
			return inbox.ShareKey(m.meshID, inbox.ClassLink, link)
		}
	}
	return inbox.ShareKey(m.meshID, inbox.ClassMember, member)
}

// most are the quotas in force.
func (e *Env) most() *inbox.Quotas {
	q := e.quotas
	if q == (inbox.Quotas{}) {
		q = inbox.DefaultQuotas()
	}
	return &q
}

// fullNotices is how many people a mesh tells its user of in an hour, whose mail it refuses: those who come after have been
// too many.
const fullNotices = 20

// noRoom tells the user, once an hour and person, that messages are refused because too many wait.
func (m *Mesh) noRoom(member crypto.PublicKey, why string) {
	hour := m.env.now().Unix() / 3600
	m.mu.Lock()
	if m.fullHour != hour {
		m.fullHour, m.fullTold = hour, make(map[crypto.PublicKey]bool)
	}
	told := m.fullTold[member] || len(m.fullTold) >= fullNotices
	if !told {
		m.fullTold[member] = true
	}
	m.mu.Unlock()
	if told {
		return
	}
	m.log.Warn("messages refused", "peer", member.Short(), "reason", why)
	text := fmt.Sprintf("messages of %s are refused: %s. Read, delete or accept what waits: claudemesh inbox", m.CallName(member), why)
	m.env.Events.Emit(protocol.Event{Type: inbox.EventNotice, Mesh: m.Slug(), Notice: text}, inbox.EventOptions{})
}
