package broker

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/broker/queue"
	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// waitsFor is the mail that waits for a person's member key.
func (w *world) waitsFor(p *person) load {
	n, bytes := w.srv.queue.Depth(w.srv.mesh(w.mesh).members[p.key.Public()].address.mail)
	return load{n, bytes}
}

// wantCounted compares what is counted of each sender with what waits on the disk.
func (w *world) wantCounted() {
	w.Helper()
	synctest.Wait()
	for _, m := range w.srv.allMeshes() {
		m.mu.Lock()
		of := make(map[queue.Recipient]*address)
		for _, a := range m.addresses {
			of[a.mail], of[a.side] = a, a
		}
		members := maps.Clone(m.members)
		m.mu.Unlock()
		waits, links := make(map[*member]*shares), new(shares)
		err := w.srv.queue.Walk(func(to queue.Recipient, _ uint64, header []byte, size int) error {
			if a := of[to]; a != nil {
				if waits[a.member] == nil {
					waits[a.member] = new(shares)
				}
				s, side := sharerOf(header), to == a.side
				if s.invited() {
					links.reserve(s, side, int64(size), unbounded)
					s = everyInvited
				}
				waits[a.member].reserve(s, side, int64(size), unbounded)
			}
			return nil
		})
		if err != nil { // the broker is closed already
			return
		}
		for _, p := range members {
			want := waits[p]
			if want == nil {
				want = new(shares)
			}
			w.wantShares("for "+p.key.Short(), &p.waits, want)
		}
		w.wantShares("by link", &m.links, links)
	}
}

func (w *world) wantShares(what string, got, want *shares) {
	w.Helper()
	got.tidy()
	text := func(s *shares) (all []string) {
		for from, l := range s.of {
			all = append(all, fmt.Sprintf("%x: %v", from, *l))
		}
		slices.Sort(all)
		return all
	}
	if g, w2 := text(got), text(want); !slices.Equal(g, w2) {
		w.Errorf("counted %s: %q; on the disk: %q", what, g, w2)
	}
}

// A refusal says whose mail it is about, and what there may be.
func TestShareRefusalSaysWhy(t *testing.T) {
	story(t, Limits{ShareMessages: 1, LinkMessages: 2, InvitedMessages: 1}, func(w *world) {
		alice, dora, eve := w.alice.connect(), w.joinedBy(w.newLink(), "dora"), w.joinedBy(w.newLink(), "eve")
		refused := func(c *client, to *person, words ...string) {
			ack := c.wantNotQueued(c.seal(to.key.Public(), protocol.PriorityNext, "more"), protocol.CodeQueueFull)
			for _, word := range words {
				if !strings.Contains(ack.Error, word) {
					t.Errorf("%s reads %q, which does not say %q", c.name, ack.Error, word)
				}
			}
			if !ack.Retryable || ack.RetryAfter == 0 {
				t.Errorf("ack %+v", ack)
			}
		}
		alice.Send(w.bob, "hi")
		refused(alice, w.bob, "1 of your messages wait", "one sender may have 1 and 16 MiB")
		dora.Send(w.bob, "hi")
		refused(eve, w.bob, "1 messages of people who are not admitted", "there may be 1 and 4 MiB")
		dora.Send(w.cathy, "hi")
		refused(dora, w.alice, "2 messages of those who came by your link", "they may have 2 and 1 MiB")

		bob := w.bob.connect() // and when bob fetches his mail there is room again
		for range 2 {
			var p protocol.Push
			bob.wantFrame(protocol.TypePush, &p)
			bob.Ack(p)
		}
		synctest.Wait()
		alice.Send(w.bob, "once more")
	})
}

// A stranger with an unused link who writes as much as he can: what waits of him is bounded whatever he tries, the members
// notice nothing, and it is his again once somebody fetched it.
func TestStrangerFillsNobodysQueue(t *testing.T) {
	story(t, Limits{Burst: 1 << 20}, func(w *world) {
		link := w.sharedLink()
		mallory := []*client{w.joinedBy(link, "mallory"), w.joinedBy(link, "mallory2"), w.joinedBy(link, "mallory3")}
		w.bob.session("api").leave()
		text := strings.Repeat("x", 60_000)
		sizes := []string{"hi", text}
		taken := 0
		for i := range 1500 {
			c := mallory[i%len(mallory)]
			to := []crypto.PublicKey{w.bob.key.Public(), w.cathy.key.Public(), w.bob.sessionKey("api").Public()}[i%3]
			s := c.seal(to, protocol.PriorityNow, sizes[i/7%2])
			if i%5 == 0 {
				s.Kind = protocol.KindPing
			}
			if c.submit(s).Queued {
				taken++
			}
		}
		if st := w.srv.Status().Queue; st.Bytes > 2*defaultLinkBytes || taken > (1+sideQueueFactor)*defaultLinkMessages {
			t.Errorf("%d messages were taken, %d bytes wait", taken, st.Bytes)
		}
		alice, bob := w.alice.connect(), w.bob.connect()
		alice.Send(w.bob, "members are heard")
		bob.takePush("members are heard")
	})
}

// Receipts and statements have queues of their own, which must not be a way around: a member who sends receipts of messages
// that nobody wrote, and statements that nobody wants, fills neither alice's disk nor the room in which bob's receipts come.
func TestMemberFillsNobodysSideQueue(t *testing.T) {
	story(t, Limits{Burst: 1 << 20, ShareMessages: 5}, func(w *world) {
		mallory := w.cathy.connect()
		receipt := protocol.Receipt{
			Tag: protocol.Tag{Type: protocol.TypeReceipt}, MessageID: "m", To: w.alice.key.Public().String(),
			Recipient: mallory.key.Public().String(), State: "read", Proof: &protocol.Sealed{
				Sender: mallory.key.Public().String(), Nonce: base64.StdEncoding.EncodeToString(make([]byte, 24)),
				Ciphertext: base64.StdEncoding.EncodeToString(make([]byte, maxProof/2)),
			},
		}
		statements := mallory.seal(w.alice.key.Public(), protocol.PriorityNow, "statements")
		statements.Kind = protocol.KindLog
		mallory.wantQueued(statements)
		for range sideQueueFactor*5 - 1 {
			receipt.ClientMessageID = protocol.NewClientID()
			mallory.request(receipt, protocol.TypeOK, new(protocol.OK))
		}
		mallory.wantRefused(receipt, protocol.CodeQueueFull)
		statements.ID = protocol.NewClientID()
		mallory.wantNotQueued(statements, protocol.CodeQueueFull)
		mallory.Send(w.alice, "mail is counted apart")

		alice := w.alice.connect()
		s := alice.Send(w.bob, "hi")
		alice.freeze()
		w.bob.connect().Want("hi")
		alice.lose()
		w.alice.connect().take(protocol.TypeReceipt, func(raw []byte) bool { return bytes.Contains(raw, []byte(s.ID)) })
	})
}

// A removed member's last messages are still counted as his, and he adds none.
func TestRemovedMemberAddsNothing(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, mallory := w.alice.connect(), w.cathy.connect()
		mallory.Send(w.bob, "before")
		alice.wantPublished(w.revoke(w.cathy.key.Public()))
		mallory.wantClose(protocol.CloseBanned)
		c := w.cathy.dial()
		c.wantHelloRefused(c.helloFor(c.key, "control"), protocol.CodeRevoked)
		var p protocol.Push
		bob := w.bob.connect()
		bob.wantFrame(protocol.TypePush, &p)
		bob.Ack(p)
	})
}

// What was counted is given back in each of the ways in which a message goes: fetched, expired, dropped with its recipient's
// session or membership, refused by the disk; also when the broker was killed in between.
func TestCountsFollowWhatWaits(t *testing.T) {
	story(t, Limits{Retention: 2 * time.Hour, MaxSessions: 2}, func(w *world) {
		alice, dora := w.alice.connect(), w.joinedBy(w.newLink(), "dora")
		for _, label := range []string{"0", "1"} {
			w.bob.session(label).leave()
			alice.wantQueued(alice.seal(w.bob.sessionKey(label).Public(), protocol.PriorityNext, "hi"))
			time.Sleep(time.Second)
		}
		dora.Send(w.bob, "hi")
		alice.Send(dora.person, "hi")
		alice.wantQueued(alice.sealGroup("*", "to all", w.bob, w.cathy))
		w.wantCounted()
		w.crash()
		w.wantCounted()

		alice = w.alice.connect()
		w.bob.session("2").leave() // in place of the oldest
		w.wantCounted()
		bob := w.bob.connect()
		bob.takePush("to all")
		w.wantCounted()
		time.Sleep(3 * time.Hour) // expired, and dora's link with it
		w.wantCounted()
		if m := w.srv.mesh(w.mesh); len(m.links.of) != 0 || w.waitsFor(w.cathy) != (load{}) {
			t.Errorf("%v by links, %v for cathy", m.links.of, w.waitsFor(w.cathy))
		}
		alice.Send(w.bob, "again")
	})
}

// A message that was accepted for a session just before that was forgotten comes into a queue that nobody fetches: it is
// dropped with the next sweep, and its sender hears.
func TestMessageForAForgottenSession(t *testing.T) {
	story(t, Limits{MaxSessions: 1}, func(w *world) {
		alice := w.alice.connect()
		w.bob.session("0").leave()
		m := w.srv.mesh(w.mesh)
		a := m.addresses[w.bob.sessionKey("0").Public()]
		time.Sleep(time.Second)
		w.bob.session("1").leave()
		s := alice.seal(a.key, protocol.PriorityNext, "hi")
		row := messageRow{sender: alice.key.Public(), member: alice.key.Public(), messageID: []byte(protocol.MessageID(m.id, alice.key.Public(), s.ID)), clientID: []byte(s.ID)}
		header := row.appendTo(nil)
		m.recount(a, row.sharer, false, int64(len(header)))
		w.srv.queue.Put(queue.Message{To: []queue.Recipient{a.mail}, Headers: [][]byte{header}, Class: queue.Next}, nil)
		time.Sleep(2 * sweepEvery)
		alice.take(protocol.TypeReceipt, func(raw []byte) bool {
			return bytes.Contains(raw, []byte(s.ID)) && bytes.Contains(raw, []byte("the session ended"))
		})
		if w.waitsFor(w.bob) != (load{}) {
			t.Errorf("%v waits", w.waitsFor(w.bob))
		}
	})
}

// A message that was refused or expired came to nothing: who sends it again means it, and is not told that it was queued before.
func TestRepeatOfWhatCameToNothing(t *testing.T) {
	story(t, Limits{Retention: time.Hour}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		p := bob.Get("hi")
		bob.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID, State: string(protocol.StateRefused)})
		synctest.Wait()
		alice.wantQueued(s)
		bob.Want("hi")
		alice.wantQueued(s) // it arrived: that is a repeat
		bob.wantNone(protocol.TypePush)

		s = alice.Send(w.cathy, "hello")
		time.Sleep(2 * time.Hour)
		alice.wantQueued(s)
		w.cathy.connect().Want("hello")
	})
}
