package mesh

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// duties does what a changed view asks of us: open what was held, admit who used a link of ours, repeat who left, close
// links after a ban, and let the broker have what it lacks.
func (w *worker) duties() error {
	if err := w.retryHeld(); err != nil {
		return err
	}
	for _, duty := range []func() error{w.m.admitAll, w.m.repeatLeaves, w.m.closeAfterBan, w.m.forgetGhosts} {
		if err := duty(); err != nil {
			w.m.log.Warn("admin duty failed", "err", err)
		}
	}
	return w.offerMissing()
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
		if _, err := table.GetJSON(tx, table.Invites, key, &row); err != nil {
			return err
		}
		row.Members = m.users(inv, row.Members)
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

// users are the members who came by a link: those whose use was counted, and whoever else is verified. A restored database
// has forgotten its counts, and the owner key admits without counting.
func (m *Mesh) users(inv *protocol.Invite, counted []crypto.PublicKey) []crypto.PublicKey {
	view, users := m.trust.View(), slices.Clone(counted)
	for key, e := range m.trust.Enrolments() {
		if e.Invite.Body.(*protocol.Invite).Link == inv.Link && view.Verified(key) && !slices.Contains(users, key) {
			users = append(users, key)
		}
	}
	return users
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
