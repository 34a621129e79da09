package broker

import (
	"cmp"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// visibleKeysLocked lists the keys that the member may list and revoke: an admin those of the mesh, others their own; the newest
// first.
func (m *mesh) visibleKeysLocked(p *member) []*apiKey {
	people := []*member{p}
	if m.adminLocked(p.key) {
		people = people[:0]
		for _, other := range m.members {
			people = append(people, other)
		}
	}
	var all []*apiKey
	for _, p := range people {
		for _, k := range p.keys {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b *apiKey) int {
		return cmp.Or(cmp.Compare(b.created, a.created), cmp.Compare(a.id(), b.id()))
	})
	return all
}

// keyItems lists the keys that p may see, as many as an answer holds; the oldest give way.
func (m *mesh) keyItems(p *member) []protocol.APIKeyItem {
	m.mu.Lock()
	defer m.mu.Unlock()
	items := []protocol.APIKeyItem{}
	for _, k := range m.visibleKeysLocked(p) {
		if (len(items)+1)*keyItemSize > m.srv.limits.ListBytes {
			break
		}
		items = append(items, k.itemLocked())
	}
	return items
}

const keyItemSize = 600 // bytes of an item as JSON, about

// revokeNamed revokes the one key of those that p may see which id names. With none or several of them nothing changes.
func (m *mesh) revokeNamed(p *member, id string) (found []*apiKey, already bool, err error) {
	m.publishing.Lock()
	defer m.publishing.Unlock()
	m.mu.Lock()
	found = matchKeys(m.visibleKeysLocked(p), id)
	m.mu.Unlock()
	if len(found) != 1 {
		return found, false, nil
	}
	if already, err = found[0].revoke(""); err != nil || already {
		return found, already, err
	}
	m.srv.log.Info("API key revoked", "mesh", m.id, "id", found[0].id(), "by", p.key.Short())
	m.note(auditKeyRevoked, p.key, auditDetail{Key: found[0].id(), Label: found[0].body.Label})
	return found, false, nil
}

// matchKeys returns the key of that id, or all whose ids begin so. No character means another.
func matchKeys(keys []*apiKey, id string) []*apiKey {
	var found []*apiKey
	for _, k := range keys {
		if k.id() == id {
			return []*apiKey{k}
		}
		if len(id) >= protocol.MinKeyPrefix && strings.HasPrefix(k.id(), id) {
			found = append(found, k)
		}
	}
	return found
}
