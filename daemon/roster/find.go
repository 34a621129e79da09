package roster

import (
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// Meshes are the running ones, by slug.
func (r *Roster) Meshes() []*mesh.Mesh {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*mesh.Mesh
	for _, j := range r.joined {
		if j.Mesh != nil {
			all = append(all, j.Mesh)
		}
	}
	slices.SortFunc(all, func(a, b *mesh.Mesh) int { return strings.Compare(a.Slug(), b.Slug()) })
	return all
}

// Mesh finds a running mesh by slug or mesh id.
func (r *Roster) Mesh(name string) (*mesh.Mesh, error) {
	var slugs []string
	for _, m := range r.Meshes() {
		if m.Slug() == name || string(m.ID()) == name {
			return m, nil
		}
		slugs = append(slugs, m.Slug())
	}
	e := protocol.Refuse(protocol.CodeNotFound, "no mesh %q is joined", name).WithHint("claudemesh mesh list")
	e.Names = slugs
	return nil, e
}

// Some returns the mesh of that name, or all of them where the name is empty.
func (r *Roster) Some(name string) ([]*mesh.Mesh, error) {
	if name == "" {
		return r.Meshes(), nil
	}
	m, err := r.Mesh(name)
	if err != nil {
		return nil, err
	}
	return []*mesh.Mesh{m}, nil
}

// One returns the mesh of that name; where the name is empty, the default mesh or the only one.
func (r *Roster) One(name string) (*mesh.Mesh, error) {
	if name != "" {
		return r.Mesh(name)
	}
	all := r.Meshes()
	r.mu.Lock()
	fallback := r.fallback
	r.mu.Unlock()
	switch len(all) {
	case 0:
		return nil, ErrNoMesh()
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

func ErrNoMesh() *protocol.Error {
	return protocol.Refuse(protocol.CodeNotFound, "no mesh is joined").WithHint("claudemesh join <link>, or claudemesh create <slug>")
}

// Route finds the mesh that a message belongs to: the one that is named, that of the message it answers, or the only one
// that knows the recipient. A recipient known on several is never guessed.
func (r *Roster) Route(req protocol.SendRequest) (*mesh.Mesh, error) {
	all := r.Meshes()
	if req.Mesh == "" && len(all) > 1 && req.ReplyTo != "" {
		if original, err := r.Mail.Find(req.ReplyTo); err == nil {
			return r.Mesh(original.Mesh)
		} else if req.To == "" {
			return nil, err
		}
	}
	if req.Mesh != "" || len(all) < 2 || req.To == "*" || strings.HasPrefix(req.To, "@") {
		return r.One(req.Mesh)
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

// WakeMeshes lets meshes send the receipts that a change of the inbox made.
func (r *Roster) WakeMeshes(ids []protocol.MeshID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if j := r.joined[id]; j != nil && j.Mesh != nil {
			j.Mesh.Wake()
		}
	}
}

// SlugOf is what the user calls a mesh, or its id when it was left.
func (r *Roster) SlugOf(id string) string {
	if m, err := r.Mesh(id); err == nil {
		return m.Slug()
	}
	return id
}
