package mesh

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/daemon/trust"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// rows counts the rows of a bucket.
func (n *node) rows(bucket string, prefix []byte) (count int) {
	n.Helper()
	err := n.db.View(func(tx *store.Tx) error {
		for range tx.Scan(bucket, prefix, nil) {
			count++
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	return count
}

// Bob runs one short session after the other. Alice keeps few of them, her list of peers and her
// events keep to what is of use, and his long session stays; his own machine forgets them, too, but
// not the one whose message is not proved to have arrived.
func TestShortSessionsOfAMember(t *testing.T) {
	story(t, func(w *world) {
		long := w.bob.session("long")
		pass(time.Second)
		w.cathy.stop()
		first := w.bob.session("first")
		pass(time.Second)
		id := w.bob.sendAs(first, protocol.SendRequest{To: "cathy", Body: "for when you are back"})
		pass(time.Second)
		if err := w.bob.m.RemoveSession(first.ID); err != nil {
			t.Fatal(err)
		}
		const short = trust.SessionsKept + 20
		for i := range short {
			s := w.bob.session(fmt.Sprint("s", i))
			pass(time.Second)
			if err := w.bob.m.RemoveSession(s.ID); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		pass(time.Second)
		if got := strings.Join(w.alice.peerNames(), " "); got != "alice bob/long" && got != "alice bob/long cathy" {
			t.Errorf("alice sees %q", got)
		}
		if n := w.alice.rows(table.Known, table.Key(w.alice.m.meshID, []byte{'s'})); n > trust.SessionsKept+10 {
			t.Errorf("alice keeps %d session statements", n)
		}
		if w.alice.m.trust.Session(long.Public()) == nil {
			t.Error("the session that lives was forgotten")
		}
		told := 0
		for _, kind := range []string{inbox.EventPeerJoined, inbox.EventPeerLeft} {
			for _, e := range w.alice.events.of(kind) {
				if e.Peer.Name == "bob" {
					told++
				}
			}
		}
		if told != peerEventsPerHour {
			t.Errorf("%d events of bob's sessions", told)
		}
		notices := 0
		for _, e := range w.alice.events.of(inbox.EventNotice) {
			if strings.Contains(e.Notice, "come and go so often") {
				notices++
			}
		}
		if notices != 1 {
			t.Errorf("%d notices", notices)
		}
		if err := w.bob.m.ring.Sweep(); err != nil {
			t.Fatal(err)
		}
		if n := w.bob.rows(table.OwnSessions, nil); n != keyring.EndedMost+2 { // long and first
			t.Errorf("bob keeps %d sessions of his own", n)
		}
		if n := w.bob.rows(table.Sessions, nil); n != keyring.EndedMost+2 {
			t.Errorf("bob keeps %d keys of sessions", n)
		}
		w.bob.restart()
		w.cathy.start()
		pass(time.Minute)
		w.bob.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.cathy.want("bob: for when you are back")
		if _, _, err := w.cathy.m.env.Mail.MarkRead(protocol.InboxChange{All: true}, nil, nil); err != nil {
			t.Fatal(err)
		}
		w.cathy.m.Wake()
		pass(time.Minute)
		w.bob.wantState(id, protocol.StateRead, protocol.ProofPeer) // the broker has forgotten the session that wrote
	})
}

// A session that ended while no daemon ran ends when the next one looks, and is forgotten in its
// time.
func TestSessionThatEndedUnseenIsForgotten(t *testing.T) {
	ambush(t, func(w *world) {
		w.bob.session("web")
		w.bob.kill()
		w.bob.stop()
		sweep := func(skew time.Duration, want int) {
			t.Helper()
			w.bob.skew = skew
			if err := w.bob.m.ring.Sweep(); err != nil {
				t.Fatal(err)
			}
			if n := w.bob.rows(table.Sessions, nil); n != want || w.bob.rows(table.OwnSessions, nil) != want {
				t.Errorf("%s later %d keys of sessions are kept, want %d", skew, n, want)
			}
		}
		sweep(0, 1)
		sweep(keyring.EndedKept-time.Hour, 1)
		sweep(keyring.EndedKept+time.Hour, 0)
	})
}

// Alice floods bob and fetches none of his receipts, until the broker takes no more of them. That is between the two: bob's
// connection stays, and what he and cathy write to each other goes at once.
func TestReceiptsThatAreNotTakenHoldUpNothing(t *testing.T) {
	story(t, func(w *world) {
		w.closeBroker()
		w.limits.ShareMessages = 10
		w.openBroker()
		pass(time.Minute)
		for i := range 60 {
			w.alice.send("bob", fmt.Sprint("flood ", i))
			pass(time.Second)
		}
		w.alice.unplug()
		pass(time.Minute)
		for range 5 {
			if _, _, err := w.bob.m.env.Mail.MarkRead(protocol.InboxChange{All: true}, nil, nil); err != nil {
				t.Fatal(err)
			}
			w.bob.m.Wake()
			pass(2 * time.Second)
			from := w.cathy.send("bob", "hello")
			to := w.bob.send("cathy", "hello back")
			pass(2 * time.Second)
			w.cathy.wantState(from, protocol.StateDelivered, protocol.ProofPeer)
			w.bob.wantState(to, protocol.StateDelivered, protocol.ProofPeer)
		}
		w.alice.plug()
		pass(time.Minute)
		left, err := w.bob.m.dueReceipts(nil)
		if err != nil || len(left) != 0 {
			t.Errorf("%d receipts are left, %v", len(left), err)
		}
	})
}
