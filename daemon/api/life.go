package api

import (
	"errors"
	"net/http"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// handleLeave revokes our own key and forgets the membership. With the key gone nobody could revoke it later, so where the
// broker cannot be told the request must be forced.
func (d *API) handleLeave(w http.ResponseWriter, r *http.Request) error {
	var req protocol.LeaveRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	j, err := d.JoinedAs(req.Mesh)
	if err != nil {
		return err
	}
	out := protocol.LeaveReply{OK: true, Mesh: j.Member.Slug}
	if j.Mesh == nil {
		out.Reason = "the mesh was not running: " + j.Err.Error()
	} else if err := j.Mesh.Leave(r.Context()); err == nil || protocol.CodeOf(err) == protocol.CodeRevoked {
		out.Published = true // the broker may hang up on a revoked key before it has answered
	} else {
		if e, ok := errors.AsType[*protocol.Error](err); ok && e.Code == protocol.CodeUnavailable && !req.Force {
			return protocol.Refuse(e.Code, "nobody would hear that you left: %s", e.Message).WithHint("try again when the broker is back, or leave with --force")
		}
		out.Reason = err.Error()
	}
	key, err := d.Home.OwnerKey(j.Member.MeshID)
	if j.Mesh != nil { // a hand-over leaves the key that it replaced
		key, err = d.OwnerKey(j.Member.MeshID, j.Mesh.Trust().View().Owner())
	}
	if err == nil {
		out.OwnerKey = key.Path
	}
	err = d.Home.Update(func(c *config.Config) error {
		if m := c.ByID(j.Member.MeshID); m != nil {
			c.Remove(m.Slug)
		}
		if c.DefaultMesh == j.Member.Slug {
			c.DefaultMesh = ""
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.Reload()
	return reply(w, out)
}

// handleShutdown answers and stops the daemon.
func (d *API) handleShutdown(w http.ResponseWriter, _ *http.Request) error {
	defer d.stop(mesh.ErrStopped)
	return reply(w, protocol.OKReply{OK: true})
}
