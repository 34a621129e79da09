package trust

import (
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// pinNames brings pins in line with the view and returns the names that moved to another key. The first living key
// seen under a name keeps it; of several that appear together none gets it, and the bare name is ambiguous.
func pinNames(pins map[string]crypto.PublicKey, view *protocol.View) (moved []string) {
	living := make(map[string][]crypto.PublicKey)
	for _, m := range view.Members() {
		living[m.Name] = append(living[m.Name], m.Key)
	}
	for name, keys := range living {
		pinned, ok := pins[name]
		if ok {
			if m, alive := view.Member(pinned); alive && m.Name == name {
				continue
			}
		}
		if len(keys) > 1 {
			continue
		}
		if ok && pinned != keys[0] {
			moved = append(moved, name)
		}
		pins[name] = keys[0]
	}
	return moved
}

// Name is what a member is called here: the certified name, with the head of the key where another key has the name
// by right; the name that an invited one gave himself, or that a removed member had, likewise; nothing for strangers.
func (t *State) Name(key crypto.PublicKey) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nameOfLocked(key)
}

func (t *State) nameOfLocked(key crypto.PublicKey) string {
	if m, ok := t.view.Member(key); ok {
		if t.names[m.Name] == key {
			return m.Name
		}
		return m.Name + "~" + key.String()[:4]
	}
	if m, ok := t.view.WasMember(key); ok {
		if takenIn(t.view, m.Name, key) {
			return m.Name + "~" + key.String()[:4]
		}
		return m.Name
	}
	if e, ok := t.invited[key]; ok {
		name := e.Enrol.Body.(*protocol.Enrol).Name
		if takenIn(t.view, name, key) {
			name += "~" + key.String()[:4]
		}
		return name
	}
	return ""
}

// NameTaken reports whether a living member other than key has the name, or it is pinned to one.
func (t *State) NameTaken(name string, key crypto.PublicKey) bool {
	return takenIn(t.View(), name, key)
}

func takenIn(view *protocol.View, name string, key crypto.PublicKey) bool {
	return slices.ContainsFunc(view.Members(), func(m protocol.Member) bool { return m.Name == name && m.Key != key })
}
