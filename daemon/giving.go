package daemon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// waitRow stands for one message that is still to be put in front of a session. It is made with the inbox row, in the same transaction, and goes
// when the message was shown, read or deleted.
type waitRow struct {
	Mesh     protocol.MeshID      `json:"mesh"`
	Own      crypto.PublicKey     `json:"own"`
	From     crypto.PublicKey     `json:"from"`
	Sender   crypto.PublicKey     `json:"sender"` // member
	Member   bool                 `json:"member"` // for the member: the rows of one machine share it
	Several  bool                 `json:"several,omitempty"`
	Group    string               `json:"group,omitempty"` // without @
	Prio     string               `json:"prio"`
	Held     bool                 `json:"held,omitempty"` // kept out of the model's context until the sender is accepted
	Received int64                `json:"received"`       // Unix ms
	Given    map[string]givenMark `json:"given,omitempty"`
}

// givenMark is what became of the message for one session, by the hex of the session's key.
type givenMark struct {
	State string `json:"state"` // taken, or a Settle state
	Rung  string `json:"rung"`
	At    int64  `json:"at"` // Unix ms
}

const (
	stateTaken = "taken"

	takenFor    = 30 * time.Second // a rung that took and says nothing for this long has died
	takeDefault = 20
	takeMost    = 100
	takeLongest = 60 * time.Second
	takeLook    = 5 * time.Second // how often a waiting rung looks at what depends on the time alone
)

// giver hands mail to the rungs of delivery: each message to one rung, once, and a message for the member to one session.
type giver struct {
	d     *Daemon
	rungs *rungTable
	guard *guard
}

func newGiver(d *Daemon, db *store.DB) *giver {
	return &giver{d: d, rungs: newRungTable(), guard: newGuard(db)}
}

// waitFor makes the row that stands for a message, in the transaction of its inbox row. Control messages and alarms have none.
func waitFor(tx *store.Tx, seq uint64, row *inRow, msg *protocol.Message) error {
	h := msg.Header()
	if h.Kind == protocol.KindReceipt || h.Kind == protocol.KindLog || h.Kind == protocol.KindCard || h.Kind == protocol.KindPing {
		return nil
	}
	group, several := strings.CutPrefix(h.To, "@")
	if !several {
		group, several = "", h.To == "*"
	}
	return putJSON(tx, bucketWaiting, u64(seq), waitRow{
		Mesh: row.Mesh, Own: row.Own, From: row.From, Sender: msg.Member(), Member: row.Member, Several: several, Group: group, Prio: h.Prio,
		Held: row.Held != "", Received: row.Received,
	})
}

// groupsOf are the groups that a session of this machine is in, by itself or with its member.
func (m *mesh) groupsOf(session crypto.PublicKey) (groups []string) {
	for _, key := range []crypto.PublicKey{session, m.self} {
		if own, _ := m.ring.session(key); own != nil {
			groups = append(groups, own.Groups...)
		}
	}
	return groups
}

// take hands out what is ready for a rung of session s, oldest first, and marks it as taken.
func (g *giver) take(s registry.Session, local *localSession, req protocol.TakeRequest) (protocol.TakeReply, error) {
	return g.takeFor(g.view(s, local, req.Rung), req)
}

func (g *giver) takeFor(v *giveView, req protocol.TakeRequest) (protocol.TakeReply, error) {
	most := req.Max
	if most <= 0 {
		most = takeDefault
	}
	most = min(most, takeMost)
	reply := protocol.TakeReply{Messages: []protocol.InboxMessage{}}
	if ready, err := g.anyReady(v, &reply); err != nil || !ready {
		return reply, err
	}
	err := g.d.env.db.Commit(func(tx *store.Tx) error {
		reply, v.gave = protocol.TakeReply{Messages: []protocol.InboxMessage{}}, nil
		v.accepted = g.acceptedIn(tx)
		for k, b := range tx.Scan(bucketWaiting, nil, nil) {
			var row waitRow
			if err := json.Unmarshal(b, &row); err != nil {
				return fmt.Errorf("decode a row of %s: %w", bucketWaiting, err)
			}
			ok, again := v.ready(&row)
			if !ok || len(reply.Messages) == most {
				v.tally(&row, &reply)
				continue
			}
			if err := g.hand(tx, bytes.Clone(k), &row, v, again, &reply); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return reply, storeRefusal("take mail", err)
	}
	if err := g.guard.gave(v.key, v.gave, v.now); err != nil {
		g.d.log.Warn("exchanges not counted on disk", "reason", err) // the mail is out already
	}
	for i := range reply.Messages {
		reply.Messages[i].Question = g.questionOf(&reply.Messages[i])
	}
	return reply, nil
}

// questionOf is the id of the question of ours that a message answers, or "".
func (g *giver) questionOf(m *protocol.InboxMessage) string {
	if m.ReplyTo == "" {
		return ""
	}
	mesh, err := g.d.mesh(m.Mesh)
	if err != nil {
		return ""
	}
	if sent, err := mesh.message(m.ReplyTo); err == nil && sent.Kind == protocol.KindQuestion {
		return sent.ID
	}
	return ""
}

// hand gives one row out.
func (g *giver) hand(tx *store.Tx, k []byte, row *waitRow, v *giveView, again bool, reply *protocol.TakeReply) error {
	msg, err := g.d.mail.row(tx, uint64FromKey(k))
	if err != nil {
		return err
	}
	if msg == nil || msg.ReadAt != nil {
		return tx.Delete(bucketWaiting, k)
	}
	if again {
		msg.Flags = append(slices.Clone(msg.Flags), "again")
	}
	row.mark(v.key, stateTaken, v.rung, v.now)
	if v.rung != protocol.RungPull && !again {
		v.gave = append(v.gave, gift{from: row.From, member: row.Sender, name: msg.From.Name})
	}
	reply.Messages = append(reply.Messages, *msg)
	return putJSON(tx, bucketWaiting, k, row)
}

func (row *waitRow) mark(key crypto.PublicKey, state, rung string, at time.Time) {
	if row.Given == nil {
		row.Given = make(map[string]givenMark)
	}
	row.Given[key.String()] = givenMark{State: state, Rung: rung, At: at.UnixMilli()}
}

// anyReady looks without writing, and counts: the common answer is that there is nothing.
func (g *giver) anyReady(v *giveView, reply *protocol.TakeReply) (ready bool, err error) {
	err = g.d.env.db.View(func(tx *store.Tx) error {
		v.accepted = g.acceptedIn(tx)
		for _, b := range tx.Scan(bucketWaiting, nil, nil) {
			var row waitRow
			if err := json.Unmarshal(b, &row); err != nil {
				return fmt.Errorf("decode a row of %s: %w", bucketWaiting, err)
			}
			ok, _ := v.ready(&row)
			ready = ready || ok
			v.tally(&row, reply)
		}
		return nil
	})
	return ready, err
}

// tally counts a row that stays: what the session could pull, and what waits for the user.
func (v *giveView) tally(row *waitRow, reply *protocol.TakeReply) {
	if !v.mine(row) || row.shownTo(v.key) {
		return
	}
	if v.held(row) {
		reply.Held++
	} else {
		reply.Unread++
	}
}

func (row *waitRow) shownTo(key crypto.PublicKey) bool {
	return row.Given[key.String()].State == protocol.SettleShown
}

// count says what waits for a session.
func (g *giver) count(s registry.Session, local *localSession) (unread, held int, err error) {
	var reply protocol.TakeReply
	_, err = g.anyReady(g.view(s, local, protocol.RungPull), &reply)
	return reply.Unread, reply.Held, err
}

// acceptedIn reads which senders the user accepted.
func (g *giver) acceptedIn(tx *store.Tx) func(protocol.MeshID, crypto.PublicKey) bool {
	return func(mesh protocol.MeshID, member crypto.PublicKey) bool {
		return tx.Peek(bucketAccepted, keyIn(mesh, member[:])) != nil
	}
}

// settle records what became of taken messages. Ids that are unknown, or were settled before, are no error.
func (g *giver) settle(s registry.Session, local *localSession, req protocol.SettleRequest) error {
	key, now := local.public(), g.d.cfg.Now()
	var shown map[string][]string // by rung
	err := g.d.env.db.Commit(func(tx *store.Tx) error {
		shown = make(map[string][]string)
		for _, id := range req.IDs {
			seq, err := g.d.mail.lookup(tx, id)
			if err != nil {
				continue
			}
			var row waitRow
			ok, err := getJSON(tx, bucketWaiting, u64(seq), &row)
			if err != nil {
				return err
			}
			if !ok || row.shownTo(key) {
				continue
			}
			mark := row.Given[key.String()]
			if req.Rung == "" && mark.Rung == "" {
				continue // nobody gave it to this session: no proof of anything
			}
			rung := cmp.Or(req.Rung, mark.Rung)
			row.mark(key, req.State, rung, now)
			if req.State == protocol.SettleShown {
				shown[rung] = append(shown[rung], id)
			}
			if req.State == protocol.SettleShown && (!row.Several || !g.othersWait(&row, key)) {
				err = tx.Delete(bucketWaiting, u64(seq))
			} else {
				err = putJSON(tx, bucketWaiting, u64(seq), row)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return storeRefusal("settle mail", err)
	}
	for rung, ids := range shown {
		meshes, _, e := g.d.mail.markShown(ids, s.Label, rung)
		err = errors.Join(err, e)
		for _, id := range meshes {
			if m, e := g.d.mesh(string(id)); e == nil {
				m.wake()
			}
		}
		g.rungs.proved(s.ID, rung)
	}
	if req.State == protocol.SettleReturned {
		g.rungs.failed(s.ID, req.Rung)
		g.d.hub.wake()
	}
	return err
}

// othersWait says whether a message to several still has a live session to reach.
func (g *giver) othersWait(row *waitRow, shown crypto.PublicKey) bool {
	m, err := g.d.mesh(string(row.Mesh))
	if err != nil {
		return false // the mesh was left
	}
	for _, s := range g.d.live.Live() {
		_, l, err := g.d.liveSession(s.ID)
		if err != nil || row.Group != "" && !slices.Contains(m.groupsOf(l.public()), row.Group) {
			continue
		}
		if l.public() != shown && l.public() != row.From && !row.shownTo(l.public()) && row.Received >= s.Registered.UnixMilli() {
			return true
		}
	}
	return false
}

// accept lets a sender's messages come in front of sessions from now on, and those that are held too.
func (g *giver) accept(mesh protocol.MeshID, member crypto.PublicKey) error {
	err := g.d.env.db.Commit(func(tx *store.Tx) error {
		return tx.Put(bucketAccepted, keyIn(mesh, member[:]), u64(uint64(g.d.cfg.Now().UnixMilli())))
	})
	if err != nil {
		return storeRefusal("accept a sender", err)
	}
	err = g.guard.accept(member)
	g.d.hub.wake()
	return err
}
