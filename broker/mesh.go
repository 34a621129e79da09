package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// mesh is what the broker knows of one mesh: its statements, who came by a link, the keys that can be written to, and who is
// connected.
type mesh struct {
	id      protocol.MeshID
	idBytes []byte
	srv     *Server

	gone atomic.Bool   // deleted: nothing is written any more
	news atomic.Uint64 // grows with everything that control connections are told; set under mu

	// publishing makes the publications of a mesh serial. It is taken before mu and held across their commit, so that the
	// log's numbers become visible in their order.
	publishing sync.Mutex
	set        *protocol.Set // guarded by publishing

	mu           sync.Mutex
	view         *protocol.View
	log          []*protocol.Statement // number n of the log is log[n-1]; nil: forgotten
	members      map[crypto.PublicKey]*member
	addresses    map[crypto.PublicKey]*address // every key that can be written to, if its member may
	conns        map[*conn]struct{}
	presences    map[crypto.PublicKey]*presence
	presenceNews changes
	peopleNews   changes                      // members whose item changed
	keys         map[crypto.PublicKey]*apiKey // API keys, those that are over included
	audit        auditTail
	arrivals     uint64         // of enrolments that are remembered, the highest number
	links        shares         // what waits of those who came by a link and are not admitted, at all recipients
	forgotten    []forgottenKey // that something may have come for meanwhile
	joins        chan struct{}  // closed and made anew when the view changes: wakes the joins that wait
}

// member is a key that a certificate or an enrolment names. It is guarded by the mesh's mutex.
type member struct {
	key      crypto.PublicKey
	id       string // told in answers to join and in lists
	address  *address
	invite   *protocol.Statement
	enrol    *protocol.Statement // with invite: how he came
	arrived  uint64              // as how manieth of the mesh
	certs    []*protocol.Statement
	sessions few[*protocol.Statement]     // newest session statement per key, the member key's own included
	lastSeen int64                        // Unix ms
	keys     map[crypto.PublicKey]*apiKey // API keys of this member, those that are over included
	conns    few[*conn]                   // live, by the key they connected with
	requests *rate.Limiter
	recent   *recent
	waits    shares // for him, of each sender

	// what the view says, looked up once: every message asks
	asOf      *protocol.View
	certified bool
	name      string

	grants map[crypto.PublicKey][]string // what he lets single peers do; who is not in it may do everything
}

// address is a key that can be written to, and its two queues: mail, and beside it receipts and the other control messages,
// which are not counted against the mail.
type address struct {
	key    crypto.PublicKey
	member *member
	api    *apiKey // nil: the key of a member or session
	mail   queue.Recipient
	side   queue.Recipient
}

// The queues of one key in two meshes must not mix, so a queue is named by mesh and key.
func newAddress(id protocol.MeshID, m *member, key crypto.PublicKey) *address {
	return &address{
		key: key, member: m,
		mail: crypto.Hash([]byte(id), key[:]),
		side: crypto.Hash([]byte(id), key[:], []byte("side")),
	}
}

// newMesh makes the mesh of a log, the charter first.
func newMesh(s *Server, log []*protocol.Statement) (*mesh, error) {
	id, set := log[0].Mesh(), protocol.NewSet(log[0], protocol.Pins{})
	held := slices.DeleteFunc(slices.Clone(log), func(st *protocol.Statement) bool { return st == nil })
	if _, err := set.Add(held...); err != nil && protocol.CodeOf(err) != protocol.CodeMeshFull { // for these there is sweepLog
		return nil, err
	}
	m := &mesh{
		id: id, idBytes: []byte(id), srv: s, set: set, log: log,
		members:   make(map[crypto.PublicKey]*member),
		addresses: make(map[crypto.PublicKey]*address),
		conns:     make(map[*conn]struct{}),
		presences: make(map[crypto.PublicKey]*presence),
		keys:      make(map[crypto.PublicKey]*apiKey),
		joins:     make(chan struct{}),
	}
	m.refreshLocked(held)
	return m, nil
}

// refreshLocked takes the view of the set, to which these statements were added, and gives each certificate its member.
func (m *mesh) refreshLocked(added []*protocol.Statement) {
	m.view = m.set.View()
	for _, st := range added {
		if c, ok := st.Body.(*protocol.Cert); ok {
			p := m.memberLocked(c.Member)
			p.certs = append(p.certs, st)
		}
	}
	close(m.joins)
	m.joins = make(chan struct{})
}

// memberLocked returns the member of that key, made if necessary. Whether he may do anything is another question.
func (m *mesh) memberLocked(key crypto.PublicKey) *member {
	if p, ok := m.members[key]; ok {
		return p
	}
	p := &member{
		key: key, id: protocol.MemberID(m.id, key),
		requests: rate.NewLimiter(rate.Limit(m.srv.limits.Rate), m.srv.limits.Burst),
		recent:   newRecent(m.srv.limits.Dedupe),
	}
	p.address = newAddress(m.id, p, key)
	if a := m.addresses[key]; a != nil && a.api == nil { // a session's until now
		a.member.sessions.remove(key)
	}
	m.members[key] = p
	m.addresses[key] = p.address
	return p
}

// standing is what a key may do.
type standing int

const (
	stranger standing = iota // neither certified nor holding an open link
	invited                  // holds a link: direct messages only
	verified                 // certified
	revoked                  // for ever
)

// certifiedLocked tells whether p is a verified member in the view, and has p.name be his name there.
func (m *mesh) certifiedLocked(p *member) bool {
	if p.asOf != m.view {
		v, ok := m.view.Member(p.key)
		p.asOf, p.certified, p.name = m.view, ok, v.Name
	}
	return p.certified
}

// standingLocked tells what p may do now.
func (m *mesh) standingLocked(p *member, now time.Time) standing {
	if m.certifiedLocked(p) {
		return verified
	}
	if _, gone := m.view.RevokedOf(p.key, p.key); gone {
		return revoked
	}
	if p.enrol != nil && m.view.Invited(p.invite, p.enrol, now) == nil {
		return invited
	}
	return stranger
}

// reachableLocked tells whether messages to a are taken: its member is in, and the key itself not revoked.
func (m *mesh) reachableLocked(a *address, now time.Time) bool {
	if a.api != nil {
		return a.api.readsLocked(now)
	}
	switch m.standingLocked(a.member, now) {
	case verified, invited:
	default:
		return false
	}
	if a.key == a.member.key {
		return true // else he would not stand so
	}
	_, gone := m.view.RevokedOf(a.member.key, a.key)
	return !gone
}

// nameLocked is the name that goes beside the keys of p; what recipients believe is in their own view.
func (m *mesh) nameLocked(p *member) string {
	if m.certifiedLocked(p) {
		return p.name
	}
	if p.enrol != nil {
		if e, ok := p.enrol.Body.(*protocol.Enrol); ok {
			return e.Name
		}
	}
	return ""
}

// newerSession reports whether st takes the place of the session statement old, which may be nil.
func (m *mesh) newerSession(st, old *protocol.Statement) bool {
	return old == nil || st.SupersedesAt(old, m.srv.now())
}

// noteSessionLocked keeps st if it is the newest of its key, and makes the key an address. It reports whether it is news. A key that became
// somebody else's while st was committed is not touched.
func (m *mesh) noteSessionLocked(st *protocol.Statement) bool {
	s := st.Body.(*protocol.Session)
	p := m.memberLocked(s.Member)
	if !m.ownsLocked(p, s.Session) || !m.newerSession(st, p.sessions.get(s.Session)) {
		return false
	}
	p.sessions.set(s.Session, st)
	if m.addresses[s.Session] == nil {
		m.addresses[s.Session] = newAddress(m.id, p, s.Session)
	}
	return true
}

// ownsLocked tells whether key is free, or p's own and no API key's: a session key belongs to the first member who proved it.
func (m *mesh) ownsLocked(p *member, key crypto.PublicKey) bool {
	a, taken := m.addresses[key]
	return !taken || a.member == p && a.api == nil
}

// feedsLocked lists the keys whose queues c drains: its own, and for a control connection those of the member's sessions that
// have no connection of their own.
func (m *mesh) feedsLocked(c *conn) []*address {
	var feeds []*address
	if a := m.addresses[c.key]; a != nil {
		feeds = append(feeds, a)
	}
	if !c.control {
		return feeds
	}
	for k := range c.member.sessions.all() {
		if a := m.addresses[k]; a != nil && a.member == c.member && k != c.key && c.member.conns.get(k) == nil {
			feeds = append(feeds, a)
		}
	}
	return feeds
}

// controlsLocked calls f for every control connection.
func (m *mesh) controlsLocked(f func(c *conn)) {
	for c := range m.conns {
		if c.control {
			f(c)
		}
	}
}
