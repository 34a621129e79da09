package mesh

import (
	"context"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/protocol"
)

// renewAfter is when a connection replaces its session statement: well before it expires.
const renewAfter = protocol.SessionLifetime - 2*keyring.StatementSpare

// cardEvery is how often a connection changes its card. The broker takes one in 10 s by its own clock: what was held up on the way must not make
// the next one come too early there, where it would be refused and lost.
const cardEvery = 12 * time.Second

// sendProfile tells the broker and the others what changed about this session, and returns when a card that has to wait
// may go.
func (w *worker) sendProfile() (later time.Time, err error) {
	u, now := w.u, time.Now()
	u.mu.Lock()
	statement := u.statement || !w.renew.After(now)
	status, card := u.status, u.card && !u.cardNext.After(now)
	if u.card && !card {
		later = u.cardNext
	}
	u.statement, u.status = false, false
	if card {
		u.card, u.cardNext = false, now.Add(cardEvery)
	}
	u.mu.Unlock()
	s, _ := w.m.ring.Session(u.key)
	if s == nil {
		return later, nil
	}
	if statement {
		fresh, err := w.m.ring.Statement(u.key, true)
		if err != nil {
			return later, err
		}
		refused, err := w.offer([]*protocol.Statement{fresh})
		if err != nil {
			return later, err
		}
		if len(refused) > 0 && refused[0].Code == protocol.CodeTimestamp {
			return later, protocol.Refuse(protocol.CodeTimestamp, "%s", protocol.Neutralize(refused[0].Message)) // hello settles it
		}
		w.renew = now.Add(renewAfter)
	}
	later = earlier(later, w.renew)
	if status && s.Status != "" {
		if err := w.c.write(&protocol.SetStatus{Tag: protocol.Tag{Type: protocol.TypeSetStatus}, Status: s.Status}); err != nil {
			return later, err
		}
	}
	if card {
		return later, w.sendCard(s)
	}
	return later, nil
}

// sendCard seals the card of a session to all verified members.
func (w *worker) sendCard(s *keyring.Session) error {
	m := w.m
	card := protocol.Card{Summary: s.Summary, Cwd: s.Cwd, Host: s.Host, Model: s.Model, Title: s.Title, SessionID: s.ID}
	readers := m.audience("*")
	if card == (protocol.Card{}) || len(readers) == 0 || !m.trust.View().Verified(m.self) {
		return nil
	}
	body, err := protocol.EncodeCard(&card)
	if err != nil {
		m.log.Warn("card not sealed", "session", s.Label, "err", err)
		return nil
	}
	att, issued, err := m.ring.Attest(s.Public())
	if err != nil {
		return err
	}
	h := protocol.Header{
		ID: protocol.NewClientID(), Mesh: m.meshID, From: s.Public(), Member: m.self, To: "*", Prio: protocol.PriorityLow,
		TS: max(m.env.now().UnixMilli(), issued), Ep: noEpoch, Log: m.trust.View().Digest(), Att: att, Kind: protocol.KindCard,
	}
	g, err := protocol.SealGroup(&h, body, s.Key)
	if err != nil {
		return err
	}
	frame := protocol.SetCard{
		Tag: protocol.Tag{Type: protocol.TypeSetCard}, ID: h.ID, Nonce: base64Text(g.Nonce), Ciphertext: base64Text(g.Ciphertext),
		Keys: make(map[string]string, len(readers)),
	}
	for _, r := range readers {
		shared, err := m.ring.Shared(s.Public(), r.Key)
		if err != nil {
			continue // a certificate for a key that no box can be sealed to; it reads no message either
		}
		frame.Keys[r.Key.String()] = base64Text(g.Wrap(0, &shared))
	}
	return w.c.write(&frame)
}

// SetPresence changes what others see of a session, or with nil of the member: groups, status, summary. It takes effect when
// the connection is next open.
func (m *Mesh) SetPresence(_ context.Context, req protocol.PresenceRequest, acting *keyring.Session) error {
	for _, g := range append(slices.Clone(req.Join), req.Leave...) {
		if !protocol.ValidGroup(g) {
			return protocol.Refuse(protocol.CodeInvalid, "%q is not the name of a group", g)
		}
	}
	switch req.Status {
	case "", protocol.StatusIdle, protocol.StatusWorking, protocol.StatusWaiting, protocol.StatusDND:
	default:
		return protocol.Refuse(protocol.CodeInvalid, "status %q is not idle, working or dnd", req.Status)
	}
	key := m.self
	if acting != nil {
		key = acting.Public()
	}
	s, live := m.ring.Session(key)
	if s == nil || !live {
		return protocol.Refuse(protocol.CodeNotFound, "that session is not on %s", m.Slug())
	}
	changed := *s
	changed.Groups = MergeGroups(s.Groups, req.Join, req.Leave)
	if len(changed.Groups) > protocol.MaxListed { // nobody would take the statement, and the session could not connect again
		return protocol.Refuse(protocol.CodeInvalid, "that makes %d groups; a session is in at most %d", len(changed.Groups), protocol.MaxListed).
			WithHint("claudemesh group leave")
	}
	if req.Status != "" {
		changed.Status = req.Status
	}
	if req.Summary != nil {
		changed.Summary = *req.Summary
	}
	return m.AddSession(&changed)
}

// MergeGroups returns the groups after joining and leaving some, ascending.
func MergeGroups(groups, join, leave []string) []string {
	all := slices.Concat(groups, join)
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(g string) bool { return slices.Contains(leave, g) })
}

// Health is what the connection to the broker is now.
func (m *Mesh) Health() protocol.MeshHealth {
	h := m.control.health()
	h.Queued = m.out.depth()
	return h
}

// health is what this connection is now. Queued is the mesh's.
func (u *uplink) health() protocol.MeshHealth {
	u.mu.Lock()
	defer u.mu.Unlock()
	h := protocol.MeshHealth{State: u.state, Since: u.since.UTC(), RTTms: float64(u.rtt.Microseconds()) / 1000}
	if u.lastError != nil {
		h.LastError, h.ErrorCode = u.lastError.Message, u.lastError.Code
	}
	return h
}

// Info describes the mesh. Who asks fills in Default.
func (m *Mesh) Info() protocol.MeshInfo {
	inbound := m.cfg.Inbound
	if inbound == "" {
		inbound = "accept"
	}
	receipts := m.cfg.Receipts
	if receipts == "" {
		receipts = "on"
	}
	return protocol.MeshInfo{
		Mesh: m.Slug(), MeshID: string(m.meshID), Broker: m.cfg.BrokerURL, Role: m.role(), Name: m.label(), Pubkey: m.self.String(),
		State: m.Health().State, Trust: m.trust.Trust(m.self), Owner: m.trust.View().Owner().String(), Inbound: inbound, Receipts: receipts,
	}
}

// roleRemoved is the role of a member who is out.
const roleRemoved = "removed"

// role is what this member may do.
func (m *Mesh) role() string {
	if _, removed := m.removed(); removed {
		return roleRemoved
	}
	view := m.trust.View()
	if member, ok := view.Member(m.self); ok {
		return member.Role
	}
	return "invited"
}

// Whoami describes who acts here.
func (m *Mesh) Whoami(acting *keyring.Session) protocol.WhoAmI {
	who := protocol.WhoAmI{
		Mesh: m.Slug(), MeshID: string(m.meshID), Name: m.label(), Role: m.role(), Pubkey: m.self.String(),
		Trust: m.trust.Trust(m.self), Fingerprint: protocol.Fingerprint(m.meshID, m.self), Groups: []string{},
	}
	if reason, removed := m.removed(); removed {
		who.Trust, who.Reason = protocol.TrustUnverified, reason
	}
	who.Groups = append(who.Groups, m.actingGroups(acting)...)
	if acting != nil {
		who.Session, who.SessionKey = acting.Label, acting.Public().String()
	}
	return who
}

// Carried is a session as it goes on a mesh: with the groups and the summary that it had there before.
func (m *Mesh) Carried(s *keyring.Session) *keyring.Session {
	old, _ := m.ring.Session(s.Public())
	if old == nil {
		return s
	}
	changed := *s
	if s.Groups == nil {
		changed.Groups = old.Groups
	}
	if s.Summary == "" {
		changed.Summary = old.Summary
	}
	return &changed
}

// SessionState is the state of the connection of a live session; empty where the session is not on this mesh.
func (m *Mesh) SessionState(key crypto.PublicKey) string {
	m.mu.Lock()
	u := m.uplinks[key]
	m.mu.Unlock()
	if u == nil {
		return ""
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}
