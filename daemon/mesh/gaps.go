package mesh

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Gaps lists by member the numbers of whose absence the user was told, and which did not come after all.
func (m *Mesh) Gaps() ([]protocol.GapInfo, error) {
	found := make(map[crypto.PublicKey]*protocol.GapInfo)
	err := m.env.DB.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Numbers, table.Key(m.meshID, []byte{'i'}), nil) {
			var a arrivals
			if m.env.Mail.Damage.Skip(table.Numbers, k, json.Unmarshal(v, &a)) {
				continue
			}
			for _, h := range a.Holes {
				if !h.Told {
					continue
				}
				g := found[a.Member]
				if g == nil {
					g = &protocol.GapInfo{Mesh: m.Slug(), Name: m.CallName(a.Member), Pubkey: a.Member.String(), Since: protocol.TimeOf(h.Since)}
					found[a.Member] = g
				}
				g.Missing += h.Last - h.First + 1
				if since := protocol.TimeOf(h.Since); since.Before(g.Since) {
					g.Since = since
				}
			}
		}
		return nil
	})
	var all []protocol.GapInfo
	for _, g := range found {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b protocol.GapInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return all, err
}
