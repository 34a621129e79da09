package daemon

import (
	"fmt"
	"io/fs"
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *Daemon) handleAcceptHost(w http.ResponseWriter, _ *http.Request) error {
	if err := table.AcceptHost(d.db); err != nil {
		return table.Refusal("accept this machine", err)
	}
	d.log.Info("this home is the place of its keys now")
	d.restartMeshes(d.meshes()...)
	return reply(w, protocol.OKReply{OK: true})
}

// restartMeshes has meshes load their state anew and connect at once.
func (d *Daemon) restartMeshes(meshes ...*mesh.Mesh) {
	for _, m := range meshes {
		d.reloads.Lock()
		d.mu.Lock()
		j := d.joined[m.ID()]
		if j != nil && j.mesh == m {
			delete(d.joined, m.ID())
		}
		d.mu.Unlock()
		if j != nil && j.mesh == m {
			j.close()
		}
		d.reloads.Unlock()
	}
	d.reload()
}

// ownerKey finds the present owner key of a mesh in the home. The error wraps fs.ErrNotExist when it is not here.
func (d *Daemon) ownerKey(mesh protocol.MeshID, owner crypto.PublicKey) (*config.OwnerKey, error) {
	keys, err := d.home.OwnerKeys(mesh)
	for _, k := range keys {
		if k.Public == owner {
			return k, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look for the owner key: %w", err)
	}
	return nil, fs.ErrNotExist
}
