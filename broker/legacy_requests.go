package broker

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// legacyFields are the fields of the requests that original clients send, of all together.
type legacyFields struct {
	protocol.Tag
	Status    string          `json:"status"`
	Summary   string          `json:"summary"`
	Visible   *bool           `json:"visible"`
	Name      string          `json:"name"`
	Role      string          `json:"role"`
	Stats     json.RawMessage `json:"stats"`
	Avatar    *string         `json:"avatar"`
	Title     *string         `json:"title"`
	Bio       *string         `json:"bio"`
	Caps      *[]string       `json:"capabilities"`
	MessageID string          `json:"messageId"`
	ClientID  string          `json:"clientMessageId"`
	BrokerID  string          `json:"brokerMessageId"`
	Key       string          `json:"key"`
	ID        string          `json:"id"`
	Label     string          `json:"label"`
	Topics    []string        `json:"topicScopes"`
	ExpiresAt string          `json:"expiresAt"`
}

// legacyVerbs are the requests of original clients that this broker answers as the original does, send and client_ack aside.
var legacyVerbs = map[string]func(c *conn, f *legacyFields) error{
	"list_peers":     (*conn).legacyListPeers,
	"set_status":     (*conn).legacySetStatus,
	"set_summary":    (*conn).legacySetSummary,
	"set_visible":    (*conn).legacySetVisible,
	"set_profile":    (*conn).legacySetProfile,
	"set_stats":      (*conn).legacySetStats,
	"join_group":     (*conn).legacyJoinGroup,
	"leave_group":    (*conn).legacyLeaveGroup,
	"message_status": (*conn).legacyMessageStatus,
	"list_bans":      (*conn).legacyListBans,
	"kick":           (*conn).legacyForbidden,
	"disconnect":     (*conn).legacyForbidden,
	"ban":            (*conn).legacyForbidden,
	"unban":          (*conn).legacyForbidden,
	"apikey_list":    (*conn).legacyListKeys,
	"apikey_revoke":  (*conn).legacyRevokeKey,
	"apikey_create":  (*conn).legacyCreateKey,
	"hello":          (*conn).legacyAgain,
	"session_hello":  (*conn).legacyAgain,
}

// handleLegacy answers one frame of an original client. Only readLoop calls it.
func (c *conn) handleLegacy(typ string, frame []byte) {
	if typ == protocol.TypeSend {
		c.handleLegacySend(frame)
		return
	}
	f := legacyFields{Tag: tagOf(frame, typ)}
	err := c.member.takeToken()
	if err == nil && json.Unmarshal(frame, &f) != nil {
		err = errShape(f.Tag)
	}
	f.Type = typ
	switch {
	case err != nil:
	case typ == protocol.TypeClientAck:
		err = c.legacyClientAck(&f)
	case legacyVerbs[typ] != nil:
		err = legacyVerbs[typ](c, &f)
	default:
		err = protocol.Refuse(protocol.CodeNotSupported, "this broker does not have %s", plainWord(typ, maxLegacyWord))
	}
	if err != nil {
		c.refuse(f.Tag, err)
	}
	if protocol.CodeOf(err) == protocol.CodeNotSupported {
		c.legacyNothing(&f)
	}
}

// legacyNothing answers, beside the error, those who do not read errors and would wait for an answer of its own type: the
// daemon of 1.37 and the SDK.
func (c *conn) legacyNothing(f *legacyFields) {
	if k := c.legacy.kind; k != legacyDaemon && k != legacyService {
		return
	}
	answer := func(typ string, fields map[string]any) {
		fields["type"] = typ
		if f.ReqID != "" {
			fields["_reqId"] = f.ReqID
		}
		c.reply(fields)
	}
	none := []string{}
	switch f.Type {
	case "get_state":
		answer("state_result", map[string]any{"key": f.Key, "value": nil, "updatedBy": "", "updatedAt": ""})
		answer("state_value", map[string]any{"state": nil})
	case "list_state":
		answer("state_list", map[string]any{"entries": none})
	case "recall":
		answer("memory_results", map[string]any{"memories": none})
		answer("memory_recall_result", map[string]any{"matches": none})
	case "remember": // without an id nothing was kept, and the daemon says so
		answer("memory_stored", map[string]any{"memoryId": nil})
	case "list_skills":
		answer("skill_list", map[string]any{"skills": none})
	case "get_skill":
		answer("skill_data", map[string]any{"skill": nil})
	case "topic_list":
		answer("topic_list_response", map[string]any{"topics": none})
	}
}

func (c *conn) legacyAgain(*legacyFields) error {
	return protocol.Refuse(protocol.CodeInvalid, "this connection said hello already")
}

// legacyForbidden refuses what is for the owner and admins, with the original's words. No key of theirs is on such a connection:
// v1 links admit members only, and a key that the owner certifies says hello with a signed statement or not at all.
func (c *conn) legacyForbidden(f *legacyFields) error {
	return protocol.Refuse(protocol.CodeForbidden, "only owner or admin can %s", f.Type)
}

// legacyClientAck forgets pushes that the daemon of 1.37 or one of its sessions has.
func (c *conn) legacyClientAck(f *legacyFields) error {
	id := f.BrokerID
	if id == "" {
		id = string(c.pushedAs(f.ClientID))
	}
	return c.clientAck(&protocol.ClientAckView{BrokerMessageID: []byte(id)})
}

// pushedAs finds the message id of a push that is out by its client's id; nil if there is none.
func (c *conn) pushedAs(clientID string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pushes.out.rows {
		if row, err := parseMessageRow(p.row); p.feed != nil && err == nil && string(row.clientID) == clientID {
			return p.id()
		}
	}
	return nil
}

func (c *conn) legacyListPeers(f *legacyFields) error {
	m := c.mesh
	m.mu.Lock()
	peers := m.legacyPeersLocked(c.legacy.slot)
	m.mu.Unlock()
	size := 0
	for i := range peers {
		if size += peerSize + len(peers[i].Stats) + len(peers[i].Cwd); size > m.srv.limits.ListBytes {
			peers = peers[:i]
			break
		}
	}
	c.reply(legacyPeers{Tag: protocol.Tag{Type: protocol.TypePeersList, ReqID: f.ReqID}, Peers: peers})
	return nil
}

// legacyChange changes the slot that the connection speaks for and shows the change. A command speaks for the session in which
// it was typed, which has the same session id: its own presence is gone in a second.
func (c *conn) legacyChange(change func(s *slot)) {
	m := c.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	s := c.legacy.slot
	if c.legacy.kind == legacyCommand {
		for _, other := range c.member.original.slots {
			if other.kind != legacyCommand && other.item.SessionID != "" && other.item.SessionID == s.item.SessionID {
				s = other
			}
		}
	}
	change(s)
	m.legacyShownLocked(c.member, s.key)
}

func (c *conn) legacySetStatus(f *legacyFields) error {
	switch f.Status {
	case protocol.StatusIdle, protocol.StatusWorking, protocol.StatusDND:
	default:
		return protocol.Refuse(protocol.CodeInvalid, "status is idle, working or dnd")
	}
	c.legacyChange(func(s *slot) { s.setStatus(f.Status) })
	return nil
}

// setStatus is called with the mesh's mutex held.
func (s *slot) setStatus(status string) {
	s.item.Status = status
	if s.conn != nil {
		s.conn.legacy.busy.Store(status != protocol.StatusIdle)
		s.conn.repush()
	}
}

// repush has the writer look at all queues again: more may go out now.
func (c *conn) repush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.pushes.feeds {
		f.ready.Store(true)
	}
	c.nudge()
}

func (c *conn) legacySetSummary(f *legacyFields) error {
	if len(f.Summary) > maxLegacyText {
		return protocol.Refuse(protocol.CodePayloadTooLarge, "a summary is at most %d bytes", maxLegacyText)
	}
	c.legacyChange(func(s *slot) { s.summary = f.Summary })
	return nil
}

func (c *conn) legacySetStats(f *legacyFields) error {
	if len(f.Stats) > maxLegacyPath || !json.Valid(f.Stats) {
		return protocol.Refuse(protocol.CodeInvalid, "stats are an object of numbers")
	}
	stats := slices.Clone(f.Stats)
	c.legacyChange(func(s *slot) { s.stats = stats })
	return nil
}

// legacyAcked answers set_visible and set_profile.
func (c *conn) legacyAcked(f *legacyFields) {
	c.reply(legacyAck{Tag: protocol.Tag{Type: protocol.TypeAck, ReqID: f.ReqID}, ID: f.ReqID})
}

// legacyKeep changes what is kept of the member, and shows it on all his slots.
func (c *conn) legacyKeep(change func(o *original)) error {
	m, p := c.mesh, c.member
	m.mu.Lock()
	change(p.original)
	for _, s := range p.original.slots {
		s.item.Visible, s.item.Groups = !p.original.Hidden, append([]protocol.Group{}, p.original.Groups...)
		m.legacyShownLocked(p, s.key)
	}
	m.mu.Unlock()
	return m.saveOriginal(p)
}

func (c *conn) legacySetVisible(f *legacyFields) error {
	if f.Visible == nil {
		return protocol.Refuse(protocol.CodeInvalid, "visible is true or false")
	}
	if err := c.legacyKeep(func(o *original) { o.Hidden = !*f.Visible }); err != nil {
		return err
	}
	c.legacyAcked(f)
	return nil
}

func (c *conn) legacySetProfile(f *legacyFields) error {
	err := c.legacyKeep(func(o *original) {
		for _, v := range []struct{ from, to *string }{{f.Avatar, &o.Profile.Avatar}, {f.Title, &o.Profile.Title}, {f.Bio, &o.Profile.Bio}} {
			if v.from != nil {
				*v.to = plainWord(*v.from, maxLegacyPath)
			}
		}
		if f.Caps != nil {
			o.Profile.Capabilities = nil
			for _, word := range (*f.Caps)[:min(len(*f.Caps), maxLegacyGroups)] {
				o.Profile.Capabilities = append(o.Profile.Capabilities, plainWord(word, maxLegacyWord))
			}
		}
	})
	if err != nil {
		return err
	}
	c.legacyAcked(f)
	return nil
}

func (c *conn) legacyJoinGroup(f *legacyFields) error {
	name := strings.TrimPrefix(f.Name, "@")
	if !protocol.ValidGroup(name) {
		return protocol.Refuse(protocol.CodeInvalid, "a group is named by lower-case letters, digits and . _ / -")
	}
	return c.legacyKeep(func(o *original) {
		groups := withoutGroup(o.Groups, name)
		if len(groups) < maxLegacyGroups {
			o.Groups = append(groups, protocol.Group{Name: name, Role: plainWord(f.Role, maxLegacyWord)})
		}
	})
}

func (c *conn) legacyLeaveGroup(f *legacyFields) error {
	return c.legacyKeep(func(o *original) { o.Groups = withoutGroup(o.Groups, strings.TrimPrefix(f.Name, "@")) })
}

// withoutGroup returns a copy: readers hold the old one.
func withoutGroup(groups []protocol.Group, name string) []protocol.Group {
	return slices.DeleteFunc(slices.Clone(groups), func(g protocol.Group) bool { return g.Name == name })
}

type legacyMessageState struct {
	protocol.Tag
	MessageID   string            `json:"messageId"`
	Target      string            `json:"targetSpec"`
	Delivered   bool              `json:"delivered"`
	DeliveredAt *string           `json:"deliveredAt"`
	Recipients  []legacyRecipient `json:"recipients"`
}

type legacyRecipient struct {
	Name   string `json:"name"`
	Pubkey string `json:"pubkey"`
	Status string `json:"status"` // delivered, held or disconnected
}

// legacyMessageStatus tells of a message of the asker's own, in the original's words.
func (c *conn) legacyMessageStatus(f *legacyFields) error {
	if len(f.MessageID) < minIDPrefix || len(f.MessageID) > 32 {
		return protocol.Refuse(codeBadArgument, "a message id has 8 to 32 characters of base62")
	}
	m := c.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := c.member.recent.find(f.MessageID)
	switch protocol.CodeOf(err) {
	case "":
	case protocol.CodeAmbiguous:
		return protocol.Refuse(codeBadPrefix, "%s", err)
	default:
		return err
	}
	answer := legacyMessageState{
		Tag: protocol.Tag{Type: protocol.TypeMessageState, ReqID: f.ReqID}, MessageID: f.MessageID, Target: c.member.recent.target(s), Delivered: true,
		Recipients: []legacyRecipient{},
	}
	var last int64
	for _, r := range c.member.recent.recipients(s) {
		to := legacyRecipient{Name: m.nameOfLocked(r.to), Pubkey: r.to.String(), Status: "disconnected"}
		if a := m.addresses[r.to]; a != nil && m.onlineLocked(a.member) {
			to.Status = "held"
		}
		delivered := r.state.state() == protocol.StateDelivered
		if delivered {
			to.Status, last = "delivered", max(last, r.at)
		}
		answer.Delivered = answer.Delivered && delivered
		answer.Recipients = append(answer.Recipients, to)
	}
	if answer.Delivered && last > 0 {
		answer.DeliveredAt = new(timeText(last))
	}
	c.reply(answer)
	return nil
}

// legacyListBans lists the keys that statements removed.
func (c *conn) legacyListBans(f *legacyFields) error {
	type ban struct {
		Name      string `json:"name"`
		Pubkey    string `json:"pubkey"`
		RevokedAt string `json:"revokedAt"`
	}
	m := c.mesh
	bans := []ban{}
	m.mu.Lock()
	for _, st := range m.log {
		if st == nil {
			continue
		}
		r, ok := st.Body.(*protocol.Revoke)
		if !ok || r.Kind != protocol.RevokeKey || !m.view.InForce(st.ID) {
			continue
		}
		b := ban{Name: r.Target.Short(), Pubkey: r.Target.String(), RevokedAt: timeText(r.At * 1000)}
		if p := m.members[r.Target]; p != nil && m.nameLocked(p) != "" {
			b.Name = m.nameLocked(p)
		}
		bans = append(bans, b)
	}
	m.mu.Unlock()
	c.reply(struct {
		protocol.Tag
		Bans []ban `json:"bans"`
	}{protocol.Tag{Type: "list_bans_result", ReqID: f.ReqID}, bans})
	return nil
}
