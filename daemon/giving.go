package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/registry"
	"github.com/claudemesh/claudemesh/store"
)

// lifeOf names the process that a session lives in. A session that is resumed has the same key and another life.
func lifeOf(s registry.Session) string {
	return fmt.Sprintf("%d.%d.%.8s", s.Process.PID, s.Process.Start, s.Process.Boot)
}

const (
	stateTaken = "taken" // given to a process, which has said nothing yet
	stateLost  = "lost"  // the process that took it ended without a word: it may have been written

	takenFor    = 30 * time.Second // a rung that took and says nothing for this long has died
	takeDefault = 20
	takeMost    = 100
	takeBytes   = 256 << 10 // of texts in one answer, in which the message that exceeds it is the last
	pullBytes   = 24 << 10  // likewise of what a model asks for: Claude Code puts a tool result of more than 50,000 characters into a file
	takeLongest = 60 * time.Second
	takeLook    = 5 * time.Second // how often a waiting rung looks at what depends on the time alone
)

// giver hands mail to the rungs of delivery: each message to one rung, once, and a message for the member to one session.
type giver struct {
	d      *roster.Roster
	rungs  *rungTable
	guard  *guard
	leases *leases
}

func newGiver(d *roster.Roster) *giver {
	return &giver{d: d, rungs: newRungTable(), guard: newGuard(d.DB), leases: newLeases()}
}

// take hands out what is ready for a rung of session s, oldest first, and marks it as taken. Ctx is that of the request
// that asks: its connection answers for what it takes.
func (g *giver) take(ctx context.Context, s registry.Session, local *keyring.Session, req protocol.TakeRequest) (protocol.TakeReply, error) {
	return g.takeFor(ctx, g.view(s, local, req.Rung), req)
}

// takeAt is take for a session whose status is not known to the others yet. What the user set to dnd stays so.
func (g *giver) takeAt(ctx context.Context, s registry.Session, local *keyring.Session, status string, req protocol.TakeRequest) (protocol.TakeReply, error) {
	v := g.view(s, local, req.Rung)
	if s.Status != protocol.StatusDND {
		v.status = status
	}
	return g.takeFor(ctx, v, req)
}

func (g *giver) takeFor(ctx context.Context, v *giveView, req protocol.TakeRequest) (protocol.TakeReply, error) {
	most := req.Max
	if most <= 0 {
		most = takeDefault
	}
	most = min(most, takeMost)
	room := takeBytes
	if v.rung == protocol.RungPull {
		room = pullBytes
	}
	reply := protocol.TakeReply{Messages: []protocol.InboxMessage{}}
	if ready, err := g.anyReady(v, &reply); err != nil || !ready {
		return reply, err
	}
	err := g.d.DB.Commit(func(tx *store.Tx) error {
		reply, v.gave, v.taken = protocol.TakeReply{Messages: []protocol.InboxMessage{}}, nil, nil
		v.accepted = g.acceptedIn(tx)
		for k, b := range tx.Scan(table.Waiting, nil, nil) {
			var row inbox.Waiting
			if g.d.Mail.Damage.Skip(table.Waiting, k, json.Unmarshal(b, &row)) {
				continue
			}
			ok, again := v.ready(&row)
			if !ok || len(reply.Messages) == most || textOf(&reply) >= room {
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
		return reply, table.Refusal("take mail", err)
	}
	g.leases.took(ctx, v.taken)
	if err := g.guard.gave(v.key, v.gave, v.now); err != nil {
		g.d.Log.Warn("exchanges not counted on disk", "reason", err) // the mail is out already
	}
	for i := range reply.Messages {
		reply.Messages[i].Question = g.questionOf(&reply.Messages[i])
	}
	return reply, nil
}

// textOf is how much text an answer has.
func textOf(r *protocol.TakeReply) (n int) {
	for i := range r.Messages {
		n += len(r.Messages[i].Body)
	}
	return n
}

// questionOf is the id of the question of ours that a message answers, or "".
func (g *giver) questionOf(m *protocol.InboxMessage) string {
	if m.ReplyTo == "" {
		return ""
	}
	mesh, err := g.d.Mesh(m.Mesh)
	if err != nil {
		return ""
	}
	if sent, err := mesh.Message(m.ReplyTo); err == nil && sent.Kind == protocol.KindQuestion {
		return sent.ID
	}
	return ""
}

// hand gives one row out.
func (g *giver) hand(tx *store.Tx, k []byte, row *inbox.Waiting, v *giveView, again bool, reply *protocol.TakeReply) error {
	msg, err := g.d.Mail.Message(tx, table.ParseU64(k))
	if err != nil {
		return err
	}
	if msg == nil || !msg.Unseen || msg.Alarm != "" { // what became an alarm is for the person
		return tx.Delete(table.Waiting, k)
	}
	msg.Flags = slices.Clone(msg.Flags)
	if again {
		msg.Flags = append(msg.Flags, protocol.FlagAgain)
	}
	if v.inherited(row) {
		msg.Flags = append(msg.Flags, protocol.FlagSessionEnded)
	}
	row.Mark(lifeOf(v.s), v.key, stateTaken, v.rung, v.now)
	if v.rung != protocol.RungPull && !again {
		v.gave = append(v.gave, gift{from: row.From, member: row.Sender, name: msg.From.Name})
	}
	v.taken = append(v.taken, takenRow{table.ParseU64(k), v.s.ID, v.key, v.now.UnixMilli()})
	reply.Messages = append(reply.Messages, *msg)
	return table.PutJSON(tx, table.Waiting, k, row)
}

// anyReady looks without writing, and counts: the common answer is that there is nothing.
func (g *giver) anyReady(v *giveView, reply *protocol.TakeReply) (ready bool, err error) {
	err = g.d.DB.View(func(tx *store.Tx) error {
		v.accepted = g.acceptedIn(tx)
		for k, b := range tx.Scan(table.Waiting, nil, nil) {
			var row inbox.Waiting
			if g.d.Mail.Damage.Skip(table.Waiting, k, json.Unmarshal(b, &row)) {
				continue
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
func (v *giveView) tally(row *inbox.Waiting, reply *protocol.TakeReply) {
	if !v.mine(row) || row.ShownTo(v.key) {
		return
	}
	if v.held(row) {
		reply.Held++
	} else {
		reply.Unread++
	}
}

// count says what waits for a session.
func (g *giver) count(s registry.Session, local *keyring.Session) (unread, held int, err error) {
	var reply protocol.TakeReply
	_, err = g.anyReady(g.view(s, local, protocol.RungPull), &reply)
	return reply.Unread, reply.Held, err
}

// acceptedIn reads which senders the user accepted.
func (g *giver) acceptedIn(tx *store.Tx) func(protocol.MeshID, crypto.PublicKey) bool {
	return func(mesh protocol.MeshID, member crypto.PublicKey) bool {
		return tx.Peek(table.Accepted, table.Key(mesh, member[:])) != nil
	}
}

// accept lets a sender's messages come in front of sessions from now on, and those that are held too.
func (g *giver) accept(mesh protocol.MeshID, member crypto.PublicKey) error {
	err := g.d.DB.Commit(func(tx *store.Tx) error {
		return tx.Put(table.Accepted, table.Key(mesh, member[:]), table.U64(uint64(g.d.Now().UnixMilli())))
	})
	if err != nil {
		return table.Refusal("accept a sender", err)
	}
	err = g.guard.accept(member)
	g.d.Hub.Wake()
	return err
}
