package roster

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// Joined is a membership and the mesh that runs for it. Mesh is nil where it could not be started: Err says why.
type Joined struct {
	Member config.Membership
	Mesh   *mesh.Mesh
	Err    error
	since  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (j *Joined) close() {
	j.cancel()
	j.done.Wait()
}

// Reload makes the running meshes those of config.json. A file that cannot be read changes nothing: it is reported in
// health until it can. Once the daemon stops it does nothing.
func (r *Roster) Reload() {
	r.reloads.Lock()
	defer r.reloads.Unlock()
	if r.Life.Err() != nil {
		return
	}
	c, err := r.Home.Load()
	r.mu.Lock()
	if err != nil && (r.broken == nil || r.broken.Error() != err.Error()) {
		r.Log.Error("config.json unusable, keeping the previous one", "err", err)
	}
	r.broken = err
	r.mu.Unlock()
	if err != nil {
		return
	}
	r.stopGone(c)
	for _, m := range c.Meshes {
		r.startMesh(m)
	}
	r.mu.Lock()
	r.foreign, r.fallback = c.Originals, c.DefaultMesh
	r.mu.Unlock()
	r.Applied(c)
}

// stopGone ends the meshes that are not in c any more, or are in another way.
func (r *Roster) stopGone(c *config.Config) {
	var gone []*Joined
	r.mu.Lock()
	for id, j := range r.joined {
		if m := c.ByID(id); m == nil || !sameMesh(m, &j.Member) {
			delete(r.joined, id)
			gone = append(gone, j)
		}
	}
	r.mu.Unlock()
	for _, j := range gone {
		j.close()
		r.Log.Info("mesh stopped", "mesh", j.Member.Slug)
		if c.ByID(j.Member.MeshID) == nil {
			r.Hub.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: j.Member.Slug, Notice: "stopped"}, inbox.EventOptions{})
			if r.Left != nil {
				r.Left(j.Member.MeshID)
			}
		}
	}
}

// sameMesh reports whether a running mesh need not know of the difference. Certificates and log reach it from the broker.
func sameMesh(a, b *config.Membership) bool {
	x, y := *a, *b
	x.Cert, y.Cert, x.Log, y.Log = "", "", nil, nil
	return x.Equal(&y)
}

// startMesh starts a mesh that is not running.
func (r *Roster) startMesh(m config.Membership) {
	r.mu.Lock()
	j := r.joined[m.MeshID]
	r.mu.Unlock()
	if j != nil {
		return
	}
	ctx, cancel := context.WithCancel(r.Life)
	j = &Joined{Member: m, cancel: cancel, since: r.Now()}
	if j.Mesh, j.Err = mesh.New(r.Env, m); j.Err != nil {
		r.Log.Error("mesh not started", "mesh", m.Slug, "err", j.Err)
	} else {
		r.Log.Info("mesh started", "mesh", m.Slug, "broker", m.BrokerURL)
		for _, s := range r.liveSessions() {
			r.addTo(j.Mesh, s)
		}
		j.done.Go(func() { j.Mesh.Run(ctx) })
	}
	r.mu.Lock()
	r.joined[m.MeshID] = j
	r.mu.Unlock()
	r.Hub.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: m.Slug, Notice: "started"}, inbox.EventOptions{})
}

// CloseMeshes ends all meshes, side by side.
func (r *Roster) CloseMeshes() {
	r.mu.Lock()
	all := r.joined
	r.joined = make(map[protocol.MeshID]*Joined)
	r.mu.Unlock()
	for _, j := range all {
		j.cancel()
	}
	for _, j := range all {
		j.done.Wait()
	}
}

// JoinedAs finds a membership, running or not, by slug or mesh id.
func (r *Roster) JoinedAs(name string) (*Joined, error) {
	e := protocol.Refuse(protocol.CodeNotFound, "no mesh %q is joined", name).WithHint("claudemesh mesh list")
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, j := range r.joined {
		if j.Member.Slug == name || string(id) == name {
			return j, nil
		}
		e.Names = append(e.Names, j.Member.Slug)
	}
	return nil, e
}

// RestartMeshes has meshes load their state anew and connect at once.
func (r *Roster) RestartMeshes(meshes ...*mesh.Mesh) {
	for _, m := range meshes {
		r.reloads.Lock()
		r.mu.Lock()
		j := r.joined[m.ID()]
		if j != nil && j.Mesh == m {
			delete(r.joined, m.ID())
		}
		r.mu.Unlock()
		if j != nil && j.Mesh == m {
			j.close()
		}
		r.reloads.Unlock()
	}
	r.Reload()
}

// OwnerKey finds the present owner key of a mesh in the home. The error wraps fs.ErrNotExist when it is not here.
func (r *Roster) OwnerKey(mesh protocol.MeshID, owner crypto.PublicKey) (*config.OwnerKey, error) {
	keys, err := r.Home.OwnerKeys(mesh)
	for _, k := range keys {
		if k.Public == owner {
			return k, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look for the owner key: %w", err)
	}
	return nil, fs.ErrNotExist
}
