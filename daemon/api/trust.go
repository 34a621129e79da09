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
func (d *API) handleVerify(_ *http.Request, req protocol.VerifyRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(req.Pubkey)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "pubkey: %v", err)
	}
	if req.Agreed && !m.Trust().View().Verified(key) {
		return nil, protocol.Refuse(protocol.CodeNotMember, "%s is no verified member of %s", key.Short(), m.Slug())
	}
	if err := m.Trust().MarkInPerson(key, req.Agreed); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}

func (d *API) handleRevokeDevice(r *http.Request, req protocol.RevokeDeviceRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	if err := m.RevokeDevice(r.Context(), req.Key, req.Reason); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}

// handleBackup seals the home under a key that the caller derived.
func (d *API) handleBackup(_ *http.Request, req protocol.BackupRequest) (any, error) {
	if len(req.Head) != config.HeadSize || len(req.Key) != crypto.KeySize {
		return nil, protocol.Refuse(protocol.CodeInvalid, "a backup needs the head of a sealed file and its key")
	}
	sealed, err := backup.MakeFrom(d.Home, d.DB, d.Now(), &config.Sealing{Head: req.Head, Key: crypto.Key(req.Key)})
	if err != nil {
		return nil, err
	}
	return protocol.BackupReply{Sealed: sealed}, nil
}
