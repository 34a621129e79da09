package broker

import (
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// memberItems tells what the broker knows of these members.
func (m *mesh) memberItems(keys []crypto.PublicKey) []protocol.MemberItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	certs := m.certsLocked()
	items := make([]protocol.MemberItem, 0, len(keys))
	for _, k := range keys {
		if p := m.members[k]; p != nil {
			items = append(items, m.memberItemLocked(p, certs[k]))
		}
	}
	return items
}

// certsLocked sorts the certificates of the log by member.
func (m *mesh) certsLocked() map[crypto.PublicKey][]string {
	certs := make(map[crypto.PublicKey][]string)
	for _, st := range m.log {
		if c, ok := st.Body.(*protocol.Cert); ok {
			certs[c.Member] = append(certs[c.Member], st.Text())
		}
	}
	return certs
}

func (m *mesh) memberItemLocked(p *member, certs []string) protocol.MemberItem {
	item := protocol.MemberItem{Pubkey: p.key.String(), Certs: certs, LastSeen: p.lastSeen, Online: m.onlineLocked(p)}
	if p.enrol != nil {
		item.Invite, item.Enrol = p.invite.Text(), p.enrol.Text()
	}
	for _, st := range p.sessions {
		item.Sessions = append(item.Sessions, st.Text())
	}
	slices.Sort(item.Sessions)
	return item
}

// onlineLocked tells whether p has a presence, a lease included.
func (m *mesh) onlineLocked(p *member) bool {
	if m.presences[p.key] != nil {
		return true
	}
	for k := range p.sessions {
		if m.presences[k] != nil {
			return true
		}
	}
	return false
}

// handleListMembers answers with everybody who is or was admitted or invited.
func (c *conn) handleListMembers(tag protocol.Tag) error {
	m := c.mesh
	m.mu.Lock()
	keys := make([]crypto.PublicKey, 0, len(m.members))
	for k := range m.members {
		keys = append(keys, k)
	}
	m.mu.Unlock()
	slices.SortFunc(keys, func(a, b crypto.PublicKey) int { return slices.Compare(a[:], b[:]) })
	c.reply(protocol.MembersList{Tag: protocol.Tag{Type: protocol.TypeMembersList, ReqID: tag.ReqID}, Members: m.memberItems(keys)})
	return nil
}
