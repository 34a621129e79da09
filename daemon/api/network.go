package api

import (
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/protocol"
)

// handleNetwork walks to the brokers as the daemon's own connections do, with its environment and not that of who asks. It
// may take probe.Budget.
func (d *API) handleNetwork(w http.ResponseWriter, r *http.Request) error {
	urls := d.BrokerURLs(r.URL.Query().Get("mesh"))
	return reply(w, probe.Look(r.Context(), urls, probe.Options{Dialer: d.Env.Broker, Now: d.Now}))
}

func (d *API) handlePing(r *http.Request, req protocol.PingRequest) (any, error) {
	m, err := d.Route(protocol.SendRequest{Mesh: req.Mesh, To: req.To})
	if err != nil {
		return nil, err
	}
	return m.Ping(r.Context(), req)
}
