package mesh

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Kinds of keys in DeviceInfo.
const (
	deviceMember  = "member"
	deviceSession = "session"
)

// Devices lists the keys that speak for this member: its own, and those of the sessions that it certified, wherever they
// are.
func (m *Mesh) Devices() []protocol.DeviceInfo {
	view := m.trust.View()
	_, gone := view.Revoked(m.self)
	all := []protocol.DeviceInfo{{
		Mesh: m.Slug(), Label: m.label(), Pubkey: m.self.String(), Kind: deviceMember, Here: true, Live: m.who.live(m.self), Revoked: gone,
	}}
	for _, s := range m.trust.Sessions() {
		if s.Member != m.self || s.Session == m.self {
			continue
		}
		_, revoked := view.RevokedOf(m.self, s.Session)
		all = append(all, protocol.DeviceInfo{
			Mesh: m.Slug(), Label: s.Label, Pubkey: s.Session.String(), Kind: deviceSession, Here: m.ring.Private(s.Session) != nil,
			Live: m.who.live(s.Session), ExpiresAt: protocol.TimeOf(s.Expires), Revoked: revoked,
		})
	}
	slices.SortFunc(all[1:], func(a, b protocol.DeviceInfo) int {
		return cmp.Or(cmp.Compare(a.Label, b.Label), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return all
}

// device finds one of our session keys by its label, or by 6 or more digits of the key.
func (m *Mesh) device(ref string) (crypto.PublicKey, error) {
	var found []protocol.DeviceInfo
	for _, d := range m.Devices() {
		if !d.Revoked && (d.Label == ref || len(ref) >= minKeyPrefix && strings.HasPrefix(d.Pubkey, ref)) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 0:
		return crypto.PublicKey{}, protocol.Refuse(protocol.CodeNotFound, "no key %q of yours in %s", ref, m.Slug()).
			WithHint("claudemesh device list; another member's key, also another device of yours, is removed with claudemesh peer ban")
	case len(found) > 1:
		e := protocol.Refuse(protocol.CodeAmbiguous, "%q is the name of %d keys", ref, len(found)).WithHint("name the beginning of the key")
		for _, d := range found {
			e.Names = append(e.Names, d.Label+" "+d.Pubkey)
		}
		return crypto.PublicKey{}, e
	case found[0].Kind == deviceMember:
		return crypto.PublicKey{}, protocol.Refuse(protocol.CodeForbidden, "that is your member key itself").
			WithHint("claudemesh leave %s revokes it and forgets the mesh", m.Slug())
	}
	return crypto.ParsePublicKey(found[0].Pubkey)
}

// RevokeDevice takes a session key back for ever. The session, if it still runs here, gets another key when it registers
// again.
func (m *Mesh) RevokeDevice(ctx context.Context, ref, reason string) error {
	key, err := m.device(ref)
	if err != nil {
		return err
	}
	s, _ := m.ring.Session(key)
	if err := m.revoke(ctx, key, reason); err != nil {
		return err
	}
	if s == nil {
		return nil
	}
	if err := m.RemoveSession(s.ID); err != nil {
		return err
	}
	err = m.env.DB.Commit(func(tx *store.Tx) error { return tx.Delete(table.Sessions, []byte(s.ID)) })
	if err != nil {
		return table.Refusal("forget the session's key", err)
	}
	return nil
}
