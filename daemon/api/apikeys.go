package api

import (
	"encoding/hex"
	"net/http"

	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleCreateAPIKey(_ *http.Request, req protocol.APIKeyRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	return m.CreateAPIKey(req)
}

func (d *API) handleRevokeAPIKey(r *http.Request, req protocol.RevokeAPIKeyRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	return m.RevokeAPIKey(r.Context(), req.ID, req.Reason)
}

func (d *API) handleOpNonce(w http.ResponseWriter, r *http.Request) error {
	m, err := d.One(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	nonce, err := m.OpNonce()
	if err != nil {
		return err
	}
	return reply(w, protocol.OpNonce{Mesh: m.Slug(), MeshID: string(m.ID()), Nonce: hex.EncodeToString(nonce[:])})
}

func (d *API) handleOp(_ *http.Request, req protocol.OpRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	return m.Op(req)
}
