// Package keyring holds the keys that this machine speaks for: the member's in each mesh, and one
// for each session of an agent. A Ring guards itself.
package keyring

import (
	"fmt"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

// Session is one session of this machine. It is never changed once a Ring has it: whoever changes
// something adds a changed copy. With the member's own key it stands for the member without a session.
type Session struct {
	ID       string // Claude session id
	Label    string
	Key      *crypto.PrivateKey
	PID      int
	Cwd      string
	Host     string
	Model    string
	Channel  string
	PeerType string
	Groups   []string // without @, ascending
	Status   string
	Summary  string
	Title    string
}

// Public is the key that the session is addressed by.
func (s *Session) Public() crypto.PublicKey { return s.Key.Public() }

// SessionKey returns the key of a Claude session id: made at first use, the same for ever and on all meshes.
func SessionKey(db *store.DB, id string) (*crypto.PrivateKey, error) {
	var seed [crypto.SeedSize]byte
	err := db.Commit(func(tx *store.Tx) error {
		if have := tx.Get(table.Sessions, []byte(id)); have != nil {
			seed = [crypto.SeedSize]byte(have)
			return nil
		}
		seed = [crypto.SeedSize]byte(crypto.RandomBytes(crypto.SeedSize))
		return tx.Put(table.Sessions, []byte(id), append([]byte(nil), seed[:]...))
	})
	if err != nil {
		return nil, fmt.Errorf("keep the session's key: %w", err)
	}
	return crypto.KeyFromSeed(seed), nil
}
