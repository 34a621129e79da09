package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// roster is who is here: the meshes that run, and the live sessions of this machine, each on every mesh. It guards itself.
type roster struct {
	// fixed at construction
	home    config.Home
	log     *slog.Logger
	db      *store.DB
	env     *mesh.Env
	hub     *inbox.Hub
	mail    *inbox.Mailbox
	now     func() time.Time
	life    context.Context      // ends when the daemon stops; meshes live in it
	applied func(*config.Config) // called with each config.json whose meshes run now
	ended   func(session string) // called when a session ends

	live    *registry.Registry // set by openRegistry
	reloads sync.Mutex         // held by reload, so that two do not start one mesh
	enters  sync.Mutex         // held by register

	mu       sync.Mutex
	joined   map[protocol.MeshID]*joinedMesh
	foreign  []config.Original
	fallback string // slug of the default mesh
	sessions map[string]*keyring.Session
	replaced map[string]registry.Process // sessions that went on under another id, by their old one
	broken   error                       // config.json as it is now cannot be read; the meshes are those of before
}

// report adds to the daemon's health what is known here.
func (d *roster) report(h *protocol.Health) {
	d.mu.Lock()
	h.Sessions = len(d.sessions)
	if d.broken != nil {
		h.OK, h.Error = false, d.broken.Error()
	}
	joined := make([]*joinedMesh, 0, len(d.joined))
	for _, j := range d.joined {
		joined = append(joined, j)
	}
	d.mu.Unlock()
	for _, j := range joined {
		if j.mesh != nil {
			h.Meshes[j.member.Slug] = j.mesh.Health()
			continue
		}
		h.OK = false
		h.Meshes[j.member.Slug] = protocol.MeshHealth{
			State: protocol.ConnRefused, Since: j.since.UTC(), LastError: j.err.Error(), ErrorCode: protocol.CodeOf(j.err),
		}
	}
}

// defaults are the slug of the default mesh, and the memberships of an original claudemesh, which are left alone.
func (d *roster) defaults() (fallback string, foreign []config.Original) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fallback, d.foreign
}
