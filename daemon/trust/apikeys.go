package trust

import (
	"cmp"
	"fmt"
	"maps"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// LearnAPIKeys takes apikey statements of members: the newest of each key.
func (t *State) LearnAPIKeys(statements []*protocol.Statement) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	fresh, now := make(map[crypto.PublicKey]*protocol.Statement), t.now()
	t.mu.Lock()
	for _, s := range statements {
		body, ok := s.Body.(*protocol.APIKey)
		if !ok || body.Mesh != t.mesh {
			continue
		}
		if have := cmp.Or(fresh[body.Key], t.apiKeys[body.Key]); have == nil || s.SupersedesAt(have, now) {
			fresh[body.Key] = s
		}
	}
	t.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	err := t.db.Commit(func(tx *store.Tx) error {
		for key, s := range fresh {
			if err := tx.Put(table.Known, table.Key(t.mesh, []byte{'k'}, key[:]), s.Raw()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep API keys: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.Copy(t.apiKeys, fresh)
	return nil
}

// LiveAPIKeys lists the API keys that can be written to: in their time, not revoked, of verified members, and able to read.
func (t *State) LiveAPIKeys() (all []*protocol.APIKey) {
	view, now := t.View(), t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.apiKeys {
		if body := s.Body.(*protocol.APIKey); body.Can(protocol.KeyCapRead) && view.CheckSession(s, false, now) == nil {
			all = append(all, body)
		}
	}
	return all
}

// APIKeyMember returns whose API key it is, or other when nothing is known of it.
func (t *State) APIKeyMember(key, other crypto.PublicKey) crypto.PublicKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.apiKeys[key]; s != nil {
		return s.Body.(*protocol.APIKey).Member
	}
	return other
}

// SweepAPIKeys forgets API keys that can never be good again.
func (t *State) SweepAPIKeys() error {
	t.saving.Lock()
	defer t.saving.Unlock()
	view, now := t.View(), t.now()
	var over []crypto.PublicKey
	t.mu.Lock()
	for key, s := range t.apiKeys {
		switch protocol.CodeOf(view.CheckSession(s, false, now)) {
		case protocol.CodeRevoked, protocol.CodeExpired:
			over = append(over, key)
		}
	}
	t.mu.Unlock()
	if len(over) == 0 {
		return nil
	}
	err := t.db.Commit(func(tx *store.Tx) error {
		for _, key := range over {
			if err := tx.Delete(table.Known, table.Key(t.mesh, []byte{'k'}, key[:])); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget API keys: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range over {
		delete(t.apiKeys, key)
	}
	return nil
}
