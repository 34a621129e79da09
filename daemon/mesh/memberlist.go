package mesh

import (
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
)

// Members lists who is, was or may become a member.
func (m *Mesh) Members() []protocol.MemberInfo {
	view := m.trust.View()
	all := []protocol.MemberInfo{}
	for _, member := range view.Members() {
		role := member.Role
		if member.Key == view.Owner() {
			role = "owner"
		}
		all = append(all, m.memberInfo(member.Key, role, protocol.TrustVerified, ""))
	}
	return append(append(all, m.removedMembers(view)...), m.claimants(view)...)
}

func (m *Mesh) memberInfo(key crypto.PublicKey, role string, trust protocol.Trust, note string) protocol.MemberInfo {
	info := protocol.MemberInfo{
		Mesh: m.Slug(), Name: m.trust.Name(key), Pubkey: key.String(), Role: role, Trust: trust, Note: note,
		InPerson: m.trust.MetInPerson(key), Self: key == m.self,
	}
	r := m.who.reach(key, key)
	info.Online, info.LastSeen, info.Sessions = r.online(), r.last, r.sessions
	info.Presence, info.CanAnswer = r.presence(), r.canAnswer(protocol.PriorityNext)
	return info
}

// removedMembers are those who were members, and those who hold a good link and are kept out. A stranger
// who came and left is nobody: a link is enough for dozens of them.
func (m *Mesh) removedMembers(view *protocol.View) (all []protocol.MemberInfo) {
	left := leavers(view)
	was := make(map[crypto.PublicKey]bool)
	for _, member := range view.Removed() {
		key := member.Key
		was[key] = true
		if _, admin := left[key]; admin {
			all = append(all, m.memberInfo(key, protocol.RoleAdmin, protocol.TrustUnverified, "left; the owner key removes the key for good: claudemesh peer ban"))
			continue
		}
		all = append(all, m.memberInfo(key, protocol.RoleMember, protocol.TrustUnverified, m.whyRemoved(view, key)))
	}
	for key, e := range m.trust.Enrolments() {
		if r, gone := view.Revoked(key); gone && !r.Own && !was[key] && view.CheckInvite(e.Invite, m.env.now()) == nil {
			all = append(all, m.memberInfo(key, protocol.RoleMember, protocol.TrustUnverified, m.whyRemoved(view, key)))
		}
	}
	return all
}

// claimants are those who hold a good link and are not admitted. Of others who tried a dead link nothing is told.
func (m *Mesh) claimants(view *protocol.View) (all []protocol.MemberInfo) {
	contested := m.contested()
	for key, e := range m.trust.Enrolments() {
		if _, gone := view.Revoked(key); gone || view.Verified(key) {
			continue
		}
		if err := view.Invited(e.Invite, e.Enrol, m.env.now()); err != nil {
			if key == m.self {
				all = append(all, m.memberInfo(key, protocol.RoleMember, protocol.TrustUnverified, err.Error()))
			}
			continue
		}
		inv := e.Invite.Body.(*protocol.Invite)
		claim := &protocol.Claim{
			Link: inv.Link.String(), Role: inv.Role, Name: m.freeName(e.Enrol.Body.(*protocol.Enrol).Name, key),
			Fingerprint: protocol.Fingerprint(m.meshID, key), Mine: inv.Issuer == m.self, Contested: contested[key],
		}
		info := m.memberInfo(key, protocol.RoleMember, protocol.TrustInvited, claimNote(claim))
		info.Claim = claim
		all = append(all, info)
	}
	return all
}

func claimNote(c *protocol.Claim) string {
	switch {
	case c.Role == protocol.RoleAdmin:
		return "holds a link for admins: claudemesh members admit"
	case c.Contested:
		return "claims a link that more claim than it has uses: compare fingerprints, claudemesh members admit"
	}
	return "holds a link; not admitted yet"
}

// contested are those who claim a link of ours that more claim than it has uses left.
func (m *Mesh) contested() map[crypto.PublicKey]bool {
	keys := make(map[crypto.PublicKey]bool)
	all, err := m.claims()
	if err != nil {
		m.log.Warn("claims of links not read", "err", err)
	}
	for _, c := range all {
		if !c.contested() {
			continue
		}
		for _, e := range c.waiting {
			keys[e.Enrol.Body.(*protocol.Enrol).Member] = true
		}
	}
	return keys
}

// whyRemoved says who removed a key, and why. A leave that an admin's daemon repeated into the log is a leave.
func (m *Mesh) whyRemoved(view *protocol.View, key crypto.PublicKey) string {
	r, _ := view.Revoked(key)
	if r.Own {
		return "left"
	}
	by := m.CallName(r.By)
	if r.By == view.Owner() {
		by = "the owner"
	}
	switch r.Reason {
	case reasonLeft:
		return "left, as " + by + " confirms"
	case "":
		return "removed by " + by
	}
	return "removed by " + by + ": " + r.Reason
}

// isGhost reports whether e is the enrolment of somebody who came by a link that is dead, and is no member.
func (m *Mesh) isGhost(e trust.Enrolment) bool {
	view, key := m.trust.View(), e.Enrol.Body.(*protocol.Enrol).Member
	return key != m.self && !view.Verified(key) && protocol.LinkOver(view.CheckInvite(e.Invite, m.env.now()))
}

// forgetGhosts gives up the enrolments of dead links: who came by one and was not admitted is nobody.
func (m *Mesh) forgetGhosts() error {
	var over []crypto.PublicKey
	for key, e := range m.trust.Enrolments() {
		if m.isGhost(e) {
			over = append(over, key)
		}
	}
	return m.trust.Forget(over)
}
