package daemon

import (
	"os"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/store"
)

// acceptHost makes this home the place of its keys: it counts in a new epoch, calls itself by a new name, and from now on
// takes the place of whoever is connected with the same keys. A copy of this home on another machine does not inherit that.
func acceptHost(db *store.DB) error {
	return db.Commit(func(tx *store.Tx) error {
		for _, k := range []string{stateEpoch, stateInstance} {
			if err := tx.Put(bucketState, []byte(k), crypto.RandomBytes(8)); err != nil {
				return err
			}
		}
		inst := instanceOf(tx)
		return tx.Put(bucketState, []byte(stateHost), inst[:])
	})
}

// isHost reports whether the user said that the keys are at home here, and nobody copied the home since.
func isHost(tx *store.Tx) bool {
	inst := instanceOf(tx)
	return string(tx.Peek(bucketState, []byte(stateHost))) == string(inst[:])
}

// epochOf returns the epoch in which this file numbers messages: a restored or cloned file starts another.
func epochOf(tx *store.Tx) [8]byte { return [8]byte(tx.Get(bucketState, []byte(stateEpoch))) }

// instanceOf names this home on this machine: the same over restarts and network changes, another one for a copy elsewhere.
func instanceOf(tx *store.Tx) [8]byte {
	machine, _ := os.ReadFile("/etc/machine-id") // absent outside Linux: the rest remains
	where := tx.Get(bucketState, []byte(stateWhere))
	sum := crypto.Hash(tx.Get(bucketState, []byte(stateInstance)), []byte(strings.TrimSpace(string(machine))), where)
	return [8]byte(sum[:8])
}
