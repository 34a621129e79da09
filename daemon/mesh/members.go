package mesh

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
)

// askMembers has the control connection look for certificates that a message lacked.
func (w *worker) askMembers() {
	w.m.chore(func(c *chores) { c.log, c.members = true, true })
}

func (w *worker) listMembers() error {
	ask := struct{ protocol.Tag }{protocol.Tag{Type: protocol.TypeListMembers}}
	var got protocol.MembersList
	if err := w.c.call(&ask, &ask.Tag, protocol.TypeMembersList, &got); err != nil {
		return err
	}
	return w.takeMembers(got.Members)
}

func (w *worker) handleMembership(frame []byte) error {
	var f protocol.Membership
	if err := decodeFrame(w.m.log, frame, &f); err != nil || !w.u.control {
		return nil
	}
	return w.takeMembers(f.Members)
}

// takeMembers believes the statements in what the broker says of members, and notes the rest as its word.
func (w *worker) takeMembers(items []protocol.MemberItem) error {
	var certs []*protocol.Statement
	var enrolments []trust.Enrolment
	for _, item := range items {
		for _, text := range item.Certs {
			if s, err := protocol.ParseTextIn(w.m.meshID, text); err == nil {
				w.log.has[s.ID] = true
				certs = append(certs, s)
			}
		}
		if e, ok := w.readEnrolment(item); ok {
			enrolments = append(enrolments, e)
		}
		if key, err := crypto.ParsePublicKey(item.Pubkey); err == nil {
			w.m.who.noteMember(key, item.Online, item.LastSeen, w.m.env.now().UnixMilli())
		}
	}
	if err := w.m.learnStatements(certs); err != nil {
		return err
	}
	fresh, err := w.m.trust.Learn(nil, slices.DeleteFunc(enrolments, w.m.isGhost))
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := w.takeKeys(item.APIKeys); err != nil {
			return err
		}
		for _, text := range item.Sessions {
			if err := w.takeSession(text); err != nil {
				return err
			}
		}
	}
	if fresh {
		w.m.chore(func(c *chores) { c.duties = true })
	}
	return nil
}

func (w *worker) readEnrolment(item protocol.MemberItem) (trust.Enrolment, bool) {
	if item.Invite == "" || item.Enrol == "" {
		return trust.Enrolment{}, false
	}
	e, err := trust.ParseEnrolment(item.Invite, item.Enrol)
	if err != nil {
		return e, false
	}
	enrol, ok := e.Enrol.Body.(*protocol.Enrol)
	invite, ok2 := e.Invite.Body.(*protocol.Invite)
	e.Arrived = max(item.Arrived, 0)
	return e, ok && ok2 && enrol.Link == invite.Link && enrol.Member.String() == item.Pubkey
}

// takeSession learns a session statement of somebody who is, or may become, a member. Each text is read once.
func (w *worker) takeSession(text string) error {
	if text == "" || w.log.read[text] {
		return nil
	}
	s, err := protocol.ParseTextIn(w.m.meshID, text)
	if err != nil {
		return nil
	}
	body, ok := s.Body.(*protocol.Session)
	if !ok || w.m.trust.Trust(body.Member) == protocol.TrustUnverified {
		return nil
	}
	if len(w.log.read) >= readMost {
		clear(w.log.read)
	}
	w.log.read[text] = true
	fresh, err := w.m.trust.Learn([]*protocol.Statement{s}, nil)
	w.log.learned = w.log.learned || fresh
	return err
}

// readMost is how many session statements a connection remembers to have read: of a large mesh, those that are live.
const readMost = 8192

// sessionsOver is how long the statement of somebody's ended session is kept after it expired. What was sealed to it is too old by then.
const sessionsOver = 30 * 24 * time.Hour

// forgetSessions bounds what is known of each member's sessions. It runs after statements were learned, when it is known who is live.
func (w *worker) forgetSessions() error {
	if !w.log.learned {
		return nil
	}
	w.log.learned = false
	return w.m.trust.ForgetSessions(time.Time{}, w.m.who.live)
}

// sweepSessions forgets sessions of the members that ended long ago.
func (m *Mesh) sweepSessions() error {
	return m.trust.ForgetSessions(m.env.now().Add(-sessionsOver), m.who.live)
}

// lastSeenText writes a time of the broker's, Unix ms, as scripts see it.
func lastSeenText(ms int64) string {
	if ms <= 0 {
		return ""
	}
	return protocol.TimeOf(ms).Format(time.RFC3339)
}

// MemberOf is the member that a key speaks for: itself where it is no session's.
func (m *Mesh) MemberOf(key crypto.PublicKey) crypto.PublicKey {
	if s := m.trust.Session(key); s != nil {
		return s.Body.(*protocol.Session).Member
	}
	return key
}
