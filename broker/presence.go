package broker

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// presence is one connection as others see it. It outlives the connection by the lease, so that a blip is invisible; it is
// guarded by the mesh's mutex.
type presence struct {
	session *protocol.Statement // whose key, member and groups are those of the connection
	shown   shown
	card    *protocol.SetCard // sealed by the key of the connection
	conn    *conn             // nil while the lease runs
	until   *time.Timer       // ends the lease
}

// shown is what others see of a connection beside its session statement, which is signed anew at every connect and says the same.
type shown struct {
	name, status, sessionID, peerType, channel string
	since                                      int64 // Unix ms
}

// appearLocked makes or renews the presence of a connection that was just admitted. Others hear of it only if it is new or
// changed.
func (m *mesh) appearLocked(c *conn, h protocol.Hello, session *protocol.Statement) {
	p, back := m.presences[c.key]
	if !back {
		m.trimPresencesLocked(c.member)
		p = &presence{}
		m.presences[c.key] = p
	}
	if p.until != nil {
		p.until.Stop()
		p.until = nil
	}
	now := shown{
		name: m.nameLocked(c.member), status: statusOr(h.Status), sessionID: protocol.Cut(h.SessionID, maxShownWord),
		peerType: protocol.Cut(h.PeerType, maxShownWord), channel: protocol.Cut(h.Channel, maxShownWord),
		since: m.srv.now().UnixMilli(),
	}
	if p.session != nil {
		now.since = p.shown.since
	}
	changed := p.session == nil || now != p.shown || !slices.Equal(groupsOf(p.session), groupsOf(session))
	p.shown, p.session, p.conn = now, session, c
	if changed {
		m.presenceChangedLocked(c.key)
	}
	if !back {
		m.personChangedLocked(c.member.key)
	}
}

func groupsOf(session *protocol.Statement) []string { return session.Body.(*protocol.Session).Groups }

// item describes the connection, without card and statement.
func (p *presence) item() protocol.PeerItem {
	s := p.session.Body.(*protocol.Session)
	item := protocol.PeerItem{
		Pubkey: s.Session.String(), MemberPubkey: s.Member.String(), DisplayName: p.shown.name, Status: p.shown.status,
		SessionID: p.shown.sessionID, PeerRole: protocol.RoleSession, ConnectedAt: timeText(p.shown.since),
		PeerType: p.shown.peerType, Channel: p.shown.channel, Groups: append([]string{}, s.Groups...),
	}
	if s.Session == s.Member {
		item.PeerRole = protocol.RoleControl
	}
	return item
}

func statusOr(s string) string {
	switch s {
	case protocol.StatusWorking, protocol.StatusWaiting, protocol.StatusDND:
		return s
	}
	return protocol.StatusIdle
}

// disappearLocked begins the lease of a connection that ended, or ends its presence: a session that said goodbye is gone,
// and so is whoever was sent away for good.
func (m *mesh) disappearLocked(c *conn, e ending) {
	p := m.presences[c.key]
	if p == nil || p.conn != c {
		return
	}
	p.conn = nil
	final := e.clean
	switch e.reason {
	case endRevoked, endKicked, endNotMember:
		final = true
	}
	if final {
		m.vanishLocked(c.key)
		return
	}
	p.until = time.AfterFunc(c.leaseLeft(), func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.presences[c.key] == p && p.conn == nil {
			m.vanishLocked(c.key)
		}
	})
}

func (m *mesh) vanishLocked(key crypto.PublicKey) {
	delete(m.presences, key)
	m.presenceChangedLocked(key)
	if a := m.addresses[key]; a != nil {
		m.personChangedLocked(a.member.key)
	}
}

// presenceOf tells what is known of these connections now, and which of them are gone.
func (m *mesh) presenceOf(c *conn, keys []crypto.PublicKey) (peers []protocol.PeerItem, left []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		if p, ok := m.presences[k]; ok {
			peers = append(peers, p.itemFor(c.member.key))
		} else {
			left = append(left, k.String())
		}
	}
	return peers, left
}

// itemFor is the item as reader sees it: with the session statement, and with the card if it was wrapped for him.
func (p *presence) itemFor(reader crypto.PublicKey) protocol.PeerItem {
	item := p.item()
	item.Session = p.session.Text()
	if p.card == nil {
		return item
	}
	if wrap, ok := p.card.Keys[reader.String()]; ok {
		item.Card = &protocol.Sealed{Sender: item.Pubkey, Nonce: p.card.Nonce, Ciphertext: p.card.Ciphertext, Key: wrap}
	}
	return item
}

// handleListPeers answers with all presences, leases included. Those that do not fit the answer are pushed as presence to a
// control connection.
func (c *conn) handleListPeers(tag protocol.Tag, _ []byte) error {
	m := c.mesh
	var rest []crypto.PublicKey
	size := 0
	m.mu.Lock()
	peers := make([]protocol.PeerItem, 0, len(m.presences))
	for k, p := range m.presences {
		item := p.itemFor(c.member.key)
		if size += sizeOfPeer(item); size > m.srv.limits.ListBytes {
			rest = append(rest, k)
			continue
		}
		peers = append(peers, item)
	}
	m.mu.Unlock()
	slices.SortFunc(peers, func(a, b protocol.PeerItem) int {
		return cmp.Or(cmp.Compare(a.ConnectedAt, b.ConnectedAt), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	c.reply(protocol.PeersList{Tag: protocol.Tag{Type: protocol.TypePeersList, ReqID: tag.ReqID}, Peers: peers})
	if len(rest) > 0 {
		c.owe(func(o *owed) { o.presences = rest })
	}
	return nil
}

// peerSize is what an item has as JSON without what its member chose.
const peerSize = 1 << 10

// handleSetStatus changes the status that others see of this connection.
func (c *conn) handleSetStatus(tag protocol.Tag, frame []byte) error {
	var f protocol.SetStatus
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	switch f.Status {
	case protocol.StatusIdle, protocol.StatusWorking, protocol.StatusWaiting, protocol.StatusDND:
	default:
		return protocol.Refuse(protocol.CodeInvalid, "status is idle, working, waiting or dnd")
	}
	c.changePresence(func(p *presence) bool {
		changed := p.shown.status != f.Status
		p.shown.status = f.Status
		return changed
	})
	c.ok(tag)
	return nil
}

// maxCardCiphertext holds a card of 4 KiB with its header, its attestation and its signature, in base64.
const maxCardCiphertext = 12 << 10

// handleSetCard replaces the sealed card of this connection.
func (c *conn) handleSetCard(tag protocol.Tag, frame []byte) error {
	var f protocol.SetCard
	if err := json.Unmarshal(frame, &f); err != nil {
		return errShape(tag)
	}
	if !validNonce([]byte(f.Nonce)) || !validBase64([]byte(f.Ciphertext)) || len(f.Ciphertext) > maxCardCiphertext || len(f.Keys) > protocol.MaxKeys {
		return protocol.Refuse(protocol.CodeInvalid, "a card is a group envelope of at most %d bytes", maxCardCiphertext)
	}
	for _, wrap := range f.Keys {
		if len(wrap) != wrapSize || !validBase64([]byte(wrap)) {
			return protocol.Refuse(protocol.CodeInvalid, "a wrap has %d characters of base64", wrapSize)
		}
	}
	now := time.Now()
	if wait := c.cardNext.Sub(now); wait > 0 {
		return protocol.Refuse(protocol.CodeRateLimit, "one card in %s", c.srv.limits.CardEvery).RetryAfter(wait)
	}
	c.cardNext = now.Add(c.srv.limits.CardEvery)
	f.Tag = protocol.Tag{}
	c.changePresence(func(p *presence) bool { p.card = &f; return true })
	c.ok(tag)
	return nil
}

// changePresence changes the presence of this connection and tells the others if change says so.
func (c *conn) changePresence(change func(p *presence) bool) {
	m := c.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.presences[c.key]; p != nil && p.conn == c && change(p) {
		m.presenceChangedLocked(c.key)
	}
}
