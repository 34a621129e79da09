package broker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// heldKey is an API key as it is listed and revoked: one that its member signed, or a bearer of an original member.
type heldKey interface {
	name() (id, label string)
	createdLocked() int64
	itemLocked() protocol.APIKeyItem
	overLocked() (at int64, reason string)
	goodLocked(now time.Time) error

	// revoke marks the key, unless it is over already. The caller holds publishing.
	revoke(reason string) (already bool, err error)
}

// visibleKeysLocked lists the keys that the member may list and revoke: an admin those of the mesh, others their own; the newest
// first.
func (m *mesh) visibleKeysLocked(p *member) []heldKey {
	people := []*member{p}
	if m.adminLocked(p.key) {
		people = people[:0]
		for _, other := range m.members {
			people = append(people, other)
		}
	}
	var all []heldKey
	for _, p := range people {
		for _, k := range p.keys {
			all = append(all, k)
		}
		if p.original != nil {
			for _, k := range p.original.Keys {
				all = append(all, k)
			}
		}
	}
	slices.SortFunc(all, func(a, b heldKey) int {
		aID, _ := a.name()
		bID, _ := b.name()
		return cmp.Or(cmp.Compare(b.createdLocked(), a.createdLocked()), cmp.Compare(aID, bID))
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
func (m *mesh) revokeNamed(p *member, id string) (found []heldKey, already bool, err error) {
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
	whole, label := found[0].name()
	m.srv.log.Info("API key revoked", "mesh", m.id, "id", whole, "by", p.key.Short())
	m.note(auditKeyRevoked, p.key, auditDetail{Key: whole, Label: label})
	return found, false, nil
}

// matchKeys returns the key of that id, or all whose ids begin so. No character means another.
func matchKeys(keys []heldKey, id string) []heldKey {
	var found []heldKey
	for _, k := range keys {
		own, _ := k.name()
		if own == id {
			return []heldKey{k}
		}
		if len(id) >= protocol.MinKeyPrefix && strings.HasPrefix(own, id) {
			found = append(found, k)
		}
	}
	return found
}
