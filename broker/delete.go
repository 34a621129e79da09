package broker

import (
	"maps"
	"slices"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// opDelete removes the mesh from this broker: statements, members, keys, audit log, and what waits for anybody. What its members
// have on their own disks stays theirs.
func opDelete(c *conn, by crypto.PublicKey, _ []byte) (any, error) {
	m := c.mesh
	m.publishing.Lock() // nothing is published into a mesh that goes
	defer m.publishing.Unlock()
	m.gone.Store(true)
	m.audit.mu.Lock() // an entry on its way is in now, and goes with the others
	m.audit.mu.Unlock()
	err := m.srv.db.Commit(func(tx *store.Tx) error {
		for _, bucket := range []string{bucketStatements, bucketEnrols, bucketSessions, bucketSeen, bucketKeys, bucketAudit, bucketGrants} {
			var rows [][]byte
			for k := range tx.Scan(bucket, []byte(m.id), nil) {
				rows = append(rows, append([]byte(nil), k...))
			}
			for _, k := range rows {
				if err := tx.Delete(bucket, k); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		m.gone.Store(false)
		return nil, m.srv.storeError("delete mesh", err)
	}
	m.srv.mu.Lock()
	delete(m.srv.meshes, m.id)
	for hash, k := range m.srv.bearers {
		if k.mesh == m {
			delete(m.srv.bearers, hash)
		}
	}
	m.srv.mu.Unlock()
	m.srv.log.Info("mesh deleted", "mesh", m.id, "by", by.Short())
	m.dropQueues()
	if err := m.srv.blobs.DropMesh(m.id); err != nil {
		m.srv.log.Warn("remove files", "mesh", m.id, "err", err) // the sweep does it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.conns {
		if other != c {
			other.expelDeleted()
		}
	}
	return map[string]bool{"deleted": true}, nil
}

func (c *conn) expelDeleted() {
	c.expel(protocol.CodeNotFound, "the mesh was deleted by its owner",
		ending{code: websocket.ClosePolicyViolation, text: string(protocol.CodeNotFound), reason: endDeleted})
}

// dropQueues forgets what waits for anybody; there is nobody to be told.
func (m *mesh) dropQueues() {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.addresses))
	m.mu.Unlock()
	m.dropAll(all, dropDeleted, func(*address, queue.Row) {})
}
