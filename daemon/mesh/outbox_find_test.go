package mesh

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// fillOutbox gives the node rows of messages that were sent to bob, with the client ids that it returns.
func (n *node) fillOutbox(rows int) (ids []string) {
	n.Helper()
	err := n.db.Commit(func(tx *store.Tx) error {
		ids = nil
		for range rows {
			id := protocol.NewClientID()
			row := &outRow{
				ID: id, MessageID: protocol.MessageID(n.m.meshID, n.m.self, id), To: n.bob.m.self.String(), From: n.m.self,
				Stage: stageQueued, Recipients: []outRecipient{{Key: n.bob.m.self, Member: n.bob.m.self, State: protocol.StateDelivered}},
			}
			if _, err := n.m.out.add(tx, row, new(sealedRow)); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	return ids
}

// A script of alice's sends with a client id of its own; in the last 30 days she sent much.
func TestSendReadsByKey(t *testing.T) {
	w := newWorld(t)
	defer w.close()
	w.bob = w.admitted("bob")
	w.alice.fillOutbox(8_000)
	quickest := time.Hour // whatever else the machine does, one of twenty goes through undisturbed
	for range 20 {
		id := protocol.NewClientID()
		began := time.Now()
		if _, err := w.alice.m.rowOf(id); err != nil {
			t.Fatal(err)
		}
		if _, err := w.alice.m.storedRow(id); err != nil {
			t.Fatal(err)
		}
		quickest = min(quickest, time.Since(began))
	}
	if quickest > 1500*time.Microsecond {
		t.Errorf("looking for an id among 8,000 messages takes %s", quickest)
	}
}

func TestMessageIsFoundByEachOfItsIDs(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.send("bob", "hello")
		want := w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		for _, text := range []string{id, want.MessageID, id[:inbox.MinIDPrefix], want.MessageID[:inbox.MinIDPrefix], want.MessageID[:20]} {
			if res, err := w.alice.m.Message(text); err != nil || res.ID != id {
				t.Errorf("message %q: %s, %v", text, res.ID, err)
			}
		}
		again, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "bob", Body: "hello", ClientID: id}, nil)
		if err != nil || again.MessageID != want.MessageID {
			t.Errorf("sent again: %+v, %v", again, err)
		}
		_, err = w.alice.m.Message(id[:inbox.MinIDPrefix-1])
		wantRefusal(t, err, protocol.CodeNotFound)
		_, err = w.alice.m.Message("m" + want.MessageID)
		wantRefusal(t, err, protocol.CodeNotFound)
	})
}

func TestPrefixOfTwoMessagesIsAmbiguous(t *testing.T) {
	story(t, func(w *world) {
		for i := range 3 {
			w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "hello", ClientID: fmt.Sprintf("build-1234567890-%d", i)})
		}
		_, err := w.alice.m.Message("build-")
		wantRefusal(t, err, protocol.CodeAmbiguous)
		if e := err.(*protocol.Error); len(e.Names) != 3 {
			t.Errorf("named: %q", e.Names)
		}
	})
}

// The row of a message and both its ids go together.
func TestFinishedMessageIsForgottenWhole(t *testing.T) {
	story(t, func(w *world) {
		id := w.alice.send("bob", "hello")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.alice.skew = outboxKept + time.Hour
		if err := w.alice.m.sweepOutbox(); err != nil {
			t.Fatal(err)
		}
		err := w.alice.db.View(func(tx *store.Tx) error {
			if n := tx.Count(table.OutboxIDs, nil); n != 0 {
				t.Errorf("%d ids are left", n)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkSend is a message from the request to its row on disk, beside those of the last 30 days.
func BenchmarkSend(b *testing.B) {
	for _, rows := range []int{100, 10_000, 50_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			w := newWorld(b)
			defer w.close()
			w.bob = w.admitted("bob")
			w.alice.fillOutbox(rows)
			for b.Loop() {
				req := protocol.SendRequest{To: "bob", Body: "hello", ClientID: protocol.NewClientID()}
				if _, err := w.alice.m.Send(context.Background(), req, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
