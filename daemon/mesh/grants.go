package mesh

import (
	"cmp"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// ChangeGrant changes what a peer may and returns what he may then.
func (m *Mesh) ChangeGrant(req protocol.GrantRequest) (protocol.GrantInfo, error) {
	for _, word := range slices.Concat(req.Grant, req.Revoke) {
		if !slices.Contains(protocol.Grants(), word) {
			e := protocol.Refuse(protocol.CodeInvalid, "there is no grant %q", word)
			e.Names = protocol.Grants()
			return protocol.GrantInfo{}, e
		}
	}
	t, err := m.Resolve(req.Peer)
	if err != nil {
		return protocol.GrantInfo{}, err
	}
	if t.Many() || t.Member == m.self {
		return protocol.GrantInfo{}, protocol.Refuse(protocol.CodeInvalid, "grants are about one other peer, not %s", t.name)
	}
	may := slices.DeleteFunc(append(m.grants.Of(t.key), req.Grant...), func(s string) bool { return slices.Contains(req.Revoke, s) })
	if err := m.grants.Set(t.key, may); err != nil {
		return protocol.GrantInfo{}, err
	}
	if c, err := m.control.open(); err == nil { // else the next connection begins with it
		if err := m.tellGrants(c); err != nil {
			m.log.Warn("grant not sent to the broker", "err", err)
		}
	}
	return m.grantInfo(t.key), nil
}

func (m *Mesh) grantInfo(key crypto.PublicKey) protocol.GrantInfo {
	info := protocol.GrantInfo{Mesh: m.Slug(), Name: m.CallName(key), Pubkey: key.String(), May: m.grants.Of(key)}
	for _, t := range m.addressable() {
		if t.key == key {
			info.Name = t.name
		}
	}
	return info
}

func (m *Mesh) GrantList() []protocol.GrantInfo {
	all := []protocol.GrantInfo{}
	for key := range m.grants.All() {
		all = append(all, m.grantInfo(key))
	}
	slices.SortFunc(all, func(a, b protocol.GrantInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return all
}

// tellGrants lets the broker refuse what we would: that saves the way of it, and decides nothing. It returns when the broker goes by
// it. A broker that has no room for all keeps what it had.
func (m *Mesh) tellGrants(c *conn) error {
	if !c.grants {
		return nil
	}
	m.tellingGrants.Lock()
	defer m.tellingGrants.Unlock()
	frame := protocol.SetGrants{Tag: protocol.Tag{Type: protocol.TypeSetGrants}, Grants: make(map[string][]string)}
	for key, may := range m.grants.All() {
		frame.Grants[key.String()] = may
	}
	err := c.call(&frame, &frame.Tag, protocol.TypeOK, new(protocol.OK))
	if e, refused := err.(*protocol.Error); refused && e.Code != protocol.CodeTimeout {
		m.log.Warn("grants refused by the broker", "err", err)
		return nil
	}
	return err
}
