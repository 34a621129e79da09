package daemon

import (
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
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

func (d *Daemon) handleAcceptHost(w http.ResponseWriter, _ *http.Request) error {
	if err := acceptHost(d.env.db); err != nil {
		return storeRefusal("accept this machine", err)
	}
	d.log.Info("this home is the place of its keys now")
	d.restartMeshes(d.meshes()...)
	return reply(w, protocol.OKReply{OK: true})
}

// restartMeshes has meshes load their state anew and connect at once.
func (d *Daemon) restartMeshes(meshes ...*mesh) {
	for _, m := range meshes {
		d.reloads.Lock()
		d.mu.Lock()
		j := d.joined[m.id()]
		if j != nil && j.mesh == m {
			delete(d.joined, m.id())
		}
		d.mu.Unlock()
		if j != nil && j.mesh == m {
			j.close()
		}
		d.reloads.Unlock()
	}
	d.reload()
}

// shutOut reports whether the broker does not let this key in any more.
func (u *uplink) shutOut() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn == nil && u.lastError != nil && (u.lastError.Code == protocol.CodeRevoked || u.lastError.Code == protocol.CodeNotMember)
}
