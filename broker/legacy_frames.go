package broker

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// The frames of the original, in its shapes.

type legacyAckFrame struct {
	protocol.Tag
	PresenceID  string               `json:"presenceId"`
	DisplayName string               `json:"memberDisplayName"`
	Profile     legacyMemberProfile  `json:"memberProfile"`
	Policy      map[string]any       `json:"meshPolicy"`
	Restored    bool                 `json:"restored,omitempty"`
	Groups      []protocol.Group     `json:"restoredGroups,omitempty"`
	Services    *[]map[string]string `json:"services,omitempty"` // plain hello only
}

type legacyMemberProfile struct {
	RoleTag     *string          `json:"roleTag"`
	Groups      []protocol.Group `json:"groups"`
	MessageMode string           `json:"messageMode"`
}

func legacyHelloAck(tag protocol.Tag, s *slot, o *original) legacyAckFrame {
	ack := legacyAckFrame{
		Tag: protocol.Tag{Type: protocol.TypeHelloAck, ReqID: tag.ReqID}, PresenceID: s.id, DisplayName: s.item.DisplayName,
		Profile: legacyMemberProfile{Groups: []protocol.Group{}, MessageMode: "push"},
		Policy:  map[string]any{"selfEditable": map[string]bool{"groups": true, "roleTag": false, "displayName": true, "messageMode": false}},
	}
	if s.kind != legacySession {
		ack.Services = new([]map[string]string{})
		ack.Restored, ack.Groups = len(o.Groups) > 0, slices.Clone(o.Groups)
	}
	return ack
}

// legacyAck answers send, set_visible and set_profile.
type legacyAck struct {
	protocol.Tag
	ID        string `json:"id"`
	MessageID string `json:"messageId"`
	Queued    bool   `json:"queued"`
	Error     string `json:"error,omitempty"`
}

// legacyPush is a message, or news.
type legacyPush struct {
	protocol.Tag
	Subtype         string         `json:"subtype,omitempty"`
	Event           string         `json:"event,omitempty"`
	EventData       map[string]any `json:"eventData,omitempty"`
	MessageID       string         `json:"messageId"`
	MeshID          string         `json:"meshId"`
	Sender          string         `json:"senderPubkey"`
	SenderMember    string         `json:"senderMemberPubkey,omitempty"`
	SenderID        string         `json:"senderMemberId,omitempty"`
	SenderName      string         `json:"senderName,omitempty"`
	Priority        string         `json:"priority"`
	Nonce           string         `json:"nonce"`
	Ciphertext      string         `json:"ciphertext"`
	CreatedAt       string         `json:"createdAt"`
	ClientMessageID string         `json:"client_message_id,omitempty"`
	ReplyTo         string         `json:"replyToId,omitempty"`
}

// frameFor is mesh.frameOf in the shape that the client of the connection reads.
func (c *conn) frameFor(b []byte, r *queue.Row) (id, frame []byte, err error) {
	if c.legacy == nil {
		return c.mesh.frameOf(b, r)
	}
	row, err := parseMessageRow(r.Header)
	if err == nil && (len(r.Body) < nonceSize || len(row.target) == 0) {
		err = errRow(r.Body)
	}
	if err != nil {
		return nil, nil, err
	}
	push, err := c.legacyFrame(&row, r.Body)
	return row.messageID, append(b, push...), err
}

// legacyFrame is the push of a row to an original client.
func (c *conn) legacyFrame(row *messageRow, body []byte) ([]byte, error) {
	many := row.target[0] == '*' || row.target[0] == '@'
	p := legacyPush{
		Tag: protocol.Tag{Type: protocol.TypePush}, MessageID: string(row.messageID), MeshID: string(c.mesh.id), Sender: row.sender.String(),
		SenderName: string(row.name), Priority: priorities[row.class], Nonce: string(body[:nonceSize]), Ciphertext: string(body[nonceSize:]),
		CreatedAt: timeText(row.created), ClientMessageID: string(row.clientID),
	}
	if row.member != c.member.key { // the daemon drops what seems to come from its own member
		p.SenderMember, p.SenderID = row.member.String(), protocol.MemberID(c.mesh.id, row.member)
	}
	if many && c.legacy.kind.wantsNoSender() {
		p.Sender = ""
	}
	return json.Marshal(p)
}

// takes reports whether rows of that class are pushed now.
func (l *legacyConn) takes(class queue.Class) bool {
	return class == queue.Now || l.kind.acknowledges() || !l.busy.Load()
}

const (
	eventJoined = "peer_joined"
	eventLeft   = "peer_left"
)

// tellOriginalsLocked sends news of a peer to the original clients of other members that understand it. 1.37's commands read
// displayName, its daemon reads name.
func (m *mesh) tellOriginalsLocked(event, name string, key, of crypto.PublicKey, groups []protocol.Group) {
	var frame *legacyPush
	for c := range m.conns {
		if c.legacy == nil || !c.legacy.kind.readsNews() || c.member.key == of {
			continue
		}
		if frame == nil {
			data := map[string]any{"name": name, "displayName": name, "pubkey": key.String()}
			if event == eventJoined {
				data["groups"] = append([]protocol.Group{}, groups...)
			}
			frame = &legacyPush{
				Tag: protocol.Tag{Type: protocol.TypePush}, Subtype: "system", Event: event, EventData: data, MessageID: newUUID(),
				MeshID: string(m.id), Sender: "system", Priority: protocol.PriorityLow, CreatedAt: timeText(m.srv.now().UnixMilli()),
			}
		}
		c.reply(frame)
	}
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// legacyPeer is an item of peers_list for original clients.
type legacyPeer struct {
	protocol.PeerItem
	Stats   json.RawMessage `json:"stats,omitempty"`
	Profile *legacyProfile  `json:"profile,omitempty"`
}

type legacyPeers struct {
	protocol.Tag
	Peers []legacyPeer `json:"peers"`
}

// legacyPeersLocked lists who is there as original clients see it: every slot that is no command's, the asker's own included,
// and our members by name and their sessions by name/label.
func (m *mesh) legacyPeersLocked(asker *slot) []legacyPeer {
	peers := []legacyPeer{}
	for key, p := range m.presences {
		a := m.addresses[key]
		if p.slot != nil || a == nil {
			continue
		}
		item := p.item()
		item.PeerRole = protocol.RoleSession
		if st := a.member.sessions.get(key); st != nil && key != a.member.key {
			item.DisplayName += "/" + st.Body.(*protocol.Session).Label
		}
		peers = append(peers, legacyPeer{PeerItem: item})
	}
	for _, p := range m.members {
		if p.original == nil {
			continue
		}
		for _, s := range p.original.slots {
			if s != asker && (s.kind == legacyCommand || p.original.Hidden && p != asker.member) {
				continue
			}
			item := legacyPeer{PeerItem: s.item, Stats: s.stats}
			item.Legacy = false
			if s.summary != "" {
				item.Summary = new(s.summary)
			}
			if !p.original.Profile.empty() {
				item.Profile = new(p.original.Profile)
			}
			peers = append(peers, item)
		}
	}
	slices.SortFunc(peers, func(a, b legacyPeer) int {
		return cmp.Or(cmp.Compare(a.ConnectedAt, b.ConnectedAt), cmp.Compare(a.Pubkey, b.Pubkey))
	})
	return peers
}
