package table

import (
	"os"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/store"
)

// AcceptHost makes this home the place of its keys: it counts in a new epoch, calls itself by a new name, and from now on
// takes the place of whoever is connected with the same keys. A copy of this home on another machine does not inherit that.
func AcceptHost(db *store.DB) error {
	return db.Commit(func(tx *store.Tx) error {
		for _, k := range []string{stateEpoch, stateInstance} {
			if err := tx.Put(State, []byte(k), crypto.RandomBytes(8)); err != nil {
				return err
			}
		}
		inst := Instance(tx)
		return tx.Put(State, []byte(stateHost), inst[:])
	})
}

// IsHost reports whether the user said that the keys are at home here, and nobody copied the home since.
func IsHost(tx *store.Tx) bool {
	inst := Instance(tx)
	return string(tx.Peek(State, []byte(stateHost))) == string(inst[:])
}

// Epoch returns the epoch in which this file numbers messages: a restored or cloned file starts another.
func Epoch(tx *store.Tx) [8]byte { return [8]byte(tx.Get(State, []byte(stateEpoch))) }

// Instance names this home on this machine: the same over restarts and network changes, another one for a copy elsewhere.
func Instance(tx *store.Tx) [8]byte {
	machine, _ := os.ReadFile("/etc/machine-id") // absent outside Linux: the rest remains
	where := tx.Get(State, []byte(stateWhere))
	sum := crypto.Hash(tx.Get(State, []byte(stateInstance)), []byte(strings.TrimSpace(string(machine))), where)
	return [8]byte(sum[:8])
}
