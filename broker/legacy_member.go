package broker

import (
	"encoding/json"
	"slices"
	"time"
	"unicode"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Original clients are let into meshes whose owner signed the legacy policy, and into no other. A member of that kind came by
// a v1 link; he has no certificate and signs no statements. One member key may have many connections: a daemon, sessions, and
// a short one for each command that is typed. They are the member's slots.

// original is what the broker keeps of a member who came by a v1 link.
type original struct {
	Name     string             `json:"name"`
	Link     string             `json:"link"`   // id of the v1 link
	Joined   int64              `json:"joined"` // Unix ms
	Groups   []protocol.Group   `json:"groups,omitempty"`
	Hidden   bool               `json:"hidden,omitempty"`
	Summary  string             `json:"summary,omitempty"`
	Profile  legacyProfile      `json:"profile,omitzero"`
	Sessions []crypto.PublicKey `json:"sessions,omitempty"` // proved keys of sessions, the newest last
	Keys     []*legacyKey       `json:"keys,omitempty"`     // API keys, those that are over included, the newest last

	slots  map[string]*slot  // by presence id
	prints map[string]string // fingerprints of the last requests, by the client id that they were given
}

// usedFor reports whether the client id was given to a request of another fingerprint.
func (o *original) usedFor(id, print string) bool {
	old, ok := o.prints[id]
	return ok && old != print
}

func (o *original) notePrint(id, print string, max int) {
	if o.prints == nil || len(o.prints) >= max {
		o.prints = make(map[string]string)
	}
	o.prints[id] = print
}

// legacyProfile is what set_profile sets.
type legacyProfile struct {
	Avatar       string   `json:"avatar,omitempty"`
	Title        string   `json:"title,omitempty"`
	Bio          string   `json:"bio,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
}

func (p *legacyProfile) empty() bool {
	return p.Avatar == "" && p.Title == "" && p.Bio == "" && len(p.Capabilities) == 0
}

// slot is one presence of an original client. Like our presences it outlives a lost connection by the lease.
type slot struct {
	id      string
	conn    *conn // nil while the lease runs
	member  *member
	kind    legacyKind
	key     crypto.PublicKey // routing key: of the session, else the member's
	pid     int
	item    protocol.PeerItem
	summary string
	stats   json.RawMessage
	opened  int64       // counts hellos: the newer of two is the one that counts
	until   *time.Timer // ends the lease
}

// legacyKind tells the original clients apart by what they can do.
type legacyKind int

const (
	legacyPlain   legacyKind = iota // CLI and MCP server 0.1.4
	legacyCommand                   // a command of 1.37, gone in a second
	legacyDaemon                    // the daemon of 1.37
	legacySession                   // one of its sessions
	legacyService                   // SDK, connectors, bridges
)

func (k legacyKind) String() string {
	return [...]string{"plain", "command", "daemon", "session", "service"}[k]
}

// acknowledges reports whether such clients send client_ack. The others are confirmed by a ping.
func (k legacyKind) acknowledges() bool { return k == legacyDaemon || k == legacySession }

// readsNews reports whether they understand system pushes, or drop them: 0.1.4 shows them as broken messages.
func (k legacyKind) readsNews() bool { return k != legacyPlain && k != legacySession }

// wantsNoSender reports whether they show clear text only when no sender is named: with one they try to open a box.
func (k legacyKind) wantsNoSender() bool { return k == legacyPlain || k == legacyCommand }

// role is what list_peers says of them: 1.37 does not find control-plane by name.
func (k legacyKind) role() string {
	switch k {
	case legacyDaemon, legacyCommand:
		return protocol.RoleControl
	case legacyService:
		return protocol.RoleService
	}
	return protocol.RoleSession
}

// Buckets of broker.db for original clients:
//
//	originals  mesh member(32) → original, JSON
//	v1links    hash of the token(32) → v1Link, JSON
const (
	bucketOriginals = "originals"
	bucketV1Links   = "v1links"
)

func (m *mesh) saveOriginal(p *member) error {
	m.publishing.Lock() // no older state is written over a newer one
	defer m.publishing.Unlock()
	return m.saveOriginalHolding(p)
}

// saveOriginalHolding is saveOriginal for a caller that holds publishing.
func (m *mesh) saveOriginalHolding(p *member) error {
	if m.gone.Load() {
		return protocol.Refuse(protocol.CodeNotFound, "the mesh was deleted by its owner")
	}
	m.mu.Lock()
	b, err := json.Marshal(p.original)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	err = m.srv.db.Commit(func(tx *store.Tx) error {
		return tx.Put(bucketOriginals, memberKey(m.id, p.key), b)
	})
	if err != nil {
		return m.srv.storeError("save an original member", err)
	}
	return nil
}

// loadOriginals reads who came by v1 links.
func (m *mesh) loadOriginals(tx *store.Tx) error {
	for k, v := range tx.Scan(bucketOriginals, []byte(m.id), nil) {
		o := &original{slots: make(map[string]*slot)}
		if err := json.Unmarshal(v, o); err != nil {
			return err
		}
		p := m.memberLocked(crypto.PublicKey(k[meshIDSize:]))
		p.original = o
		m.loadLegacyKeys(p)
		for _, key := range o.Sessions {
			m.legacyAddressLocked(p, key)
		}
	}
	return nil
}

// legacyAddressLocked makes key one that can be written to, for p. It reports false when another member has it.
func (m *mesh) legacyAddressLocked(p *member, key crypto.PublicKey) bool {
	if !m.ownsLocked(p, key) {
		return false
	}
	if m.addresses[key] == nil {
		m.addresses[key] = newAddress(m.id, p, key)
	}
	return true
}

// noteLegacySessionLocked keeps a proved session key, so that mail for it waits while the session is away. It reports whether
// it is news.
func (m *mesh) noteLegacySessionLocked(p *member, key crypto.PublicKey) bool {
	o := p.original
	if slices.Contains(o.Sessions, key) {
		return false
	}
	o.Sessions = append(o.Sessions, key)
	if over := len(o.Sessions) - m.srv.limits.MaxSessions; over > 0 {
		for _, old := range o.Sessions[:over] {
			if !m.legacyLiveLocked(p, old) {
				delete(m.addresses, old)
			}
		}
		o.Sessions = o.Sessions[over:]
	}
	return true
}

func (m *mesh) legacyLiveLocked(p *member, key crypto.PublicKey) bool {
	for _, s := range p.original.slots {
		if s.key == key {
			return true
		}
	}
	return false
}

// legacyFeedsLocked lists the keys whose queues an original connection drains: its session's, and for one connection of the
// member the member's own: the daemon, else the newest that is no command's.
func (m *mesh) legacyFeedsLocked(c *conn) []*address {
	var feeds []*address
	s := c.legacy.slot
	if s.key != c.member.key {
		feeds = append(feeds, m.addresses[s.key])
	}
	if m.mailSlotLocked(c.member) == s {
		feeds = append(feeds, c.member.address)
	}
	return slices.DeleteFunc(feeds, func(a *address) bool { return a == nil })
}

func (m *mesh) mailSlotLocked(p *member) (best *slot) {
	for _, s := range p.original.slots {
		if s.conn == nil || s.kind == legacyCommand {
			continue
		}
		switch {
		case best == nil, s.kind == legacyDaemon && best.kind != legacyDaemon:
			best = s
		case (s.kind == legacyDaemon) == (best.kind == legacyDaemon) && s.opened > best.opened:
			best = s
		}
	}
	return best
}

// legacyFeedsChangedLocked has the connections of p look again at what they drain.
func (m *mesh) legacyFeedsChangedLocked(p *member) {
	for _, s := range p.original.slots {
		if s.conn != nil {
			s.conn.restale()
		}
	}
}

// plainWord bounds what an original client says of itself: printable, at most max bytes.
func plainWord(s string, max int) string {
	var b []byte
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = ' '
		}
		next := string(r)
		if len(b)+len(next) > max {
			break
		}
		b = append(b, next...)
	}
	return string(b)
}

const (
	maxLegacyWord    = 64       // bytes of names, labels and the like
	maxLegacyPath    = 1 << 10  // bytes of a directory
	maxLegacyText    = 4 << 10  // bytes of a summary or a biography
	maxLegacyGroups  = 64       // of one member
	maxLegacyPayload = 64 << 10 // of a send: ciphertext, nonce and target
)
