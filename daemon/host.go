package daemon

import (
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *Daemon) handleAcceptHost(w http.ResponseWriter, _ *http.Request) error {
	if err := table.AcceptHost(d.env.db); err != nil {
		return table.Refusal("accept this machine", err)
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
