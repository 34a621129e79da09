package api

import (
	"encoding/hex"
	"net/http"

	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleAPIKeys(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	all := []protocol.APIKeyInfo{}
	for _, m := range meshes {
		keys, err := m.APIKeys()
		if err != nil {
			return err
		}
		all = append(all, keys...)
	}
	return reply(w, all)
}

func (d *API) handleCreateAPIKey(w http.ResponseWriter, r *http.Request) error {
	var req protocol.APIKeyRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.One(req.Mesh)
	if err != nil {
		return err
	}
	made, err := m.CreateAPIKey(req)
	if err != nil {
		return err
	}
	return reply(w, made)
}

func (d *API) handleRevokeAPIKey(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RevokeAPIKeyRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.One(req.Mesh)
	if err != nil {
		return err
	}
	done, err := m.RevokeAPIKey(r.Context(), req.ID, req.Reason)
	if err != nil {
		return err
	}
	return reply(w, done)
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

func (d *API) handleOp(w http.ResponseWriter, r *http.Request) error {
	var req protocol.OpRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.One(req.Mesh)
	if err != nil {
		return err
	}
	done, err := m.Op(req)
	if err != nil {
		return err
	}
	return reply(w, done)
}
