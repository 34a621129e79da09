package daemon

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/localsocket"
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

// watch reloads config.json when it is not the seen one any more, and keeps the socket in its place, until the daemon's life ends. It looks at identity, time
// and size alone: a look costs a microsecond, works on every file system, and every writer of ours replaces the file.
func (d *Daemon) watch(seen fs.FileInfo, ln *localsocket.Listener) {
	lost := ""
	tick := time.NewTicker(d.cfg.watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.life.Done():
			return
		case <-tick.C:
		}
		if now := statConfig(d.home); !sameFile(seen, now) {
			seen = now
			d.reload()
		}
		lost = d.mendSocket(ln, lost)
	}
}

// mendSocket opens the local socket anew where somebody removed it. It returns why that went wrong, and logs what is not the same
// as before.
func (d *Daemon) mendSocket(ln *localsocket.Listener, before string) string {
	mended, err := ln.Mend()
	switch {
	case err != nil && err.Error() != before:
		d.log.Error("local socket lost", "path", ln.Path(), "err", err)
	case mended:
		d.log.Warn("local socket was removed; opened again", "path", ln.Path())
	}
	if err == nil {
		return ""
	}
	return err.Error()
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
func (d *Daemon) reload() {
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
	d.reloadBroker(c.LocalBroker)
	d.reloadREST(c.RESTListen)
}

// stopGone ends the meshes that are not in c any more, or are in another way.
func (d *Daemon) stopGone(c *config.Config) {
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
func (d *Daemon) startMesh(m config.Membership) {
	d.mu.Lock()
	j := d.joined[m.MeshID]
	d.mu.Unlock()
	if j != nil {
		return
	}
	ctx, cancel := context.WithCancel(d.life)
	j = &joinedMesh{member: m, cancel: cancel, since: d.cfg.Now()}
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
func (d *Daemon) closeMeshes() {
	d.mu.Lock()
	all := d.joined
	d.joined = make(map[protocol.MeshID]*joinedMesh)
	broker, rest := d.broker, d.rest
	d.broker, d.rest = nil, nil
	d.mu.Unlock()
	for _, j := range all {
		j.cancel()
	}
	for _, j := range all {
		j.done.Wait()
	}
	if rest != nil {
		rest.close()
	}
	if broker != nil {
		broker.close()
	}
}
