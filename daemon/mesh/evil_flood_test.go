package mesh

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// The broker floods bob with statements of strangers: they fill what is set aside for strangers, on disk as in memory, and
// what the owner signs still counts.
func TestEvilFlood(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		before := len(w.bob.m.trust.Statements())
		for range 3 {
			var many []*protocol.Statement
			for range 500 {
				mallory := crypto.GenerateKey()
				many = append(many, w.member(mallory, crypto.GenerateKey().Public(), "mallory", 1))
			}
			e.tell(many...)
		}
		if n := len(w.bob.m.trust.Statements()) - before; n > protocol.MaxUnresolved || n < 500 {
			t.Errorf("%d statements of strangers are kept", n)
		}
		rows := 0
		if err := w.bob.db.View(func(tx *store.Tx) error { rows = tx.Count(table.Trust, []byte(w.bob.m.meshID)); return nil }); err != nil {
			t.Fatal(err)
		}
		if rows > before+protocol.MaxUnresolved {
			t.Errorf("%d statements on disk", rows)
		}
		e.tell(w.ban(w.owner, w.cathy.m.self))
		if w.bob.m.trust.View().Verified(w.cathy.m.self) {
			t.Error("the flood keeps the owner out")
		}
	})
}

// Sessions that nobody certified, and enrolments with links that nobody made, are not kept.
func TestEvilFloodOfSessions(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		before := len(w.bob.m.trust.Sessions())
		now := time.Now().UnixMilli()
		var items []protocol.MemberItem
		for range 300 {
			k := crypto.GenerateKey()
			s := w.sign(&protocol.Session{Mesh: w.charter.Mesh(), Member: k.Public(), Session: k.Public(), Label: "x", Issued: now, Expires: now + 1e6}, k, k)
			items = append(items, protocol.MemberItem{Pubkey: k.Public().String(), Sessions: []string{s.Text()}, Online: true})
		}
		e.say(frameOf(protocol.Membership{Tag: protocol.Tag{Type: protocol.TypeMembership}, Members: items}))
		if n := len(w.bob.m.trust.Sessions()); n != before {
			t.Errorf("%d sessions of strangers are kept", n-before)
		}
		w.alice.send("bob", "still there")
		synctest.Wait()
		w.bob.want("alice: still there")
	})
}

// Strangers' messages wait for a certificate, at most so many; what members send arrives beside them.
func TestEvilFloodOfStrangers(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		for i := range inbox.HeldMessages/inbox.UnknownMessages + 1 {
			mallory := crypto.GenerateKey()
			for range inbox.UnknownMessages + i*5 { // one past the share of one, then of all
				e.mu.Lock()
				c := e.client
				e.mu.Unlock()
				c.write(w.alice.forge(w.bob, mallory))
			}
			synctest.Wait()
		}
		held := 0
		if err := w.bob.db.View(func(tx *store.Tx) error { held = tx.Count(table.Held, []byte(w.bob.m.meshID)); return nil }); err != nil {
			t.Fatal(err)
		}
		if held != inbox.HeldMessages {
			t.Errorf("%d messages wait, want %d", held, inbox.HeldMessages)
		}
		w.alice.send("bob", "through the crowd")
		w.bob.want("alice: through the crowd")
	})
}
