// Package roster knows who is here: the meshes of config.json that run, and the live sessions of
// this machine's agents. Each session is on every mesh. It answers who a request means and whose the
// mail for a session is. Delivery and the handlers of the local socket stand on it.
package roster

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

// Roster is who is here: the meshes that run, and the live sessions of this machine, each on every mesh. It guards itself.
type Roster struct {
	// fixed at construction; each guards itself
	Home config.Home
	Log  *slog.Logger
	DB   *store.DB
	Env  *mesh.Env
	Hub  *inbox.Hub
	Mail *inbox.Mailbox
	Now  func() time.Time
	Life context.Context // ends when the daemon stops; meshes live in it

	// set before the first Reload
	Applied func(*config.Config)  // called with each config.json whose meshes run now
	Ended   func(session string)  // called when a session ends
	Left    func(protocol.MeshID) // called when a mesh was left; nil: nobody cares

	Live    *registry.Registry // set by OpenRegistry
	reloads sync.Mutex         // held by Reload, so that two do not start one mesh
	enters  sync.Mutex         // held by Register

	mu       sync.Mutex
	joined   map[protocol.MeshID]*Joined
	foreign  []config.Original
	fallback string // slug of the default mesh
	sessions map[string]*keyring.Session
	replaced map[string]registry.Process // sessions that went on under another id, by their old one
	broken   error                       // config.json as it is now cannot be read; the meshes are those of before
}

// New starts nothing: Reload starts the meshes, and OpenRegistry takes up the sessions.
func New(life context.Context, home config.Home, db *store.DB, log *slog.Logger, clock *wallclock.Clock, broker *brokerhttp.Dialer) *Roster {
	r := &Roster{
		Home: home, Log: log, DB: db, Now: clock.Now, Life: life,
		joined: make(map[protocol.MeshID]*Joined), sessions: make(map[string]*keyring.Session), replaced: make(map[string]registry.Process),
	}
	r.Mail = inbox.NewMailbox(db, r.Now, log, mesh.PassNumber)
	r.Hub = inbox.NewHub(db, r.Mail, r.Now, log)
	r.Env = &mesh.Env{DB: db, Log: log, Clock: clock, Broker: broker, Events: r.Hub, Mail: r.Mail, OwnerKey: r.OwnerKey}
	return r
}

// BrokerURLs are the addresses of the brokers by mesh, of one mesh or with an empty name of all.
func (r *Roster) BrokerURLs(only string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	urls := make(map[string]string)
	for _, j := range r.joined {
		if only == "" || only == j.Member.Slug {
			urls[j.Member.Slug] = j.Member.BrokerURL
		}
	}
	return urls
}

// Report adds to the daemon's health what is known here.
func (r *Roster) Report(h *protocol.Health) {
	r.mu.Lock()
	h.Sessions = len(r.sessions)
	if r.broken != nil {
		h.OK, h.Error = false, r.broken.Error()
	}
	joined := make([]*Joined, 0, len(r.joined))
	for _, j := range r.joined {
		joined = append(joined, j)
	}
	r.mu.Unlock()
	for _, j := range joined {
		if j.Mesh != nil {
			h.Meshes[j.Member.Slug] = j.Mesh.Health()
			continue
		}
		h.OK = false
		h.Meshes[j.Member.Slug] = protocol.MeshHealth{
			State: protocol.ConnRefused, Since: j.since.UTC(), LastError: j.Err.Error(), ErrorCode: protocol.CodeOf(j.Err),
		}
	}
}

// Defaults are the slug of the default mesh, and the memberships of an original claudemesh, which are left alone.
func (r *Roster) Defaults() (fallback string, foreign []config.Original) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fallback, r.foreign
}
