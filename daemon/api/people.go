package api

import (
	"net/http"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
)

func (d *API) handleWhoAmI(w http.ResponseWriter, r *http.Request) error {
	acting, err := d.Acting(r.FormValue("session"))
	if err != nil {
		return err
	}
	all := []protocol.WhoAmI{}
	for _, m := range d.Meshes() {
		all = append(all, m.Whoami(acting))
	}
	return reply(w, all)
}

// seenBy returns the meshes that a request names, and what the session that it acts for may read of their people.
func (d *API) seenBy(r *http.Request) ([]*mesh.Mesh, *ModelView, error) {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return nil, nil, err
	}
	view, err := newModelView(d.Roster, r.FormValue("session"))
	return meshes, view, err
}

func (d *API) handlePeers(w http.ResponseWriter, r *http.Request) error {
	meshes, view, err := d.seenBy(r)
	if err != nil {
		return err
	}
	all := []protocol.PeerInfo{}
	for _, m := range meshes {
		all = append(all, view.peers(m, m.Peers())...)
	}
	return reply(w, all)
}

func (d *API) handleMembers(w http.ResponseWriter, r *http.Request) error {
	meshes, view, err := d.seenBy(r)
	if err != nil {
		return err
	}
	all := []protocol.MemberInfo{}
	for _, m := range meshes {
		all = append(all, view.members(m, m.Members())...)
	}
	return reply(w, all)
}

// handlePresence changes what others see of a session, or of the member.
func (d *API) handlePresence(r *http.Request, req protocol.PresenceRequest) (any, error) {
	if req.Status == protocol.StatusWaiting {
		return nil, protocol.Refuse(protocol.CodeInvalid, "status %q is not set by hand: it follows the session", req.Status).WithHint("idle, working or dnd")
	}
	acting, err := d.Acting(req.Session)
	if err != nil {
		return nil, err
	}
	meshes, err := d.Some(req.Mesh)
	if err != nil {
		return nil, err
	}
	if len(meshes) == 0 {
		return nil, roster.ErrNoMesh()
	}
	if err := mesh.CheckLeave(meshes, req.Leave, acting); err != nil {
		return nil, err
	}
	for _, m := range meshes {
		if err := m.SetPresence(r.Context(), req, acting); err != nil {
			return nil, err
		}
	}
	if acting != nil {
		d.KeepPresence(acting.ID, req)
	}
	return protocol.OKReply{OK: true}, nil
}

func (d *API) handleInvite(r *http.Request, req protocol.InviteRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	return m.Invite(r.Context(), req)
}

func (d *API) handleCloseInvite(w http.ResponseWriter, r *http.Request) error {
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	err = firstThatKnows(meshes, errNoInvite(r.PathValue("id")), func(m *mesh.Mesh) error { return m.CloseInvite(r.Context(), r.PathValue("id")) })
	if err != nil {
		return err
	}
	return reply(w, protocol.OKReply{OK: true})
}

func errNoInvite(id string) *protocol.Error {
	return protocol.Refuse(protocol.CodeNotFound, "no link %q of yours", id).WithHint("claudemesh invite list")
}

// firstThatKnows runs do on each mesh until one does not answer not_found.
func firstThatKnows(meshes []*mesh.Mesh, none error, do func(*mesh.Mesh) error) error {
	for _, m := range meshes {
		if err := do(m); protocol.CodeOf(err) != protocol.CodeNotFound {
			return err
		}
	}
	return none
}

// handlePublish takes statements that the command line signed with the owner key.
func (d *API) handlePublish(r *http.Request, req protocol.PublishRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	out := m.ShutOut()
	if err := m.Publish(r.Context(), req.Statements...); err != nil {
		return nil, err
	}
	if out && m.Believed() {
		d.RestartMeshes(m) // the way is open again
	}
	return protocol.OKReply{OK: true}, nil
}

func (d *API) handleBan(r *http.Request, req protocol.BanRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(req.Pubkey)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "pubkey: %v", err)
	}
	if err := m.Ban(r.Context(), key, req.Reason); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}

// handleGroups lists the groups that messages can be sent to.
func (d *API) handleGroups(w http.ResponseWriter, r *http.Request) error {
	acting, err := d.Acting(r.FormValue("session"))
	if err != nil {
		return err
	}
	meshes, err := d.Some(r.FormValue("mesh"))
	if err != nil {
		return err
	}
	all := []protocol.GroupInfo{}
	for _, m := range meshes {
		all = append(all, m.Groups(acting)...)
	}
	return reply(w, all)
}

func (d *API) handleGrant(_ *http.Request, req protocol.GrantRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	return m.ChangeGrant(req)
}

// handleAdmit certifies one of those who claim a link of this member's.
func (d *API) handleAdmit(_ *http.Request, req protocol.AdmitRequest) (any, error) {
	m, err := d.One(req.Mesh)
	if err != nil {
		return nil, err
	}
	key, err := crypto.ParsePublicKey(req.Pubkey)
	if err != nil {
		return nil, protocol.Refuse(protocol.CodeInvalid, "pubkey: %v", err)
	}
	if err := m.AdmitByHand(key); err != nil {
		return nil, err
	}
	return protocol.OKReply{OK: true}, nil
}
