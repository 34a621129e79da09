package mesh

import (
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// An alarm is a row of the inbox without a body. Alarms are kept by person, not by key: whoever
// makes key after key has no more of them, and what others write stays in sight.
const (
	alarmsPerHour = 20   // of one member, of all who came by one link, and of all whom nobody knows
	alarmsInAll   = 1000 // in an hour and mesh: a broker names whom it likes as the sender
)

// storeAlarm makes the row that says that something was wrong.
func (a *arrival) storeAlarm(tx *store.Tx) error {
	own, err := crypto.ParsePublicKey(a.push.TargetSpec)
	if err != nil || a.m.ring.Private(own) == nil {
		own = a.m.self
	}
	person := a.m.personOf(a.alarm.Sender, a.push.SenderMemberPubkey)
	return a.m.keepAlarm(tx, person, a.m.alarmRow(a.alarm.Sender, own, a.push.MessageID, a.alarm.Reason))
}

// alarmOf makes an alarm of a proved message, of which a part is not in order.
func (m *Mesh) alarmOf(tx *store.Tx, msg *protocol.Message, reason string) error {
	m.log.Warn("alarm", "msg", msg.ID(), "reason", reason, "peer", msg.Member().Short())
	row := m.alarmRow(msg.From(), msg.Opened(), protocol.MessageID(m.meshID, msg.Member(), msg.ID()), reason)
	return m.keepAlarm(tx, m.person(msg.Member()), row)
}

// keepAlarm stores an alarm, unless there were too many of the person's. The last one says so.
func (m *Mesh) keepAlarm(tx *store.Tx, person crypto.PublicKey, row *inbox.Row) error {
	kept, last := m.alarms.allow(person, row.MessageID, m.env.now())
	if !kept {
		return nil
	}
	if last {
		row.Alarm += fmt.Sprintf(" (%d alarms of this sender in an hour: those that follow are only in the daemon's log)", alarmsPerHour)
	}
	return m.storeRow(tx, row, nil)
}

func (m *Mesh) alarmRow(sender, own crypto.PublicKey, messageID, reason string) *inbox.Row {
	return &inbox.Row{
		Mesh: m.meshID, Own: own, Member: own == m.self, From: sender, Name: m.claimedName(sender), MessageID: messageID,
		Received: m.env.now().UnixMilli(), Alarm: reason,
	}
}

// claimedName is how an alarm calls who it claims to be from.
func (m *Mesh) claimedName(key crypto.PublicKey) string {
	if s := m.trust.Session(key); s != nil {
		key = s.Body.(*protocol.Session).Member
	}
	if key.IsZero() {
		return "unknown"
	}
	return m.CallName(key)
}

// personOf is who is counted for what claims to be from a key: the member whose session or API key
// that is. Where nobody knows the key, the broker's word counts as far as it names a person.
func (m *Mesh) personOf(sender crypto.PublicKey, member string) crypto.PublicKey {
	if s := m.trust.Session(sender); s != nil {
		return m.person(s.Body.(*protocol.Session).Member)
	}
	if person := m.person(m.trust.APIKeyMember(sender, sender)); !person.IsZero() {
		return person
	}
	claimed, _ := crypto.ParsePublicKey(member)
	return m.person(claimed)
}

// person is the member himself, of those who are not admitted the link that they came by, and of
// all others nobody.
func (m *Mesh) person(member crypto.PublicKey) crypto.PublicKey {
	if m.trust.View().Verified(member) {
		return member
	}
	link, _ := m.trust.LinkOf(member)
	return link
}

// alarmLimit counts alarms by person and hour.
type alarmLimit struct {
	hour int64
	seen map[crypto.PublicKey]map[string]bool // by message: whether it is the last that is kept
	all  int
}

// allow reports whether the alarm of this message is stored, and whether it is the last of its
// person. It is called from transactions, which run one at a time; asking twice for one message is
// answered alike.
func (l *alarmLimit) allow(person crypto.PublicKey, message string, now time.Time) (kept, last bool) {
	if hour := now.Unix() / 3600; hour != l.hour || l.seen == nil {
		l.hour, l.all, l.seen = hour, 0, make(map[crypto.PublicKey]map[string]bool)
	}
	of := l.seen[person]
	if of == nil {
		of = make(map[string]bool)
		l.seen[person] = of
	}
	if last, kept = of[message]; kept {
		return kept, last
	}
	if len(of) >= alarmsPerHour || l.all >= alarmsInAll {
		return false, false
	}
	l.all++
	of[message] = len(of)+1 == alarmsPerHour
	return true, of[message]
}
