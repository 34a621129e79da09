package mesh

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// wantCounted compares what is counted of each sender with what is on the disk.
func (n *node) wantCounted() {
	n.Helper()
	if n.hurt {
		return
	}
	want := make(map[string]inbox.Share)
	add := func(key []byte, bytes int) {
		for _, k := range [][]byte{key, inbox.Together(key), []byte("*")} {
			if k != nil {
				s := want[string(k)]
				want[string(k)] = inbox.Share{Messages: s.Messages + 1, Bytes: s.Bytes + uint64(bytes)}
			}
		}
	}
	err := n.db.View(func(tx *store.Tx) error {
		for _, v := range tx.Scan(table.Inbox, nil, nil) {
			if row, err := inbox.ParseRow(v); err == nil && row.Counts() {
				add(row.Share, row.Size())
			}
		}
		for k, v := range tx.Scan(table.Held, nil, nil) {
			member, frame := splitHeld(v)
			add(inbox.ShareKey(protocol.MeshID(k[:32]), inbox.ClassUnknown, member), inbox.RowBytes+len(frame))
		}
		for k := range tx.Scan(table.Shares, nil, nil) {
			if got := inbox.ReadShare(tx, k); got != want[string(k)] {
				n.Errorf("%s counts %+v of %.33q…, and has %+v", n.name, got, k, want[string(k)])
			}
			delete(want, string(k))
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	for k, s := range want {
		n.Errorf("%s counts nothing of %.33q…, and has %+v", n.name, k, s)
	}
}

// room has a node keep little of others.
func (n *node) room(q inbox.Quotas) {
	d := inbox.DefaultQuotas()
	for _, s := range []struct{ to, from *inbox.Share }{{&q.Member, &d.Member}, {&q.Link, &d.Link}, {&q.Invited, &d.Invited}, {&q.Unknown, &d.Unknown}, {&q.Held, &d.Held}} {
		if *s.to == (inbox.Share{}) {
			*s.to = *s.from
		}
	}
	if q.Inbox == 0 {
		q.Inbox = d.Inbox
	}
	n.m.env.quotas = q
}

// states counts what became of messages of the node's.
func (n *node) states(ids []string) map[protocol.State]int {
	n.Helper()
	synctest.Wait()
	all := make(map[protocol.State]int)
	for _, id := range ids {
		res, err := n.m.Message(id)
		if err != nil {
			n.Fatal(err)
		}
		all[res.State]++
	}
	return all
}

// A stranger with an unused link floods bob, under as many names as the link gives him. So much of it is kept as one stranger
// may have, he is told what became of the rest, bob is told once, and members notice nothing. When bob has read it there is
// room again.
func TestStrangerHasHisShare(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(2).Link
		w.alice.stop() // nobody is there who could admit them
		mallory, other := w.joined("mallory", link), w.joined("mallory2", link)
		mallory.start()
		other.start()
		pass(time.Second)
		var ids, others []string
		for i := range inbox.LinkMessages {
			ids = append(ids, mallory.send("bob", fmt.Sprint("let me in ", i)))
			pass(10 * time.Millisecond) // the broker lets 200 a second pass
		}
		others = append(others, other.send("bob", "me too"))
		pass(time.Second)
		if s := mallory.states(ids); s[protocol.StateDelivered] != inbox.LinkMessages {
			t.Errorf("at the limit: %v", s)
		}
		dead := other.wantState(others[0], protocol.StateDead, protocol.ProofPeer)
		if r := dead.Recipients[0].Reason; !strings.Contains(r, fmt.Sprintf("%d messages of those who came by your link", inbox.LinkMessages)) {
			t.Errorf("he reads %q", r)
		}
		for range 5 {
			mallory.send("bob", "more")
			pass(10 * time.Millisecond)
		}
		notices := 0
		for _, ev := range w.bob.events.of(inbox.EventNotice) {
			if strings.Contains(ev.Notice, "are refused") {
				notices++
			}
		}
		if notices != 2 { // one a key
			t.Errorf("bob is told %d times: %+v", notices, w.bob.events.of(inbox.EventNotice))
		}
		w.cathy.send("bob", "members are heard")
		pass(time.Second)
		if all := w.bob.inbox(nil); all[len(all)-1] != "cathy: members are heard" {
			t.Errorf("the last is %q", all[len(all)-1])
		}
		if _, _, err := w.bob.m.env.Mail.MarkRead(protocol.InboxChange{All: true}, nil, nil); err != nil {
			t.Fatal(err)
		}
		other.wantDelivered(other.send("bob", "and now?"))
	})
}

func (n *node) wantDelivered(id string) {
	n.Helper()
	pass(time.Second)
	res, err := n.m.Message(id)
	if err != nil || res.State.Rank() < protocol.StateDelivered.Rank() || res.State == protocol.StateDead {
		n.Errorf("a message of %s is %s: %+v, %v", n.name, res.State, res.Recipients, err)
	}
}

// Strangers of many links have one room together, members each his own, and all together what the disk has to spare: a stranger
// takes nothing of a member's, and a member nothing of another's.
func TestEverybodyHasHisRoom(t *testing.T) {
	story(t, func(w *world) {
		w.bob.room(inbox.Quotas{Member: inbox.Share{Messages: 3, Bytes: 1 << 20}, Invited: inbox.Share{Messages: 2, Bytes: 1 << 20}, Inbox: 1 << 20})
		var links []string
		for range 3 {
			links = append(links, w.alice.link(1).Link)
		}
		w.alice.stop()
		for i, link := range links {
			s := w.joined(fmt.Sprint("mallory", i), link)
			s.start()
			pass(time.Second)
			id := s.send("bob", "hi")
			pass(time.Second)
			if state := s.states([]string{id}); (state[protocol.StateDead] == 1) != (i == 2) {
				t.Errorf("stranger %d: %v", i, state)
			}
		}
		var ids []string
		for range 4 { // a member at his limit, and one past it
			ids = append(ids, w.cathy.send("bob", "hi"))
			pass(time.Second)
		}
		if s := w.cathy.states(ids); s[protocol.StateDelivered] != 3 || s[protocol.StateDead] != 1 {
			t.Errorf("cathy: %v", s)
		}
		w.alice.start()
		pass(time.Minute)
		w.alice.wantDelivered(w.alice.send("bob", "alice has a room of her own"))

		// What cathy could not bring she sends again when bob has read: nothing passes for a repetition that never came.
		if _, _, err := w.bob.m.env.Mail.MarkRead(protocol.InboxChange{All: true}, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := w.cathy.m.Requeue(ids[3]); err != nil {
			t.Fatal(err)
		}
		w.cathy.wantDelivered(ids[3])

		w.bob.room(inbox.Quotas{Inbox: 1 << 16})
		text := strings.Repeat("x", 40_000)
		w.cathy.wantDelivered(w.cathy.send("bob", text))
		id := w.alice.send("bob", text)
		pass(time.Second)
		if r := w.alice.wantState(id, protocol.StateDead, protocol.ProofPeer).Recipients[0].Reason; !strings.Contains(r, "the inbox is full") {
			t.Errorf("alice reads %q", r)
		}
	})
}

// What is counted of a message follows it: held without a certificate, opened later, read, deleted, swept, and over kill -9.
func TestSharesFollowTheMessages(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		dave := crypto.GenerateKey()
		for range 3 {
			e.mu.Lock()
			c := e.client
			e.mu.Unlock()
			c.write(w.alice.forge(w.bob, dave))
		}
		synctest.Wait()
		w.bob.wantCounted()
		for i := range 6 {
			w.alice.send("bob", fmt.Sprint(i))
		}
		synctest.Wait()
		w.bob.wantCounted()
		w.bob.learn(w.certify(dave.Public(), "dave", protocol.RoleMember)) // now they open
		pass(time.Minute)
		w.bob.wantCounted()
		mail := w.bob.m.env.Mail
		ids := make([]string, 0, 6)
		for _, m := range w.bob.messages(nil) {
			ids = append(ids, m.MessageID)
		}
		if _, _, err := mail.MarkRead(protocol.InboxChange{IDs: ids[:2]}, nil, nil); err != nil {
			t.Fatal(err)
		}
		w.bob.wantCounted()
		if _, err := mail.Delete(protocol.InboxChange{IDs: ids[1:4]}, nil); err != nil {
			t.Fatal(err)
		}
		w.bob.wantCounted()
		w.bob.kill()
		pass(time.Minute)
		w.bob.wantCounted()
		if _, _, err := w.bob.m.env.Mail.Flush(protocol.InboxFlush{Before: time.Now().Add(time.Hour), Unread: true}); err != nil {
			t.Fatal(err)
		}
		w.bob.wantCounted()
		if n := len(w.bob.messages(nil)); n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}
