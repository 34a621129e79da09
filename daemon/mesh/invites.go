package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// inviteRow is a link that this member, or the owner on this machine, made. Its seed is not kept: the link is the only copy.
type inviteRow struct {
	Statement string             `json:"statement"`
	Made      int64              `json:"made"`              // Unix s
	Members   []crypto.PublicKey `json:"members,omitempty"` // who used it
	Bans      int                `json:"bans"`              // removals in the log when it was made

	invite *protocol.Invite
	id     protocol.ID
}

// States of a link.
const (
	linkOpen    = "open"
	linkClosed  = "closed"
	linkExpired = "expired"
	linkUsedUp  = "used_up"
)

func (r *inviteRow) state(m *Mesh) string {
	switch {
	case uint64(len(r.Members)) >= r.invite.Uses: // it is closed, too, once somebody tried it again
		return linkUsedUp
	case m.trust.View().LinkClosed(r.invite):
		return linkClosed
	case m.env.now().Unix() >= r.invite.Expires:
		return linkExpired
	}
	return linkOpen
}

// Invite makes a link, or keeps account of one that the command line signed with the owner key.
func (m *Mesh) Invite(_ context.Context, req protocol.InviteRequest) (protocol.InviteInfo, error) {
	var s *protocol.Statement
	var link string
	var err error
	if req.Signed != "" {
		s, err = m.checkSigned(req.Signed)
	} else {
		s, link, err = m.signInvite(req)
	}
	if err != nil {
		return protocol.InviteInfo{}, err
	}
	row := inviteRow{Statement: s.Text(), Made: m.env.now().Unix(), Bans: m.bans(), invite: s.Body.(*protocol.Invite), id: s.ID}
	err = m.env.DB.Commit(func(tx *store.Tx) error {
		return table.PutJSON(tx, table.Invites, table.Key(m.meshID, s.ID[:]), &row)
	})
	if err != nil {
		return protocol.InviteInfo{}, table.Refusal("keep the link", err)
	}
	info := m.inviteInfo(&row)
	info.Link = link
	return info, nil
}

func (m *Mesh) checkSigned(text string) (*protocol.Statement, error) {
	s, err := protocol.ParseTextIn(m.meshID, text)
	if err != nil {
		return nil, err
	}
	return s, m.trust.View().CheckInvite(s, m.env.now())
}

func (m *Mesh) signInvite(req protocol.InviteRequest) (*protocol.Statement, string, error) {
	view, now := m.trust.View(), m.env.now()
	if req.Role == "" {
		req.Role = protocol.RoleMember
	}
	if req.Uses == 0 {
		req.Uses = 1
	}
	if req.Expires == 0 {
		req.Expires = now.Add(protocol.LinkLifetime).Unix()
	}
	switch {
	case req.Role != protocol.RoleMember:
		return nil, "", protocol.Refuse(protocol.CodeForbidden, "a link for role %q is signed with the owner key", req.Role)
	case !view.MayIssue(m.self, req.Role):
		return nil, "", protocol.Refuse(protocol.CodeForbidden, "only admins of %s make links", m.Slug()).WithHint("ask an admin: claudemesh members shows who")
	case req.Expires <= now.Unix():
		return nil, "", protocol.Refuse(protocol.CodeInvalid, "the link would have expired already")
	case req.Expires > now.Add(protocol.LinkMaxLifetime).Unix():
		return nil, "", protocol.Refuse(protocol.CodeInvalid, "a link lives at most 30 days")
	case req.Uses < 1 || req.Uses > 1000:
		return nil, "", protocol.Refuse(protocol.CodeInvalid, "a link has 1 to 1000 uses")
	}
	seed := [crypto.SeedSize]byte(crypto.RandomBytes(crypto.SeedSize))
	s, err := protocol.Sign(&protocol.Invite{
		Mesh: m.meshID, Issuer: m.self, Link: crypto.KeyFromSeed(seed).Public(), Role: req.Role, Uses: uint64(req.Uses),
		Expires: req.Expires, URL: m.cfg.BrokerURL, Owner: view.Owner(),
	}, m.key)
	if err != nil {
		return nil, "", fmt.Errorf("sign a link: %w", err)
	}
	return s, protocol.MakeLink(s, seed), nil
}

// inviteRows reads all links of this mesh.
func (m *Mesh) inviteRows() (rows []inviteRow, err error) {
	err = m.env.DB.View(func(tx *store.Tx) error {
		for _, v := range tx.Scan(table.Invites, []byte(m.meshID), nil) {
			var row inviteRow
			if err := json.Unmarshal(v, &row); err != nil {
				return fmt.Errorf("decode a row of %s: %w", table.Invites, err)
			}
			s, err := protocol.ParseText(row.Statement)
			if err != nil {
				return fmt.Errorf("stored link: %w", err)
			}
			row.invite, row.id = s.Body.(*protocol.Invite), s.ID
			rows = append(rows, row)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the links: %w", err)
	}
	for i := range rows {
		rows[i].Members = m.users(rows[i].invite, rows[i].Members)
	}
	slices.SortFunc(rows, func(a, b inviteRow) int { return int(a.Made - b.Made) })
	return rows, nil
}

func (m *Mesh) inviteInfo(row *inviteRow) protocol.InviteInfo {
	info := protocol.InviteInfo{
		ID: row.id.String(), Mesh: m.Slug(), Role: row.invite.Role, Uses: int(row.invite.Uses), Used: len(row.Members),
		Expires: protocol.TimeOfSeconds(row.invite.Expires), State: row.state(m),
	}
	for _, key := range row.Members {
		info.Admits = append(info.Admits, m.CallName(key))
	}
	return info
}

// Invites lists the links of this member, oldest first.
func (m *Mesh) Invites() ([]protocol.InviteInfo, error) {
	rows, err := m.inviteRows()
	if err != nil {
		return nil, err
	}
	all := make([]protocol.InviteInfo, 0, len(rows))
	for i := range rows {
		all = append(all, m.inviteInfo(&rows[i]))
	}
	return all, nil
}

// CloseInvite closes a link by its id or a unique prefix of 6 or more.
func (m *Mesh) CloseInvite(_ context.Context, id string) error {
	rows, err := m.inviteRows()
	if err != nil {
		return err
	}
	var found []inviteRow
	for _, row := range rows {
		if len(id) >= inbox.MinIDPrefix && strings.HasPrefix(row.id.String(), id) {
			found = append(found, row)
		}
	}
	switch len(found) {
	case 0:
		return protocol.Refuse(protocol.CodeNotFound, "no link %q in %s", id, m.Slug()).WithHint("claudemesh invite list shows them")
	case 1:
		return m.closeLink(found[0].invite, "closed by its issuer")
	}
	return protocol.Refuse(protocol.CodeAmbiguous, "%q matches %d links", id, len(found))
}

// closeLink signs that a link counts no more. The statement reaches the broker with the next chores, and survives until it
// does.
func (m *Mesh) closeLink(inv *protocol.Invite, reason string) error {
	s, err := protocol.Sign(&protocol.Revoke{
		Mesh: m.meshID, Issuer: m.self, Kind: protocol.RevokeLink, Target: inv.Link, At: m.env.now().Unix(), Reason: reason,
	}, m.key)
	if err != nil {
		return fmt.Errorf("close a link: %w", err)
	}
	return m.learnOwn(s)
}
