// Package mesh is one joined mesh: who is believed in it, what is on its way in and out, and the
// connections to its broker. It needs an Env and no daemon, so its tests are alice, bob and cathy in
// one process with a real broker and virtual time.
//
// A message is accepted by Mesh.Send, waits in the outbox, and leaves through an uplink. What comes
// is opened in deliver.go, and kept in package inbox in the transaction that acknowledges it.
package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/spool"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// Env is what a mesh needs of its daemon. It is the same for all meshes and fixed when they are made.
type Env struct {
	DB     *store.DB
	Log    *slog.Logger
	Clock  *wallclock.Clock
	Broker *brokerhttp.Dialer // of all brokers
	Events *inbox.Hub
	Mail   *inbox.Mailbox
	quotas inbox.Quotas // what is kept of others; zero: the defaults
	Files  *spool.Spool // on their way; nil: no files are possible
	Asked  func()       // a message of the memory was committed; nil: nobody answers

	// OwnerKey finds the present owner key of a mesh on this machine; the error wraps fs.ErrNotExist where it is not here.
	OwnerKey func(mesh protocol.MeshID, owner crypto.PublicKey) (*config.OwnerKey, error)
}

// now is the time of day, for what is signed, stored and told. See package wallclock.
func (e *Env) now() time.Time { return e.Clock.Now() }

// Mesh is one joined mesh: who is believed in it, what is on its way in and out, and the connections to its broker.
//
//	send ─▶ outbox ─▶ uplink ═▶ broker ═▶ uplink ─▶ checks ─▶ inbox ─▶ ack
//	                    │  └── trust: log, members, sessions
//	                    └───── presence
//
// Nothing here touches the network but the goroutines of the uplinks, which run starts.
type Mesh struct {
	// fixed at construction
	env    *Env
	cfg    config.Membership
	meshID protocol.MeshID
	key    *crypto.PrivateKey
	self   crypto.PublicKey
	log    *slog.Logger
	inst   [8]byte
	isHost bool // the user said that these keys are at home here

	// each guards itself
	trust   *trust.State
	ring    *keyring.Ring
	out     *outbox
	who     *presence
	grants  *trust.Grants
	pings   pings
	alarms  alarmLimit
	comings hourly // sessions that came and left; the control connection's worker alone uses it
	vouched protocol.Attested
	control *uplink
	uploads *uploading

	tellingGrants sync.Mutex // held while the broker is told what peers may, so that it hears the latest last

	mu         sync.Mutex
	ctx        context.Context                // of run; nil while it is not running
	running    sync.WaitGroup                 // the uplinks' goroutines
	uplinks    map[crypto.PublicKey]*uplink   // of live sessions; the control connection is apart
	told       map[crypto.PublicKey]time.Time // peers that were sent the log, and when
	asked      map[crypto.PublicKey]bool      // admins who left, of whom the user was told
	fullHour   int64                          // since 1970, that fullTold is of
	fullTold   map[crypto.PublicKey]bool      // whose mail is refused for want of room, as the user was told
	asking     map[protocol.ID]string         // links that too many claim, and of whom the user was told
	asideTried bool                           // what was set aside was applied again
	kept       int                            // days that the broker keeps messages, as it says
	todo       chores
}

// New loads a mesh from the database. It starts nothing and needs no network.
func New(e *Env, cfg config.Membership) (*Mesh, error) {
	m := &Mesh{
		env: e, cfg: cfg, meshID: cfg.MeshID, key: cfg.Key, self: cfg.Key.Public(),
		log:     e.Log.With("mesh", cfg.Slug),
		who:     newPresence(),
		uploads: newUploading(),
		uplinks: make(map[crypto.PublicKey]*uplink),
		told:    make(map[crypto.PublicKey]time.Time),
		asked:   make(map[crypto.PublicKey]bool),
		asking:  make(map[protocol.ID]string),
		kept:    protocol.RetentionDays,
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("load mesh %s: %w", cfg.Slug, err)
	}
	m.control = newUplink(m, m.self)
	e.Mail.SetMesh(m.meshID, cfg.Slug, cfg.Receipts == "off")
	return m, nil
}

func (m *Mesh) load() error {
	charter, extra, err := statementsOf(m.cfg)
	if err != nil {
		return err
	}
	if m.trust, err = trust.Load(m.env.DB, m.meshID, m.env.now, charter, extra...); err != nil {
		return err
	}
	if m.cfg.Invite != "" && m.cfg.Enrol != "" {
		own, err := trust.ParseEnrolment(m.cfg.Invite, m.cfg.Enrol)
		if err != nil {
			return fmt.Errorf("read our own enrolment: %w", err)
		}
		if _, err := m.trust.Learn(nil, []trust.Enrolment{own}); err != nil {
			return err
		}
	}
	if m.ring, err = keyring.Load(m.env.DB, m.meshID, m.key, m.label(), m.env.now); err != nil {
		return err
	}
	if m.grants, err = trust.LoadGrants(m.env.DB, m.meshID); err != nil {
		return err
	}
	if m.out, err = loadOutbox(m.env.DB, m.meshID, m.env.Mail.Damage); err != nil {
		return err
	}
	return m.env.DB.View(func(tx *store.Tx) error {
		m.inst, m.isHost = table.Instance(tx), table.IsHost(tx)
		return nil
	})
}

// statementsOf reads what config.json knows of a mesh.
func statementsOf(cfg config.Membership) (charter *protocol.Statement, extra []*protocol.Statement, err error) {
	if charter, err = protocol.ParseText(cfg.Charter); err != nil {
		return nil, nil, fmt.Errorf("read the charter: %w", err)
	}
	if charter.Kind != protocol.KindCharter || charter.Mesh() != cfg.MeshID {
		return nil, nil, fmt.Errorf("read the charter: it is not that of mesh %s", cfg.MeshID)
	}
	texts := append([]string{cfg.Cert, cfg.Invite}, cfg.Log...)
	for _, text := range texts {
		if text == "" {
			continue
		}
		s, err := protocol.ParseText(text)
		if err != nil {
			return nil, nil, fmt.Errorf("read a statement of config.json: %w", err)
		}
		extra = append(extra, s)
	}
	return charter, extra, nil
}

func (m *Mesh) Slug() string        { return m.cfg.Slug }
func (m *Mesh) ID() protocol.MeshID { return m.meshID }

// Self is the key of this member.
func (m *Mesh) Self() crypto.PublicKey { return m.self }

// Trust is who is believed in this mesh. It guards itself.
func (m *Mesh) Trust() *trust.State { return m.trust }

// Believed reports whether the member's own key is still believed here.
func (m *Mesh) Believed() bool { return m.trust.Trust(m.self) != protocol.TrustUnverified }

// ShutOut reports whether the broker does not let this member in any more.
func (m *Mesh) ShutOut() bool { return m.control.shutOut() }

// label is what the member without a session is called in its session statement: its name.
func (m *Mesh) label() string {
	if name := m.trust.Name(m.self); protocol.ValidName(name) {
		return name
	}
	return m.cfg.Name
}

// CallName is how notices call a member: by name, or, when there is none, by the head of the key.
func (m *Mesh) CallName(key crypto.PublicKey) string {
	if name := m.trust.Name(key); name != "" {
		return name
	}
	return key.Short()
}

// Run connects and stays connected until ctx ends, and returns when all goroutines of the mesh have.
func (m *Mesh) Run(ctx context.Context) {
	m.mu.Lock()
	m.ctx = ctx
	m.startLocked(m.control)
	for _, u := range m.uplinks {
		m.startLocked(u)
	}
	if m.env.Files != nil {
		m.running.Go(func() { m.runUploads(ctx) })
	}
	m.mu.Unlock()
	m.sweepLoop(ctx)
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.running.Wait()
}

// startLocked runs an uplink until the mesh or the uplink ends.
func (m *Mesh) startLocked(u *uplink) {
	ctx, cancel := context.WithCancel(m.ctx)
	u.cancel = cancel
	m.running.Go(func() {
		defer cancel()
		u.run(ctx)
	})
}

// sweepEvery is how often time alone changes something: gaps are told, messages given up, old rows forgotten.
const sweepEvery = time.Minute

func (m *Mesh) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var hourly time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !m.env.Clock.Settled() { // nothing is given up by a clock that may be wrong
			if m.env.Clock.Steady(protocol.GapPatience) {
				m.sweepBy(m.sweepNumbers)
			}
			continue
		}
		due := !hourly.After(time.Now())
		if due {
			hourly = time.Now().Add(time.Hour)
		}
		m.sweep(due)
	}
}

// sweep does what is due; once an hour it also walks the tables that only grow stale slowly.
func (m *Mesh) sweep(hourly bool) {
	steps := []func() error{m.sweepNumbers, m.giveUp}
	if hourly {
		m.uploads.wake()
		steps = append(steps, m.sweepReplay, m.sweepOutbox, m.ring.Sweep, m.trust.Sweep, m.trust.SweepAPIKeys, m.sweepSessions, m.repeatLeaves, m.forgetGhosts)
	}
	m.sweepBy(steps...)
}

func (m *Mesh) sweepBy(steps ...func() error) {
	for _, step := range steps {
		if err := step(); err != nil {
			m.log.Warn("sweep failed", "err", err)
		}
	}
}

// AddSession opens a connection for a live session of this machine, or brings the open one up to date.
func (m *Mesh) AddSession(s *keyring.Session) error {
	changed, err := m.ring.Add(s)
	if err != nil {
		return err
	}
	m.mu.Lock()
	u := m.uplinks[s.Public()]
	if s.Public() == m.self {
		u = m.control
	}
	if u == nil {
		u = newUplink(m, s.Public())
		m.uplinks[s.Public()] = u
		if m.ctx != nil {
			m.startLocked(u)
		}
	}
	m.mu.Unlock()
	u.profileChanged(changed)
	return nil
}

// RemoveSession closes the connection of a session that ended. Its key goes on receiving on the control connection.
func (m *Mesh) RemoveSession(id string) error {
	key, ok, err := m.ring.End(id)
	if !ok || err != nil {
		return err
	}
	m.mu.Lock()
	u := m.uplinks[key]
	delete(m.uplinks, key)
	m.mu.Unlock()
	if u != nil {
		m.stopUplink(u)
	}
	m.control.wakeUp()
	return nil
}

// stopUplink ends an uplink without keeping the caller waiting for the network.
func (m *Mesh) stopUplink(u *uplink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx != nil {
		m.running.Go(u.stop)
	}
}

// Wake tells the uplinks that there may be something to send.
func (m *Mesh) Wake() {
	m.control.wakeUp()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.uplinks {
		u.wakeUp()
	}
}

// wakeOut wakes the uplink that sends for a key.
func (m *Mesh) wakeOut(from crypto.PublicKey) {
	m.mu.Lock()
	u := m.uplinks[from]
	m.mu.Unlock()
	if u == nil {
		u = m.control
	}
	u.wakeUp()
}
