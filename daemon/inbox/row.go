package inbox

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Row is one received message, or an alarm, on disk. Rows are kept in the order of their arrival, over all meshes.
type Row struct {
	Mesh      protocol.MeshID  `json:"mesh"`
	Own       crypto.PublicKey `json:"own"`               // our key that it is for
	Member    bool             `json:"member"`            // Own is the member key: every session may see it but the one that sent it
	Several   bool             `json:"several,omitempty"` // for a group or everybody
	ToSession string           `json:"to_session,omitempty"`
	From      crypto.PublicKey `json:"from"` // of an alarm: what it claims
	Name      string           `json:"name"` // the sender's, as we called him when it came
	ID        string           `json:"id"`
	MessageID string           `json:"message_id"`
	Message   []byte           `json:"-"`               // protocol.Message; none in an alarm; see PutRow
	Share     []byte           `json:"share,omitempty"` // key in table.Shares that it counts for while nobody saw it; none of an alarm
	Received  int64            `json:"received"`        // Unix ms
	Read      int64            `json:"read,omitempty"`  // when a person marked or answered it, Unix ms
	Seen      []Sight          `json:"seen,omitempty"`  // by sessions, in the order of seeing
	Held      string           `json:"held,omitempty"`
	Alarm     string           `json:"alarm,omitempty"`
	Flags     []string         `json:"flags,omitempty"`

	damaged bool // it stands for a row that cannot be decoded, and is never stored
}

// Sight is what one session has seen of a message. Times are Unix ms.
type Sight struct {
	Label string           `json:"label"`
	Key   crypto.PublicKey `json:"key"`
	Rung  string           `json:"rung,omitempty"`  // how it was shown
	Shown int64            `json:"shown,omitempty"` // when that was proved
	Read  int64            `json:"read,omitempty"`  // when the session answered it or marked it as read
}

// Viewer is the session that asks for mail. Nil stands for the person, who may see everything.
type Viewer struct {
	ID    string
	Key   crypto.PublicKey
	Label string                                        // the label
	Heir  func(own crypto.PublicKey, label string) bool // reports whether the mail of an ended session is this one's now
}

// ids are what the row can be asked for by.
func (r *Row) ids() []string {
	if r.ID == "" {
		return []string{r.MessageID}
	}
	return []string{r.ID, r.MessageID}
}

// Visible reports whether v may see the row.
func (r *Row) Visible(v *Viewer) bool {
	switch {
	case v == nil, r.Own == v.Key:
		return true
	case r.Member:
		return r.From != v.Key
	}
	return v.Heir(r.Own, r.ToSession)
}

// wanted reports whether a query selects the row.
func (r *Row) wanted(q protocol.InboxQuery, v *Viewer) bool {
	switch {
	case q.All:
		return true
	case r.Read != 0:
		return false
	case q.Unseen, v == nil && !q.Unread:
		return true
	}
	return !r.seenFor(v)
}

// seenFor reports whether a session need not see the row any more: it has, or, where one of the member's sessions is
// enough, another one has. For the person every session counts.
func (r *Row) seenFor(v *Viewer) bool {
	if v == nil || !r.Several {
		return len(r.Seen) > 0
	}
	return slices.ContainsFunc(r.Seen, func(s Sight) bool { return s.Key == v.Key })
}

// Counts reports whether the row takes room of its sender's.
func (r *Row) Counts() bool { return len(r.Share) > 0 && r.Read == 0 && len(r.Seen) == 0 }

// Size is what the row counts.
func (r *Row) Size() int { return RowBytes + len(r.Message) }

// sightOf returns the entry of a session, which it adds where there is none.
func (r *Row) sightOf(label string, key crypto.PublicKey) *Sight {
	for i := range r.Seen {
		if r.Seen[i].Key == key {
			return &r.Seen[i]
		}
	}
	r.Seen = append(r.Seen, Sight{Label: label, Key: key})
	return &r.Seen[len(r.Seen)-1]
}

// show notes that the row was shown to a session. The state is what that makes known to the sender, empty for no news.
func (r *Row) show(label string, key crypto.PublicKey, rung string, now int64) (changed bool, state protocol.State) {
	first := r.Read == 0 && len(r.Seen) == 0
	s := r.sightOf(label, key)
	if s.Shown != 0 {
		return false, ""
	}
	s.Shown, s.Rung = now, rung
	if first {
		state = protocol.StateShown
	}
	return true, state
}

// read notes that v read the row.
func (r *Row) read(v *Viewer, now int64) (changed bool, state protocol.State) {
	first := r.Read == 0 && !slices.ContainsFunc(r.Seen, func(s Sight) bool { return s.Read != 0 })
	at := &r.Read
	if v != nil {
		at = &r.sightOf(v.Label, v.Key).Read
	}
	if *at != 0 {
		return false, ""
	}
	*at = now
	if first {
		state = protocol.StateRead
	}
	return true, state
}

// tellSights fills in who saw the message.
func (r *Row) tellSights(out *protocol.InboxMessage) {
	out.Unseen, out.SeenBy = r.Read == 0, []protocol.SeenBy{}
	var shown, read int64
	for _, s := range r.Seen {
		by := protocol.SeenBy{By: protocol.SeenBySession, Session: s.Label, SessionPubkey: s.Key.String(), State: protocol.StateShown, Rung: s.Rung, At: unixTime(s.Shown)}
		if shown == 0 && s.Shown != 0 {
			shown, out.ShownBy = s.Shown, s.Label
		}
		if s.Read != 0 {
			by.State, by.At = protocol.StateRead, unixTime(s.Read)
			read = earliest(read, s.Read)
		}
		out.SeenBy = append(out.SeenBy, by)
	}
	if r.Read != 0 {
		out.SeenBy = append(out.SeenBy, protocol.SeenBy{By: protocol.SeenByPerson, State: protocol.StateRead, At: unixTime(r.Read)})
		read = earliest(read, r.Read)
	}
	out.ShownAt, out.ReadAt = timeOrNil(shown), timeOrNil(read)
}

func unixTime(ms int64) time.Time { return protocol.TimeOf(ms) }

// timeOrNil is a time of JSON, nil for none.
func timeOrNil(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := unixTime(ms)
	return &t
}

// earliest returns the earlier of two times in Unix ms, of which a zero one does not count.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
