package mesh

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// claims are those who came by one link of ours and are not admitted, in the order of their arrival.
type claims struct {
	invite  *protocol.Statement
	counted []trust.Enrolment // a use is theirs already: only the certificate is missing
	waiting []trust.Enrolment
	left    uint64 // uses
}

// contested reports whether more claim a use than there are: then the issuer decides. Dates are the claimants' own, and
// the order is the broker's word.
func (c *claims) contested() bool { return uint64(len(c.waiting)) > c.left }

// admitAll certifies those who came by a link of ours as long as it has uses for all of them. A link for admins is never
// used up here: its issuer is the owner.
func (m *Mesh) admitAll() error {
	if !m.trust.View().MayIssue(m.self, protocol.RoleMember) {
		return nil
	}
	all, err := m.claims()
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := m.admitClaims(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mesh) admitClaims(c *claims) error {
	admit := c.counted
	switch {
	case !c.contested():
		admit = append(admit, c.waiting...)
	case c.left == 0:
		m.notice(fmt.Sprintf("a link of yours was used again after it was used up (%s); the link is closed now", c.claimants(m.meshID)))
		if err := m.closeLink(c.invite.Body.(*protocol.Invite), protocol.ReasonUsedUp); err != nil {
			return err
		}
	default:
		m.askWho(c)
	}
	for _, e := range admit {
		if err := m.admit(e); err != nil {
			return err
		}
	}
	return nil
}

// claims lists who waits, by link.
func (m *Mesh) claims() ([]*claims, error) {
	view, now := m.trust.View(), m.env.now()
	byLink := make(map[protocol.ID]*claims)
	var all []*claims
	for key, e := range m.trust.Enrolments() {
		inv := e.Invite.Body.(*protocol.Invite)
		if inv.Issuer != m.self || inv.Role != protocol.RoleMember || view.Verified(key) || view.Invited(e.Invite, e.Enrol, now) != nil {
			continue
		}
		c := byLink[e.Invite.ID]
		if c == nil {
			c = &claims{invite: e.Invite}
			byLink[e.Invite.ID] = c
			all = append(all, c)
		}
		c.waiting = append(c.waiting, e)
	}
	err := m.env.DB.View(func(tx *store.Tx) error {
		for _, c := range all {
			if err := m.countUses(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("count the uses of links: %w", err)
	}
	return all, nil
}

// countUses sorts the claims of a link by whether a use is theirs already.
func (m *Mesh) countUses(tx *store.Tx, c *claims) error {
	var row inviteRow
	if _, err := table.GetJSON(tx, table.Invites, table.Key(m.meshID, c.invite.ID[:]), &row); err != nil {
		return err
	}
	inv := c.invite.Body.(*protocol.Invite)
	row.Members = m.users(inv, row.Members)
	c.left = inv.Uses - min(inv.Uses, uint64(len(row.Members)))
	all := c.waiting
	c.waiting = nil
	slices.SortFunc(all, func(a, b trust.Enrolment) int {
		x, y := a.Enrol.Body.(*protocol.Enrol), b.Enrol.Body.(*protocol.Enrol)
		return cmp.Or(cmp.Compare(a.Arrived, b.Arrived), bytes.Compare(x.Member[:], y.Member[:]))
	})
	for _, e := range all {
		if slices.Contains(row.Members, e.Enrol.Body.(*protocol.Enrol).Member) {
			c.counted = append(c.counted, e)
		} else {
			c.waiting = append(c.waiting, e)
		}
	}
	return nil
}

// askWho tells the issuer who claims what his link has not enough of, once for each set of claims.
func (m *Mesh) askWho(c *claims) {
	who := c.claimants(m.meshID)
	m.mu.Lock()
	again := m.asking[c.invite.ID] == who
	m.asking[c.invite.ID] = who
	m.mu.Unlock()
	if again {
		return
	}
	m.notice(fmt.Sprintf("%d claim a link of yours that has %d left: %s. Nobody is admitted by it before you compare the fingerprint with the right one: claudemesh members admit <beginning of the key>",
		len(c.waiting), c.left, who))
}

// mostNamed is how many claimants a notice names: whoever has the link can make as many as he likes.
const mostNamed = 5

// claimants names those who wait by key and fingerprint. What they call themselves is only their word, and is not in it.
func (c *claims) claimants(mesh protocol.MeshID) string {
	var all []string
	for _, e := range c.waiting {
		key := e.Enrol.Body.(*protocol.Enrol).Member
		if len(all) == mostNamed {
			all = append(all, fmt.Sprintf("and %d more", len(c.waiting)-mostNamed))
			break
		}
		all = append(all, key.Short()+" (fingerprint "+protocol.Fingerprint(mesh, key)+")")
	}
	return strings.Join(all, ", ")
}

// AdmitByHand certifies one who claims a link of ours, as its issuer decided.
func (m *Mesh) AdmitByHand(key crypto.PublicKey) error {
	e, ok := m.trust.Enrolments()[key]
	view := m.trust.View()
	switch {
	case view.Verified(key):
		return protocol.Refuse(protocol.CodeExists, "%s is a member of %s already", m.CallName(key), m.Slug())
	case !ok:
		return protocol.Refuse(protocol.CodeNotFound, "nobody with the key %s waits to be admitted to %s", key.Short(), m.Slug()).WithHint("claudemesh members lists who does")
	}
	inv := e.Invite.Body.(*protocol.Invite)
	if inv.Issuer != m.self || inv.Role != protocol.RoleMember || !view.MayIssue(m.self, inv.Role) {
		return protocol.Refuse(protocol.CodeForbidden, "the link was made by somebody else, who admits by it").
			WithHint("the owner key admits whom it likes: claudemesh members admit where it is")
	}
	if err := view.Invited(e.Invite, e.Enrol, m.env.now()); err != nil {
		return err
	}
	if err := m.admit(e); err != nil {
		return err
	}
	if !m.trust.View().Verified(key) {
		return protocol.Refuse(protocol.CodeUsedUp, "the link has no use left")
	}
	m.chore(func(c *chores) { c.duties = true }) // the others of the link
	return nil
}

// admit counts one use and signs one certificate. Whom the link has no use for gets none.
func (m *Mesh) admit(e trust.Enrolment) error {
	enrol := e.Enrol.Body.(*protocol.Enrol)
	used, err := m.useLink(e.Invite, enrol.Member)
	if err != nil || !used {
		return err
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
	m.notice(fmt.Sprintf("%s joined %s with the key %s", name, m.Slug(), enrol.Member.Short()))
	return nil
}
