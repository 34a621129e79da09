package api

import (
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/backup"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleStatements(w http.ResponseWriter, r *http.Request) error {
	m, err := d.One(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	view := m.Trust().View()
	out := protocol.StatementsReply{
		Mesh: m.Slug(), MeshID: string(m.ID()), Charter: view.Charter().Text(), Statements: []string{}, Accepted: make(map[uint64]string),
	}
	for _, s := range m.Trust().Statements() {
		out.Statements = append(out.Statements, s.Text())
	}
	for n, id := range view.Accepted().Owner {
		out.Accepted[n] = id.String()
	}
	return reply(w, out)
}

// handleVerify marks that the user and a member compared safety numbers.
func (d *API) handleVerify(w http.ResponseWriter, r *http.Request) error {
	var req protocol.VerifyRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.One(req.Mesh)
	if err != nil {
		return err
	}
	key, err := crypto.ParsePublicKey(req.Pubkey)
	if err != nil {
		return protocol.Refuse(protocol.CodeInvalid, "pubkey: %v", err)
	}
	if req.Agreed && !m.Trust().View().Verified(key) {
		return protocol.Refuse(protocol.CodeNotMember, "%s is no verified member of %s", key.Short(), m.Slug())
	}
	if err := m.Trust().MarkInPerson(key, req.Agreed); err != nil {
		return err
	}
	return reply(w, protocol.OKReply{OK: true})
}

func (d *API) handleDevices(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	all := []protocol.DeviceInfo{}
	for _, m := range meshes {
		all = append(all, m.Devices()...)
	}
	return reply(w, all)
}

func (d *API) handleRevokeDevice(w http.ResponseWriter, r *http.Request) error {
	var req protocol.RevokeDeviceRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	m, err := d.One(req.Mesh)
	if err != nil {
		return err
	}
	if err := m.RevokeDevice(r.Context(), req.Key, req.Reason); err != nil {
		return err
	}
	return reply(w, protocol.OKReply{OK: true})
}

// handleBackup seals the home under a key that the caller derived.
func (d *API) handleBackup(w http.ResponseWriter, r *http.Request) error {
	var req protocol.BackupRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if len(req.Head) != config.HeadSize || len(req.Key) != crypto.KeySize {
		return protocol.Refuse(protocol.CodeInvalid, "a backup needs the head of a sealed file and its key")
	}
	sealed, err := backup.MakeFrom(d.Home, d.DB, d.Now(), &config.Sealing{Head: req.Head, Key: crypto.Key(req.Key)})
	if err != nil {
		return err
	}
	return reply(w, protocol.BackupReply{Sealed: sealed})
}
