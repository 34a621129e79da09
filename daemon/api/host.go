package api

import (
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleAcceptHost(w http.ResponseWriter, _ *http.Request) error {
	if err := table.AcceptHost(d.DB); err != nil {
		return table.Refusal("accept this machine", err)
	}
	d.Log.Info("host accepted")
	d.RestartMeshes(d.Meshes()...)
	return reply(w, protocol.OKReply{OK: true})
}
