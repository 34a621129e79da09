// Package delivery brings mail in front of the sessions of this machine. A Dispatcher gives each
// message to one rung (a delivery method) of one session at a time and learns what became of it.
// Rungs knows which rungs work, Guard bounds what comes by itself, Leases ties taken mail to the
// connection that took it, and Attention sees when a session no longer waits for its human.
package delivery

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

	TakenFor    = 30 * time.Second // a rung that took and says nothing for this long has died
	takeDefault = 20
	TakeMost    = 100
	takeBytes   = 256 << 10 // of texts in one answer, in which the message that exceeds it is the last
	PullBytes   = 24 << 10  // likewise of what a model asks for: Claude Code puts a tool result of more than 50,000 characters into a file
	TakeLongest = 60 * time.Second
	TakeLook    = 5 * time.Second // how often a waiting rung looks at what depends on the time alone
)

// Dispatcher hands mail to the rungs of delivery: each message to one rung, once, and a message for the member to one session.
type Dispatcher struct {
	d      *roster.Roster
	Rungs  *Rungs
	Guard  *Guard
	Leases *Leases
}

func New(d *roster.Roster) *Dispatcher {
	return &Dispatcher{d: d, Rungs: newRungTable(), Guard: newGuard(d.DB), Leases: newLeases()}
}

// Take hands out what is ready for a rung of session s, oldest first, and marks it as taken. Ctx is that of the request
// that asks: its connection answers for what it takes.
func (g *Dispatcher) Take(ctx context.Context, s registry.Session, local *keyring.Session, req protocol.TakeRequest) (protocol.TakeReply, error) {
	return g.takeFor(ctx, g.view(s, local, req.Rung), req)
}

// TakeAt is take for a session whose status is not known to the others yet. What the user set to dnd stays so.
func (g *Dispatcher) TakeAt(ctx context.Context, s registry.Session, local *keyring.Session, status string, req protocol.TakeRequest) (protocol.TakeReply, error) {
	v := g.view(s, local, req.Rung)
	if s.Status != protocol.StatusDND {
		v.status = status
	}
	return g.takeFor(ctx, v, req)
}

func (g *Dispatcher) takeFor(ctx context.Context, v *giveView, req protocol.TakeRequest) (protocol.TakeReply, error) {
	most := req.Max
	if most <= 0 {
		most = takeDefault
	}
	most = min(most, TakeMost)
	room := takeBytes
	if v.rung == protocol.RungPull {
		room = PullBytes
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
	g.Leases.took(ctx, v.taken)
	if err := g.Guard.gave(v.key, v.gave, v.now); err != nil {
		g.d.Log.Warn("exchange count not saved", "err", err) // the mail is out already
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
func (g *Dispatcher) questionOf(m *protocol.InboxMessage) string {
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
func (g *Dispatcher) hand(tx *store.Tx, k []byte, row *inbox.Waiting, v *giveView, again bool, reply *protocol.TakeReply) error {
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
func (g *Dispatcher) anyReady(v *giveView, reply *protocol.TakeReply) (ready bool, err error) {
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

// Count says what waits for a session.
func (g *Dispatcher) Count(s registry.Session, local *keyring.Session) (unread, held int, err error) {
	var reply protocol.TakeReply
	_, err = g.anyReady(g.view(s, local, protocol.RungPull), &reply)
	return reply.Unread, reply.Held, err
}

// acceptedIn reads which senders the user accepted.
func (g *Dispatcher) acceptedIn(tx *store.Tx) func(protocol.MeshID, crypto.PublicKey) bool {
	return func(mesh protocol.MeshID, member crypto.PublicKey) bool {
		return tx.Peek(table.Accepted, table.Key(mesh, member[:])) != nil
	}
}

// Accept lets a sender's messages come in front of sessions from now on, and those that are held too.
func (g *Dispatcher) Accept(mesh protocol.MeshID, member crypto.PublicKey) error {
	err := g.d.DB.Commit(func(tx *store.Tx) error {
		return tx.Put(table.Accepted, table.Key(mesh, member[:]), table.U64(uint64(g.d.Now().UnixMilli())))
	})
	if err != nil {
		return table.Refusal("accept a sender", err)
	}
	err = g.Guard.accept(member)
	g.d.Hub.Wake()
	return err
}
