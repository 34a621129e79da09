package broker

import (
	"context"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// handleJoin takes somebody in who holds a link: as invited, until the link's issuer certifies him. The same request again
// changes nothing.
func (s *Server) handleJoin(r *http.Request) (int, any, error) {
	var req struct {
		protocol.JoinRequest
		Token string `json:"invite_token"` // of the original claudemesh
	}
	if err := readBody(r, &req); err != nil {
		return 0, nil, err
	}
	if req.Token != "" {
		return 0, nil, errOriginal()
	}
	invite, err := protocol.ParseText(req.Invite)
	if err != nil {
		return 0, nil, err
	}
	m := s.mesh(invite.Mesh())
	if m == nil {
		return 0, nil, protocol.Refuse(protocol.CodeNotFound, "this broker does not carry the mesh of that link")
	}
	enrol, err := protocol.ParseTextIn(m.id, req.Enrol)
	if err != nil {
		return 0, nil, err
	}
	key, err := m.enrol(invite, enrol)
	if err != nil {
		return 0, nil, err
	}
	wait := protocol.Millis(int64(req.WaitMS), s.limits.JoinWait)
	if err := m.waitVerified(r.Context(), key, wait); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, m.joinReply(key), nil
}

// enrol keeps who uses the link, unless he may not.
func (m *mesh) enrol(invite, enrol *protocol.Statement) (crypto.PublicKey, error) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.mu.Lock()
	fresh, err := m.mayEnrolLocked(invite, enrol)
	arrived := m.arrivals + 1
	m.mu.Unlock()
	if err != nil {
		return crypto.PublicKey{}, err
	}
	key := enrol.Body.(*protocol.Enrol).Member
	if !fresh {
		return key, nil
	}
	err = m.srv.db.Commit(func(tx *store.Tx) error { return putEnrol(tx, m.id, key, arrived, invite, enrol) })
	if err != nil {
		return key, m.srv.storeError("save enrolment", err)
	}
	m.mu.Lock()
	p := m.memberLocked(key)
	p.invite, p.enrol, p.arrived, m.arrivals = invite, enrol, arrived, arrived
	m.personChangedLocked(key)
	m.mu.Unlock()
	m.note(auditEnrolled, key, auditDetail{Key: invite.Body.(*protocol.Invite).Link.String(), Label: enrol.Body.(*protocol.Enrol).Name})
	m.srv.log.Info("enrolled", "mesh", m.id, "member", key.Short(), "link", invite.Body.(*protocol.Invite).Link.Short())
	return key, nil
}

// mayEnrolLocked tells why not, or whether the enrolment is new.
func (m *mesh) mayEnrolLocked(invite, enrol *protocol.Statement) (fresh bool, err error) {
	e, ok := enrol.Body.(*protocol.Enrol)
	if !ok {
		return false, protocol.Refuse(protocol.CodeInvalid, "not an enrolment")
	}
	p := m.members[e.Member]
	if p != nil && m.view.Verified(e.Member) {
		return false, nil // admitted already: he gets the log again
	}
	if err := m.view.Invited(invite, enrol, m.srv.now()); err != nil {
		return false, err
	}
	if a := m.addresses[e.Member]; a != nil && a.member.key != e.Member {
		return false, protocol.Refuse(protocol.CodeInvalid, "a session key cannot enrol")
	}
	if p != nil && p.enrol != nil {
		return false, nil // the first enrolment of a key stays
	}
	inv := invite.Body.(*protocol.Invite)
	came, admitted := m.enrolsLocked(inv.Link)
	switch {
	case admitted >= int(inv.Uses):
		return false, protocol.Refuse(protocol.CodeUsedUp, "the link was already used, as often as it may be").WithHint("ask for a new link")
	case came >= int(inv.Uses)+m.srv.limits.EnrolSlack:
		return false, protocol.Refuse(protocol.CodeUsedUp, "%d people claim the link, its issuer allows %d", came, inv.Uses).
			WithHint("ask for a new link")
	}
	return true, nil
}

// enrolsLocked counts who came by that link, and who of them was admitted.
func (m *mesh) enrolsLocked(link crypto.PublicKey) (came, admitted int) {
	for _, p := range m.members {
		if p.invite == nil || p.invite.Body.(*protocol.Invite).Link != link {
			continue
		}
		came++
		if m.certifiedLocked(p) {
			admitted++
		}
	}
	return came, admitted
}

// waitVerified returns when key is certified or when the time is over, and with the reason when that cannot happen any more.
func (m *mesh) waitVerified(ctx context.Context, key crypto.PublicKey, wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		m.mu.Lock()
		p, changed := m.members[key], m.joins
		done := p == nil || m.view.Verified(key)
		var err error
		if !done {
			err = m.view.Invited(p.invite, p.enrol, m.srv.now())
		}
		m.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-m.srv.stopping:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// joinReply is the charter and the log, which the joiner checks against his link.
func (m *mesh) joinReply(key crypto.PublicKey) protocol.JoinReply {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := protocol.JoinReply{OK: true, MemberID: protocol.MemberID(m.id, key), Statements: make([]string, 0, len(m.log))}
	for _, st := range m.log {
		if st != nil {
			reply.Statements = append(reply.Statements, st.Text())
		}
	}
	return reply
}
