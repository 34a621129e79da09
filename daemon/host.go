package daemon

import (
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *api) handleAcceptHost(w http.ResponseWriter, _ *http.Request) error {
	if err := table.AcceptHost(d.db); err != nil {
		return table.Refusal("accept this machine", err)
	}
	d.log.Info("this home is the place of its keys now")
	d.restartMeshes(d.meshes()...)
	return reply(w, protocol.OKReply{OK: true})
}
