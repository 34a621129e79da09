package api

import (
	"net/http"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// health is what the daemon is at this moment. OK means that it can do its work: a mesh whose broker is away is no fault
// of the daemon's, a config.json that it cannot read is one, and so is a mesh that could not be started.
func (d *API) health() protocol.Health {
	h := protocol.Health{
		OK: true, PID: os.Getpid(), Version: d.version, Build: d.build,
		Uptime: time.Since(d.start).Seconds(), Meshes: make(map[string]protocol.MeshHealth),
	}
	h.Streams = d.streams.open()
	d.Report(&h)
	h.LocalBroker = d.localBroker()
	return h
}

func (d *API) handleHealth(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, d.health())
}

// originalState is the state and the role of a mesh that an original client joined: listed, and left alone.
const originalState = "original"

func (d *API) handleMeshes(w http.ResponseWriter, _ *http.Request) error {
	fallback, foreign := d.Defaults()
	all := []protocol.MeshInfo{}
	meshes := d.Meshes()
	for _, m := range meshes {
		info := m.Info()
		info.Default = info.Mesh == fallback || len(meshes) == 1
		all = append(all, info)
	}
	for _, o := range foreign {
		all = append(all, protocol.MeshInfo{
			Mesh: o.Slug, MeshID: o.MeshID, Broker: o.BrokerURL, Name: o.Name, Role: originalState, State: originalState,
			Trust: protocol.TrustUnverified,
		})
	}
	return reply(w, all)
}
