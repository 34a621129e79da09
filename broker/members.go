package broker

import (
	"cmp"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// maxListedSessions is how many sessions of a member others are told of, the newest: he has few at a time, and keeps the keys
// of all that ever were.
const maxListedSessions = 16

// memberItems tells what the broker knows of these members.
func (m *mesh) memberItems(keys []crypto.PublicKey) []protocol.MemberItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := make([]protocol.MemberItem, 0, len(keys))
	for _, k := range keys {
		if p := m.members[k]; p != nil {
			items = append(items, m.memberItemLocked(p))
		}
	}
	return items
}

func (m *mesh) memberItemLocked(p *member) protocol.MemberItem {
	item := protocol.MemberItem{Pubkey: p.key.String(), LastSeen: p.lastSeen, Online: m.onlineLocked(p)}
	if p.enrol != nil {
		item.Invite, item.Enrol, item.Arrived = p.invite.Text(), p.enrol.Text(), int64(p.arrived)
	}
	room := maxMemberItem
	add := func(list *[]string, st *protocol.Statement) {
		text := st.Text()
		if room -= len(text); room >= 0 {
			*list = append(*list, text)
		}
	}
	for _, st := range p.newestSessions() {
		add(&item.Sessions, st)
	}
	for _, st := range slices.Backward(p.certs) { // the newest first; all are in the log
		add(&item.Certs, st)
	}
	slices.Reverse(item.Certs)
	for _, k := range p.keys {
		if k.goodLocked(m.srv.now()) == nil {
			add(&item.APIKeys, k.st)
		}
	}
	return item
}

// newestSessions returns the statements of the sessions that were attested last, the newest first.
func (p *member) newestSessions() []*protocol.Statement {
	all := make([]*protocol.Statement, 0, len(p.sessions))
	for _, st := range p.sessions.all() {
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b *protocol.Statement) int {
		return cmp.Or(cmp.Compare(b.Body.(*protocol.Session).Issued, a.Body.(*protocol.Session).Issued), slices.Compare(a.ID[:], b.ID[:]))
	})
	return all[:min(len(all), maxListedSessions)]
}

// onlineLocked tells whether p has a presence, a lease included.
func (m *mesh) onlineLocked(p *member) bool {
	if m.presences[p.key] != nil {
		return true
	}
	for k := range p.sessions.all() {
		if m.presences[k] != nil {
			return true
		}
	}
	return false
}

// handleListMembers answers with everybody who is or was admitted or invited. Those who do not fit the answer are pushed as
// membership to a control connection.
func (c *conn) handleListMembers(tag protocol.Tag, _ []byte) error {
	m := c.mesh
	answer := protocol.MembersList{Tag: protocol.Tag{Type: protocol.TypeMembersList, ReqID: tag.ReqID}, Members: []protocol.MemberItem{}}
	var rest []crypto.PublicKey
	m.mu.Lock()
	keys := make([]crypto.PublicKey, 0, len(m.members))
	for k := range m.members {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b crypto.PublicKey) int { return slices.Compare(a[:], b[:]) })
	size := 0
	for _, k := range keys {
		item := m.memberItemLocked(m.members[k])
		if size += sizeOf(item); size > m.srv.limits.ListBytes {
			rest = append(rest, k)
			continue
		}
		answer.Members = append(answer.Members, item)
	}
	m.mu.Unlock()
	c.reply(answer)
	if len(rest) > 0 {
		c.owe(func(o *owed) { o.people = rest })
	}
	return nil
}

// sizeOf is about how long the item is as JSON.
func sizeOf(item protocol.MemberItem) int {
	n := 200 + len(item.Invite) + len(item.Enrol)
	for _, s := range slices.Concat(item.Certs, item.Sessions, item.APIKeys) {
		n += len(s) + 3
	}
	return n
}
