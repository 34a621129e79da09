package daemon

import (
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
)

// putSession makes a session of this machine known to every mesh, or tells them what changed about it.
func (r *roster) putSession(s *keyring.Session) {
	r.mu.Lock()
	r.sessions[s.ID] = s
	r.mu.Unlock()
	for _, m := range r.meshes() {
		r.addTo(m, s)
	}
}

// endSession takes a session off every mesh.
func (r *roster) endSession(id string) {
	r.mu.Lock()
	delete(r.sessions, id)
	r.mu.Unlock()
	for _, m := range r.meshes() {
		if err := m.RemoveSession(id); err != nil {
			r.log.Error("session not removed", "mesh", m.Slug(), "session", id, "reason", err)
		}
	}
}

// addTo makes a session known to one mesh. The session lives on where that does not work: other meshes have it.
func (r *roster) addTo(m *mesh.Mesh, s *keyring.Session) {
	if err := m.AddSession(m.Carried(s)); err != nil {
		r.log.Error("session not added", "mesh", m.Slug(), "session", s.ID, "reason", err)
	}
}

// keepPresence remembers what a session said of itself: for the meshes that are joined later, for the next daemon, and for the mail that a change
// of status releases.
func (r *roster) keepPresence(id string, req protocol.PresenceRequest) {
	if req.Status != "" {
		r.live.Update(id, func(s *registry.Session) { s.Status, s.Active = req.Status, r.now().UTC() })
		r.hub.Wake()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[id]
	if s == nil {
		return // it ended meanwhile
	}
	changed := *s
	changed.Groups = mesh.MergeGroups(s.Groups, req.Join, req.Leave)
	if req.Status != "" {
		changed.Status = req.Status
	}
	if req.Summary != nil {
		changed.Summary = *req.Summary
	}
	r.sessions[id] = &changed
}

func (r *roster) liveSessions() []*keyring.Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*keyring.Session
	for _, s := range r.sessions {
		all = append(all, s)
	}
	return all
}

// acting finds the session that a request speaks for: by Claude's id, by key, or by label. Empty means the member, nil.
func (r *roster) acting(ref string) (*keyring.Session, error) {
	if ref == "" {
		return nil, nil
	}
	var labelled []*keyring.Session
	live := r.liveSessions()
	for _, s := range live {
		if s.ID == ref || s.Public().String() == ref {
			return s, nil
		}
		if s.Label == ref {
			labelled = append(labelled, s)
		}
	}
	if s := r.successor(ref); s != nil {
		return s, nil
	}
	switch len(labelled) {
	case 1:
		return labelled[0], nil
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "no session %q on this machine", ref)
		for _, s := range live {
			e.Names = append(e.Names, s.Label)
		}
		slices.Sort(e.Names)
		return nil, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "session %q matches more than one", ref)
	for _, s := range labelled {
		e.Names = append(e.Names, s.ID)
	}
	slices.Sort(e.Names)
	return nil, e
}

// meshes are the running ones, by slug.
func (r *roster) meshes() []*mesh.Mesh {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*mesh.Mesh
	for _, j := range r.joined {
		if j.mesh != nil {
			all = append(all, j.mesh)
		}
	}
	slices.SortFunc(all, func(a, b *mesh.Mesh) int { return strings.Compare(a.Slug(), b.Slug()) })
	return all
}

// mesh finds a running mesh by slug or mesh id.
func (r *roster) mesh(name string) (*mesh.Mesh, error) {
	var slugs []string
	for _, m := range r.meshes() {
		if m.Slug() == name || string(m.ID()) == name {
			return m, nil
		}
		slugs = append(slugs, m.Slug())
	}
	e := protocol.Refuse(protocol.CodeNotFound, "no mesh %q is joined", name).WithHint("claudemesh mesh list")
	e.Names = slugs
	return nil, e
}

// some returns the mesh of that name, or all of them where the name is empty.
func (r *roster) some(name string) ([]*mesh.Mesh, error) {
	if name == "" {
		return r.meshes(), nil
	}
	m, err := r.mesh(name)
	if err != nil {
		return nil, err
	}
	return []*mesh.Mesh{m}, nil
}

// one returns the mesh of that name; where the name is empty, the default mesh or the only one.
func (r *roster) one(name string) (*mesh.Mesh, error) {
	if name != "" {
		return r.mesh(name)
	}
	all := r.meshes()
	r.mu.Lock()
	fallback := r.fallback
	r.mu.Unlock()
	switch len(all) {
	case 0:
		return nil, errNoMesh()
	case 1:
		return all[0], nil
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "more than one mesh is joined").WithHint("name one with --mesh, or: claudemesh mesh use <slug>")
	for _, m := range all {
		if m.Slug() == fallback {
			return m, nil
		}
		e.Names = append(e.Names, m.Slug())
	}
	return nil, e
}

func errNoMesh() *protocol.Error {
	return protocol.Refuse(protocol.CodeNotFound, "no mesh is joined").WithHint("claudemesh join <link>, or claudemesh create <slug>")
}

// route finds the mesh that a message belongs to: the one that is named, that of the message it answers, or the only one
// that knows the recipient. A recipient known on several is never guessed.
func (r *roster) route(req protocol.SendRequest) (*mesh.Mesh, error) {
	all := r.meshes()
	if req.Mesh == "" && len(all) > 1 && req.ReplyTo != "" {
		if original, err := r.mail.Find(req.ReplyTo); err == nil {
			return r.mesh(original.Mesh)
		} else if req.To == "" {
			return nil, err
		}
	}
	if req.Mesh != "" || len(all) < 2 || req.To == "*" || strings.HasPrefix(req.To, "@") {
		return r.one(req.Mesh)
	}
	var found []*mesh.Mesh
	var names []string
	for _, m := range all {
		_, err := m.Resolve(req.To)
		e, refused := err.(*protocol.Error)
		switch {
		case err == nil:
			found = append(found, m)
		case refused && e.Code == protocol.CodeNotFound:
			for _, n := range e.Names {
				names = append(names, n+" on "+m.Slug())
			}
		default:
			return nil, err
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		e := protocol.Refuse(protocol.CodeNotFound, "nobody named %q on any of %d meshes", req.To, len(all)).WithHint("claudemesh peers lists who is there")
		e.Names = names
		return nil, e
	}
	e := protocol.Refuse(protocol.CodeAmbiguous, "%q is on more than one mesh", req.To).WithHint("name one with --mesh")
	for _, m := range found {
		e.Names = append(e.Names, m.Slug())
	}
	return nil, e
}

// wakeMeshes lets meshes send the receipts that a change of the inbox made.
func (r *roster) wakeMeshes(ids []protocol.MeshID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if j := r.joined[id]; j != nil && j.mesh != nil {
			j.mesh.Wake()
		}
	}
}

// slugOf is what the user calls a mesh, or its id when it was left.
func (r *roster) slugOf(id string) string {
	if m, err := r.mesh(id); err == nil {
		return m.Slug()
	}
	return id
}
