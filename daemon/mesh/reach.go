package mesh

import (
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// reach is who could get a message now, by the broker's word.
type reach struct {
	live     bool   // the key itself is connected
	control  bool   // its member's daemon is
	sessions int    // of the member
	open     int    // of these, those that are not on dnd
	last     string // when the member was last seen, where nobody is connected
}

// reach looks for the connections of a member and of one of its keys.
func (p *presence) reach(member, key crypto.PublicKey) reach {
	p.mu.Lock()
	defer p.mu.Unlock()
	var r reach
	of := member.String()
	for k, peer := range p.peers {
		r.live = r.live || k == key
		if peer.item.MemberPubkey != of {
			continue
		}
		switch peer.item.PeerRole {
		case protocol.RoleControl:
			r.control = true
		case protocol.RoleSession:
			r.sessions++
			if peer.item.Status != protocol.StatusDND {
				r.open++
			}
		}
	}
	if !r.online() {
		r.last = lastSeenText(p.members[member].last)
	}
	return r
}

func (r reach) online() bool { return r.live || r.control || r.sessions > 0 }

// presence says in a word who is there: without a session nobody reads, and nobody answers.
func (r reach) presence() string {
	switch {
	case r.sessions > 0:
		return protocol.PresenceSession
	case r.online():
		return protocol.PresenceNoSession
	}
	return protocol.PresenceOffline
}

// canAnswer says whether a session is there that a message of this priority interrupts or finds idle.
func (r reach) canAnswer(priority string) bool {
	return r.open > 0 || r.sessions > 0 && priority == protocol.PriorityNow
}
