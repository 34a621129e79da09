package api

import (
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/daemon/roster"
)

// decoded is the route that decodes a request, and answers with what do makes of it.
func decoded[Req any](do func(r *http.Request, req Req) (any, error)) route {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req Req
		if err := decode(r, &req); err != nil {
			return err
		}
		res, err := do(r, req)
		if err != nil {
			return err
		}
		return reply(w, res)
	}
}

// fromEach is the route that lists the items of the mesh that the request names, or of all meshes.
func fromEach[Item any](who *roster.Roster, items func(*mesh.Mesh) ([]Item, error)) route {
	return func(w http.ResponseWriter, r *http.Request) error {
		meshes, err := who.Some(r.FormValue("mesh"))
		if err != nil {
			return err
		}
		all := []Item{}
		for _, m := range meshes {
			some, err := items(m)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		return reply(w, all)
	}
}

// always makes items for fromEach of a list that cannot fail.
func always[Item any](items func(*mesh.Mesh) []Item) func(*mesh.Mesh) ([]Item, error) {
	return func(m *mesh.Mesh) ([]Item, error) { return items(m), nil }
}
