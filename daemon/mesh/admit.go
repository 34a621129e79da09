package mesh

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// duties does what a changed view asks of us: open what was held, admit who used a link of ours, repeat who left, close
// links after a ban, and let the broker have what it lacks.
func (w *worker) duties() error {
	if err := w.retryHeld(); err != nil {
		return err
	}
	for _, duty := range []func() error{w.m.admitAll, w.m.repeatLeaves, w.m.closeAfterBan} {
		if err := duty(); err != nil {
			w.m.log.Warn("a duty of an admin", "err", err)
		}
	}
	return w.offerMissing()
}

// admitAll certifies those who came by a link of ours, in the order in which they say they came, as long as the link has
// uses left. A link for admins is never used up here: its issuer is the owner.
func (m *Mesh) admitAll() error {
	view := m.trust.View()
	if !view.MayIssue(m.self, protocol.RoleMember) {
		return nil
	}
	var waiting []trust.Enrolment
	for key, e := range m.trust.Enrolments() {
		inv := e.Invite.Body.(*protocol.Invite)
		if inv.Issuer != m.self || inv.Role != protocol.RoleMember || view.Verified(key) {
			continue
		}
		waiting = append(waiting, e)
	}
	slices.SortFunc(waiting, func(a, b trust.Enrolment) int {
		x, y := a.Enrol.Body.(*protocol.Enrol), b.Enrol.Body.(*protocol.Enrol)
		return cmp.Or(cmp.Compare(x.At, y.At), bytes.Compare(x.Member[:], y.Member[:]))
	})
	for _, e := range waiting {
		if err := m.admit(e); err != nil {
			return err
		}
	}
	return nil
}

// admit counts one use and signs one certificate. The late and the surplus get none.
func (m *Mesh) admit(e trust.Enrolment) error {
	view, enrol, inv := m.trust.View(), e.Enrol.Body.(*protocol.Enrol), e.Invite.Body.(*protocol.Invite)
	if err := view.Invited(e.Invite, e.Enrol, m.env.now()); err != nil {
		m.log.Info("not admitted", "peer", enrol.Member.Short(), "name", enrol.Name, "reason", protocol.CodeOf(err))
		return nil
	}
	used, err := m.useLink(e.Invite, enrol.Member)
	if err != nil {
		return err
	}
	if !used {
		m.notice(fmt.Sprintf("somebody who calls himself %s used a link of yours that was used up; the link is closed now", enrol.Name))
		return m.closeLink(inv, "used up")
	}
	name := m.freeName(enrol.Name, enrol.Member)
	cert, err := protocol.Sign(&protocol.Cert{
		Mesh: m.meshID, Issuer: m.self, Member: enrol.Member, Name: name, Role: protocol.RoleMember, Issued: m.env.now().Unix(),
	}, m.key)
	if err != nil {
		return fmt.Errorf("sign a certificate: %w", err)
	}
	if err := m.learnOwn(cert); err != nil {
		return fmt.Errorf("admit %s: %w", name, err)
	}
	m.log.Info("admitted", "peer", enrol.Member.Short(), "name", name)
	m.notice(name + " joined " + m.Slug())
	return nil
}

// freeName makes a name unique among the living: bob, bob-2, bob-3.
func (m *Mesh) freeName(name string, key crypto.PublicKey) string {
	const longest = 32
	for n := 1; ; n++ {
		try := name
		if n > 1 {
			suffix := "-" + strconv.Itoa(n)
			try = name[:min(len(name), longest-len(suffix))] + suffix
		}
		if !m.trust.NameTaken(try, key) {
			return try
		}
	}
}

// useLink counts a use for a member, in the row of the invite. A member counts once however often he comes back.
func (m *Mesh) useLink(invite *protocol.Statement, member crypto.PublicKey) (used bool, err error) {
	inv := invite.Body.(*protocol.Invite)
	err = m.env.DB.Commit(func(tx *store.Tx) error {
		used = false
		key := table.Key(m.meshID, invite.ID[:])
		row := inviteRow{Statement: invite.Text()}
		ok, err := table.GetJSON(tx, table.Invites, key, &row)
		if err != nil {
			return err
		}
		if !ok {
			row.Members = m.admittedBy(inv.Link) // a restored database has forgotten its links
		}
		if slices.Contains(row.Members, member) {
			used = true
			return nil
		}
		if uint64(len(row.Members)) >= inv.Uses {
			return nil
		}
		used = true
		row.Members = append(row.Members, member)
		return table.PutJSON(tx, table.Invites, key, &row)
	})
	if err != nil {
		return false, fmt.Errorf("count a use of a link: %w", err)
	}
	return used, nil
}

// admittedBy lists the members who came by a link.
func (m *Mesh) admittedBy(link crypto.PublicKey) (members []crypto.PublicKey) {
	view := m.trust.View()
	for key, e := range m.trust.Enrolments() {
		if e.Invite.Body.(*protocol.Invite).Link == link && view.Verified(key) {
			members = append(members, key)
		}
	}
	return members
}

// closeAfterBan closes our links of more than one use when somebody was removed since they were made: he may hold one. A key of a
// session or program is nobody: that it was revoked closes nothing.
func (m *Mesh) closeAfterBan() error {
	removed := m.banned()
	if len(removed) == 0 {
		return nil
	}
	rows, err := m.inviteRows()
	if err != nil {
		return err
	}
	for _, row := range rows {
		inv := row.invite
		if inv.Issuer != m.self || inv.Uses == 1 || row.Bans >= len(removed) || row.state(m) != linkOpen {
			continue
		}
		m.notice(fmt.Sprintf("your link of %d uses was closed, because somebody was removed from %s", inv.Uses, m.Slug()))
		if err := m.closeLink(inv, "somebody was removed"); err != nil {
			return err
		}
	}
	return nil
}

// bans counts the people whom the log removed. They only grow in number, and no date of anybody's decides.
func (m *Mesh) bans() int { return len(m.banned()) }

// banned lists the members whom the log removed.
func (m *Mesh) banned() map[crypto.PublicKey]bool {
	view := m.trust.View()
	people := make(map[crypto.PublicKey]bool)
	for _, s := range view.Statements() {
		if c, ok := s.Body.(*protocol.Cert); ok {
			people[c.Member] = true
		}
	}
	removed := make(map[crypto.PublicKey]bool)
	for _, s := range view.Log() {
		if r, ok := s.Body.(*protocol.Revoke); ok && r.Kind == protocol.RevokeKey && people[r.Target] {
			removed[r.Target] = true
		}
	}
	return removed
}
