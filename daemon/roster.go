package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/mesh"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// roster is who is here: the meshes that run, and the live sessions of this machine, each on every mesh. It guards itself.
type roster struct {
	// fixed at construction
	home config.Home
	log  *slog.Logger
	db   *store.DB
	env  *mesh.Env
	hub  *inbox.Hub
	mail *inbox.Mailbox
	now  func() time.Time
	life context.Context // ends when the daemon stops; meshes live in it

	// set before the first reload
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

// newRoster starts nothing: reload starts the meshes, and openRegistry takes up the sessions.
func newRoster(life context.Context, home config.Home, db *store.DB, log *slog.Logger, clock *wallclock.Clock, broker *brokerhttp.Dialer) *roster {
	r := &roster{
		home: home, log: log, db: db, now: clock.Now, life: life,
		joined: make(map[protocol.MeshID]*joinedMesh), sessions: make(map[string]*keyring.Session), replaced: make(map[string]registry.Process),
	}
	r.mail = inbox.NewMailbox(db, r.now, log, mesh.PassNumber)
	r.hub = inbox.NewHub(db, r.mail, r.now, log)
	r.env = &mesh.Env{DB: db, Log: log, Clock: clock, Broker: broker, Events: r.hub, Mail: r.mail, OwnerKey: r.ownerKey}
	return r
}

// brokerURLs are the addresses of the brokers by mesh, of one mesh or with an empty name of all.
func (r *roster) brokerURLs(only string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	urls := make(map[string]string)
	for _, j := range r.joined {
		if only == "" || only == j.member.Slug {
			urls[j.member.Slug] = j.member.BrokerURL
		}
	}
	return urls
}

// report adds to the daemon's health what is known here.
func (r *roster) report(h *protocol.Health) {
	r.mu.Lock()
	h.Sessions = len(r.sessions)
	if r.broken != nil {
		h.OK, h.Error = false, r.broken.Error()
	}
	joined := make([]*joinedMesh, 0, len(r.joined))
	for _, j := range r.joined {
		joined = append(joined, j)
	}
	r.mu.Unlock()
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
func (r *roster) defaults() (fallback string, foreign []config.Original) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fallback, r.foreign
}
