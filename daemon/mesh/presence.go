package mesh

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/wallclock"
)

// presence is who is connected, by the broker's word. What is shown of it rests on statements.
type presence struct {
	mu      sync.Mutex
	known   bool // a whole list was received since the process started
	peers   map[crypto.PublicKey]peer
	members map[crypto.PublicKey]memberSeen
}

// peer is one connection of somebody.
type peer struct {
	item protocol.PeerItem
	card *protocol.Card // nil: none, or one that we cannot open
	gone time.Time      // zero: it is there; else when it counts as left, unless it comes back before
}

// memberSeen is when somebody was last heard of.
type memberSeen struct {
	online bool
	last   int64 // Unix ms
}

func newPresence() *presence {
	return &presence{peers: make(map[crypto.PublicKey]peer), members: make(map[crypto.PublicKey]memberSeen)}
}

// noteMember takes the broker's word on when somebody was seen, which cannot be later than now (Unix ms).
func (p *presence) noteMember(key crypto.PublicKey, online bool, last, now int64) {
	last = min(max(last, 0), now)
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.members[key].last
	if before > now+wallclock.Jump.Milliseconds() {
		before = 0 // of a clock that was set back since
	}
	p.members[key] = memberSeen{online, max(last, before)}
}

// live reports whether a key has a connection.
func (p *presence) live(key crypto.PublicKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.peers[key]
	return ok
}

// replace takes a whole list and returns who came since the last one; the first list is no news. Who is missing counts as
// left only after the lease: a broker that was restarted does not know yet who is there.
func (p *presence) replace(list map[crypto.PublicKey]peer, now time.Time) (came []peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, news := p.peers, p.known
	p.peers, p.known = list, true
	if !news {
		return nil
	}
	for key, peer := range list {
		if _, ok := old[key]; !ok {
			came = append(came, peer)
		}
	}
	for key, peer := range old {
		if _, ok := list[key]; !ok {
			if peer.gone.IsZero() {
				peer.gone = now.Add(protocol.PresenceLease)
			}
			list[key] = peer
		}
	}
	return came
}

// expire takes out who was missing for the length of the lease, and returns when to look again; zero: nobody is missing.
func (p *presence) expire(now time.Time) (left []peer, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, peer := range p.peers {
		switch {
		case peer.gone.IsZero():
		case peer.gone.After(now):
			next = earlier(next, peer.gone)
		default:
			delete(p.peers, key)
			left = append(left, peer)
			p.goneLocked(peer, now.UnixMilli())
		}
	}
	return left, next
}

// update takes an increment and returns who came and who left.
func (p *presence) update(changed map[crypto.PublicKey]peer, gone []crypto.PublicKey, now int64) (came, left []peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, peer := range changed {
		if _, ok := p.peers[key]; !ok {
			came = append(came, peer)
		}
		p.peers[key] = peer
	}
	for _, key := range gone {
		if peer, ok := p.peers[key]; ok {
			delete(p.peers, key)
			left = append(left, peer)
			p.goneLocked(peer, now)
		}
	}
	return came, left
}

func (p *presence) goneLocked(gone peer, now int64) {
	if member, err := crypto.ParsePublicKey(gone.item.MemberPubkey); err == nil {
		p.members[member] = memberSeen{last: now}
	}
}

func (p *presence) list() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]peer, 0, len(p.peers))
	for _, peer := range p.peers {
		all = append(all, peer)
	}
	return all
}

func (w *worker) listPeers() error {
	ask := struct{ protocol.Tag }{protocol.Tag{Type: protocol.TypeListPeers}}
	var got protocol.PeersList
	if err := w.c.call(&ask, &ask.Tag, protocol.TypePeersList, &got); err != nil {
		return err
	}
	list, err := w.readPeers(got.Peers)
	if err != nil {
		return err
	}
	w.m.tellPeers(w.m.who.replace(list, time.Now()), nil)
	return nil
}

func (w *worker) handlePresence(frame []byte) error {
	var f protocol.Presence
	if err := decodeFrame(w.m.log, frame, &f); err != nil || !w.u.control {
		return nil
	}
	changed, err := w.readPeers(f.Peers)
	if err != nil {
		return err
	}
	var gone []crypto.PublicKey
	for _, text := range f.Left {
		if key, err := crypto.ParsePublicKey(text); err == nil {
			gone = append(gone, key)
		}
	}
	w.m.tellPeers(w.m.who.update(changed, gone, w.m.env.now().UnixMilli()))
	return nil
}

// readPeers keeps the items whose key is certified for their member; the others are the broker's invention.
func (w *worker) readPeers(items []protocol.PeerItem) (map[crypto.PublicKey]peer, error) {
	list := make(map[crypto.PublicKey]peer)
	for _, item := range items {
		key, err := crypto.ParsePublicKey(item.Pubkey)
		if err != nil {
			continue
		}
		if err := w.takeSession(item.Session); err != nil {
			return nil, err
		}
		s := w.m.trust.Session(key)
		if s == nil || s.Body.(*protocol.Session).Member.String() != item.MemberPubkey {
			continue
		}
		list[key] = peer{item: item, card: w.m.openCard(key, item.Card)}
	}
	return list, nil
}

// openCard opens the card of a session; nil where there is none for us.
func (m *Mesh) openCard(of crypto.PublicKey, sealed *protocol.Sealed) *protocol.Card {
	if sealed == nil || sealed.Key == "" {
		return nil
	}
	msg, err := m.opener().Open(sealed.Incoming())
	if err != nil || msg.From() != of || msg.Trust() != protocol.TrustVerified { // what others say of themselves is for nobody
		m.log.Debug("card rejected", "peer", of.Short(), "err", err)
		return nil
	}
	card, err := msg.Card()
	if err != nil {
		return nil
	}
	return card
}

// tellPeers makes the events of sessions that came and left, our own left out.
func (m *Mesh) tellPeers(came, left []peer) {
	for _, news := range []struct {
		kind  string
		peers []peer
	}{{inbox.EventPeerJoined, came}, {inbox.EventPeerLeft, left}} {
		for _, p := range news.peers {
			if info, ok := m.peerInfo(p); ok && p.item.PeerRole == protocol.RoleSession && !info.Self {
				m.tellPeer(news.kind, &info)
			}
		}
	}
}

// peerEventsPerHour is how often in an hour it is told that a session of one person came or left. A person at work stays far below.
// Beyond it they would push out the events of everybody else.
const peerEventsPerHour = 120

// tellPeer makes the event of one session. The control connection's worker calls it.
func (m *Mesh) tellPeer(kind string, info *protocol.PeerInfo) {
	member, err := crypto.ParsePublicKey(info.MemberPubkey)
	if err != nil {
		return
	}
	switch n := m.comings.add(m.person(member), m.env.now()); {
	case n <= peerEventsPerHour:
		m.env.Events.Emit(protocol.Event{Type: kind, Mesh: m.Slug(), Peer: info}, inbox.EventOptions{})
	case n == peerEventsPerHour+1:
		m.notice("sessions of " + info.Name + " in " + m.Slug() + " come and go so often that this hour tells no more of them; claudemesh peers shows who is there")
	}
}

// Peers lists the live sessions, and members that are connected without one.
func (m *Mesh) Peers() []protocol.PeerInfo {
	all := []protocol.PeerInfo{}
	list := m.who.list()
	withSession := make(map[string]bool)
	for _, p := range list {
		if p.item.PeerRole == protocol.RoleSession {
			withSession[p.item.MemberPubkey] = true
		}
	}
	for _, p := range list {
		if p.item.PeerRole == protocol.RoleControl && withSession[p.item.MemberPubkey] {
			continue
		}
		if info, ok := m.peerInfo(p); ok && (info.Self || info.Trust != protocol.TrustUnverified) { // the broker lists whom it likes
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b protocol.PeerInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return all
}

// peerInfo is a peer as shown: who it is from statements, what it says of itself from its card, whether it is busy from
// the broker.
func (m *Mesh) peerInfo(p peer) (protocol.PeerInfo, bool) {
	key, err := crypto.ParsePublicKey(p.item.Pubkey)
	if err != nil {
		return protocol.PeerInfo{}, false
	}
	statement := m.trust.Session(key)
	if statement == nil {
		return protocol.PeerInfo{}, false
	}
	s := statement.Body.(*protocol.Session)
	info := protocol.PeerInfo{
		Mesh: m.Slug(), Name: m.CallName(s.Member), Pubkey: key.String(), MemberPubkey: s.Member.String(),
		SessionID: brokerWord(p.item.SessionID), Status: brokerWord(p.item.Status),
		PeerType: brokerWord(p.item.PeerType), Channel: brokerWord(p.item.Channel), ConnectedAt: brokerWord(p.item.ConnectedAt),
		Trust: m.trust.Trust(s.Member), InPerson: m.trust.MetInPerson(s.Member), Self: s.Member == m.self,
	}
	info.Groups = append([]string{}, s.Groups...)
	if of := m.trust.Session(s.Member); of != nil && key != s.Member { // what the member is in every session of his is
		info.Groups = MergeGroups(info.Groups, of.Body.(*protocol.Session).Groups, nil)
	}
	info.Presence = protocol.PresenceSession
	if key != s.Member {
		info.Session = s.Label
	} else if p.item.PeerRole == protocol.RoleControl { // its status would be nobody's
		info.Presence, info.Status = protocol.PresenceNoSession, protocol.PresenceNoSession
	}
	if own, _ := m.ring.Session(key); own != nil {
		info.Summary, info.Cwd, info.Hostname, info.Model = own.Summary, own.Cwd, own.Host, own.Model
	} else if p.card != nil && info.Trust == protocol.TrustVerified { // who was removed since is silent
		info.Summary, info.Cwd = protocol.Neutralize(p.card.Summary), protocol.Neutralize(p.card.Cwd)
		info.Hostname, info.Model = protocol.Neutralize(p.card.Host), protocol.Neutralize(p.card.Model)
	}
	return info, true
}
