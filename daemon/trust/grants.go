package trust

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Grants is what this user lets single peers do. Who is not in it may do everything; what is not allowed is refused here, before
// it is stored, whatever the broker passes on.
type Grants struct {
	db   *store.DB
	mesh protocol.MeshID

	mu  sync.Mutex
	may map[crypto.PublicKey][]string // of a member, or of one of his sessions or API keys
}

func LoadGrants(db *store.DB, mesh protocol.MeshID) (*Grants, error) {
	g := &Grants{db: db, mesh: mesh, may: make(map[crypto.PublicKey][]string)}
	err := db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Pins, table.Key(mesh, []byte{'g'}), nil) {
			var may []string
			if err := json.Unmarshal(v, &may); err != nil {
				return fmt.Errorf("stored grant: %w", err)
			}
			g.may[crypto.PublicKey(k[len(mesh)+1:])] = may
		}
		return nil
	})
	return g, err
}

// Allows reports whether a message of this kind from that key, or else from its member, is taken.
func (g *Grants) Allows(from, member crypto.PublicKey, group bool) bool {
	grant := protocol.GrantDirect
	if group {
		grant = protocol.GrantGroup
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, key := range []crypto.PublicKey{from, member} {
		if may, ok := g.may[key]; ok {
			return slices.Contains(may, grant)
		}
	}
	return true
}

// Of returns what a key may.
func (g *Grants) Of(key crypto.PublicKey) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if may, ok := g.may[key]; ok {
		return slices.Clone(may)
	}
	return protocol.Grants()
}

// Set keeps what a key may. All of it is the same as never having said anything.
func (g *Grants) Set(key crypto.PublicKey, may []string) error {
	slices.Sort(may)
	may = slices.Compact(may)
	all := slices.Equal(may, protocol.Grants())
	err := g.db.Commit(func(tx *store.Tx) error {
		row := table.Key(g.mesh, []byte{'g'}, key[:])
		if all {
			return tx.Delete(table.Pins, row)
		}
		return table.PutJSON(tx, table.Pins, row, may)
	})
	if err != nil {
		return table.Refusal("keep the grant", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if all {
		delete(g.may, key)
	} else {
		g.may[key] = may
	}
	return nil
}

// All returns the keys about which something was said.
func (g *Grants) All() map[crypto.PublicKey][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make(map[crypto.PublicKey][]string, len(g.may))
	for key, may := range g.may {
		all[key] = slices.Clone(may)
	}
	return all
}
