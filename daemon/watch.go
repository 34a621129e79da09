package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
)

// joinedMesh is a membership and the mesh that runs for it. Mesh is nil where it could not be started: err says why.
type joinedMesh struct {
	member config.Membership
	mesh   *mesh.Mesh
	err    error
	since  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (j *joinedMesh) close() {
	j.cancel()
	j.done.Wait()
}

// statConfig returns nil where there is no file.
func statConfig(home config.Home) fs.FileInfo {
	info, err := os.Stat(home.ConfigFile())
	if err != nil {
		return nil
	}
	return info
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// reload makes the running meshes those of config.json. A file that cannot be read changes nothing: it is reported in
// health until it can. Once the daemon stops it does nothing.
func (d *roster) reload() {
	d.reloads.Lock()
	defer d.reloads.Unlock()
	if d.life.Err() != nil {
		return
	}
	c, err := d.home.Load()
	d.mu.Lock()
	if err != nil && (d.broken == nil || d.broken.Error() != err.Error()) {
		d.log.Error("config.json cannot be used; going on with what was before", "reason", err)
	}
	d.broken = err
	d.mu.Unlock()
	if err != nil {
		return
	}
	d.stopGone(c)
	for _, m := range c.Meshes {
		d.startMesh(m)
	}
	d.mu.Lock()
	d.foreign, d.fallback = c.Originals, c.DefaultMesh
	d.mu.Unlock()
	d.applied(c)
}

// stopGone ends the meshes that are not in c any more, or are in another way.
func (d *roster) stopGone(c *config.Config) {
	var gone []*joinedMesh
	d.mu.Lock()
	for id, j := range d.joined {
		if m := c.ByID(id); m == nil || !sameMesh(m, &j.member) {
			delete(d.joined, id)
			gone = append(gone, j)
		}
	}
	d.mu.Unlock()
	for _, j := range gone {
		j.close()
		d.log.Info("mesh stopped", "mesh", j.member.Slug)
		if c.ByID(j.member.MeshID) == nil {
			d.hub.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: j.member.Slug, Notice: "stopped"}, inbox.EventOptions{})
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
func (d *roster) startMesh(m config.Membership) {
	d.mu.Lock()
	j := d.joined[m.MeshID]
	d.mu.Unlock()
	if j != nil {
		return
	}
	ctx, cancel := context.WithCancel(d.life)
	j = &joinedMesh{member: m, cancel: cancel, since: d.now()}
	if j.mesh, j.err = mesh.New(d.env, m); j.err != nil {
		d.log.Error("mesh not started", "mesh", m.Slug, "reason", j.err)
	} else {
		d.log.Info("mesh started", "mesh", m.Slug, "broker", m.BrokerURL)
		for _, s := range d.liveSessions() {
			d.addTo(j.mesh, s)
		}
		j.done.Go(func() { j.mesh.Run(ctx) })
	}
	d.mu.Lock()
	d.joined[m.MeshID] = j
	d.mu.Unlock()
	d.hub.Emit(protocol.Event{Type: inbox.EventMesh, Mesh: m.Slug, Notice: "started"}, inbox.EventOptions{})
}

// closeMeshes ends all meshes, side by side.
func (d *roster) closeMeshes() {
	d.mu.Lock()
	all := d.joined
	d.joined = make(map[protocol.MeshID]*joinedMesh)
	d.mu.Unlock()
	for _, j := range all {
		j.cancel()
	}
	for _, j := range all {
		j.done.Wait()
	}
}

// joinedAs finds a membership, running or not, by slug or mesh id.
func (d *roster) joinedAs(name string) (*joinedMesh, error) {
	e := protocol.Refuse(protocol.CodeNotFound, "no mesh %q is joined", name).WithHint("claudemesh mesh list")
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, j := range d.joined {
		if j.member.Slug == name || string(id) == name {
			return j, nil
		}
		e.Names = append(e.Names, j.member.Slug)
	}
	return nil, e
}

// restartMeshes has meshes load their state anew and connect at once.
func (d *roster) restartMeshes(meshes ...*mesh.Mesh) {
	for _, m := range meshes {
		d.reloads.Lock()
		d.mu.Lock()
		j := d.joined[m.ID()]
		if j != nil && j.mesh == m {
			delete(d.joined, m.ID())
		}
		d.mu.Unlock()
		if j != nil && j.mesh == m {
			j.close()
		}
		d.reloads.Unlock()
	}
	d.reload()
}

// ownerKey finds the present owner key of a mesh in the home. The error wraps fs.ErrNotExist when it is not here.
func (d *roster) ownerKey(mesh protocol.MeshID, owner crypto.PublicKey) (*config.OwnerKey, error) {
	keys, err := d.home.OwnerKeys(mesh)
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
