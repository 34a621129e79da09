package mesh

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// An event that has no JSON becomes a notice in its place, on disk. Nothing that it tells of fails.
func TestEventsWithoutJSON(t *testing.T) {
	ambush(t, func(w *world) {
		hub := w.alice.m.env.Events
		year10000 := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
		unfit := protocol.Event{Type: inbox.EventState, Mesh: "acme", State: &protocol.SendResult{AcceptedAt: year10000}}
		hub.Emit(unfit, inbox.EventOptions{})
		hub.Emit(protocol.Event{Type: inbox.EventNotice, Notice: "behind it"}, inbox.EventOptions{})
		notices := w.alice.events.of(inbox.EventNotice)
		if len(notices) != 2 || !strings.Contains(notices[0].Notice, "an event of type state cannot be shown") || notices[1].Notice != "behind it" {
			t.Fatalf("kept: %+v", notices)
		}
	})
}

// A row that cannot be decoded costs a reader of many that row alone: it is shown as an alarm, or passed over and logged.
func TestDamagedRows(t *testing.T) {
	story(t, func(w *world) {
		w.bob.send("alice", "first")
		synctest.Wait()
		w.bob.send("alice", "second")
		w.alice.want("bob: first", "bob: second")
		keys := w.alice.keysOf(table.Inbox)
		w.alice.damage(table.Inbox, keys[0])
		mail := w.alice.m.env.Mail
		if all := w.alice.inbox(nil); len(all) != 2 || !strings.Contains(all[0], "row 1 of the inbox is damaged") || all[1] != "bob: second" {
			t.Errorf("inbox: %q", all)
		}
		if _, n, err := mail.MarkRead(protocol.InboxChange{All: true}, nil, nil); err != nil || n != 2 {
			t.Errorf("read %d, %v", n, err)
		}
		events, _, err := w.alice.m.env.Events.Read(0, inbox.Audience{})
		if err != nil || !slices.ContainsFunc(events, func(e protocol.Event) bool { return e.Message != nil && e.Message.Body == "second" }) {
			t.Errorf("events: %+v, %v", events, err)
		}
		if n, err := mail.Delete(protocol.InboxChange{All: true}, nil); err != nil || n != 2 {
			t.Errorf("deleted %d, %v", n, err)
		}
		w.alice.want()

		w.alice.unplug()
		w.alice.send("bob", "third")
		w.alice.send("bob", "fourth")
		outbox := w.alice.keysOf(table.Outbox)
		w.alice.damage(table.Outbox, outbox[len(outbox)-2])
		rows, err := w.alice.m.Outbox()
		if err != nil || len(rows) != 1 {
			t.Errorf("outbox: %+v, %v", rows, err)
		}
		evs := w.alice.keysOf(table.Events)
		w.alice.damage(table.Events, evs[0])
		if _, next, err := w.alice.m.env.Events.Read(0, inbox.Audience{}); err != nil || next == 0 {
			t.Errorf("events behind a damaged one: %d, %v", next, err)
		}
		w.alice.plug()
		pass(time.Minute)
		w.bob.want("alice: fourth")
		w.alice.restart()
		w.alice.send("bob", "fifth")
		w.bob.want("alice: fourth", "alice: fifth")
	})
}

// A message of which only the text is damaged is an alarm, and the receipt of what was read with it leaves.
func TestDamagedMessage(t *testing.T) {
	story(t, func(w *world) {
		w.bob.send("alice", "first")
		synctest.Wait()
		second := w.bob.send("alice", "second")
		synctest.Wait()
		err := w.alice.db.Commit(func(tx *store.Tx) error {
			row := w.alice.m.env.Mail.Row(tx, w.alice.keyOf(tx, table.Inbox))
			row.Message = []byte("nonsense")
			return inbox.PutRow(tx, w.alice.keyOf(tx, table.Inbox), row)
		})
		if err != nil {
			t.Fatal(err)
		}
		if all := w.alice.inbox(nil); len(all) != 2 || !strings.Contains(all[0], "the message is damaged") {
			t.Errorf("inbox: %q", all)
		}
		meshes, n, err := w.alice.m.env.Mail.MarkRead(protocol.InboxChange{All: true}, nil, nil)
		if err != nil || n != 2 || len(meshes) != 1 {
			t.Errorf("read %d, %v, %v", n, meshes, err)
		}
		w.alice.m.Wake()
		pass(time.Second)
		w.bob.wantState(second, protocol.StateRead, protocol.ProofPeer)
	})
}

// keyOf is the first key of a bucket.
func (n *node) keyOf(tx *store.Tx, bucket string) []byte {
	k, _ := tx.First(bucket, nil)
	return slices.Clone(k)
}
