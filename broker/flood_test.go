package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// Bob's machine starts session after session, and none says goodbye. Alice sees as many as he may
// have at a time, the disk keeps as many as a member may have, and the audit log keeps room for
// what others do.
func TestShortSessionsOfOneMember(t *testing.T) {
	story(t, Limits{MaxSessions: 20, ConnsPerMember: 8}, func(w *world) {
		alice := w.alice.connect()
		w.cathy.session("api")
		w.bob.connect()
		before := w.rows(bucketAudit)
		for i := range 200 {
			w.bob.session(fmt.Sprint(i)).lose()
			synctest.Wait()
		}
		seen := make(map[string]int)
		for _, p := range alice.peers() {
			seen[p.MemberPubkey]++
		}
		if n := seen[w.bob.key.Public().String()]; n != 8 {
			t.Errorf("alice sees %d connections of bob", n)
		}
		if n := seen[w.cathy.key.Public().String()]; n != 1 {
			t.Errorf("alice sees %d connections of cathy", n)
		}
		if n := w.rows(bucketSessions); n != 20+2 { // of bob, and alice's and cathy's own
			t.Errorf("%d session statements on the disk", n)
		}
		if n := w.rows(bucketAudit) - before; n > auditPerHour+1 {
			t.Errorf("%d entries in the audit log", n)
		}
		if last := w.bob.session("last"); alice.peers()[last.own.Public().String()].Pubkey == "" {
			t.Error("the newest session is not seen")
		}
	})
}

// How many entries were left out is told when the hour is over, and when the broker stops.
func TestAuditTellsWhatItLeavesOut(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		flood := func(n int) {
			for range n {
				w.bob.connect().leave()
				synctest.Wait()
			}
		}
		leftOut := func() (all []auditDetail) {
			for _, e := range w.alice.connect().auditLog().Entries {
				if e.Event == auditLeftOut {
					all = append(all, e.Detail)
				}
			}
			return all
		}
		flood(auditPerHour/2 + 5)
		if got := leftOut(); len(got) != 1 || got[0].Count != 0 {
			t.Errorf("in the hour: %+v", got)
		}
		time.Sleep(time.Hour + sweepEvery)
		if got := leftOut(); len(got) != 2 || got[1].Count != 10 {
			t.Errorf("an hour later: %+v", got)
		}
		flood(auditPerHour/2 + 1)
		w.restart()
		if got := leftOut(); len(got) != 4 || got[3].Count != 2 {
			t.Errorf("after a restart: %+v", got)
		}
		w.bob.connect()
		page := w.alice.connect().auditLog()
		if err := protocol.VerifyAudit(page.Entries, ""); err != nil {
			t.Error(err)
		}
		if last := page.Entries[len(page.Entries)-1]; last.Event != auditLeft && last.Event != auditJoined {
			t.Errorf("the last entry is %+v", last)
		}
	})
}

// Bob publishes more session statements than he may have keys. Those beyond are refused, and what
// waited for older ones is given up.
func TestPublishedSessionsAreBounded(t *testing.T) {
	story(t, Limits{MaxSessions: 10}, func(w *world) {
		alice := w.alice.connect()
		w.bob.session("old").leave()
		sent := alice.seal(w.bob.sessionKey("old").Public(), protocol.PriorityNext, "hi")
		alice.wantQueued(sent)
		bob := w.bob.connect()
		time.Sleep(time.Second)
		for round := range 3 {
			var sts []*protocol.Statement
			for i := range 50 {
				sts = append(sts, w.bob.sessionStatement(crypto.GenerateKey(), fmt.Sprint(round, "-", i)))
			}
			got := bob.publish(sts...)
			if len(got.Accepted) != 10 || len(got.Refused) != 40 || got.Refused[0].Code != protocol.CodeCapacity {
				t.Errorf("%d accepted, %d refused", len(got.Accepted), len(got.Refused))
			}
			if n := w.rows(bucketSessions); n != 10+1 { // and alice's own
				t.Errorf("%d session statements on the disk", n)
			}
			time.Sleep(time.Second)
		}
		alice.wantTold(sent, "the session ended, and newer ones took its place")
		w.restart()
		if n := len(w.srv.mesh(w.mesh).members[w.bob.key.Public()].sessions); n != 10 {
			t.Errorf("%d session keys after a restart", n)
		}
	})
}

// A session that ended is forgotten when all that can have waited for it has expired, receipts
// included; the member himself is not.
func TestEndedSessionsAreForgotten(t *testing.T) {
	story(t, Limits{Retention: 2 * time.Hour}, func(w *world) {
		w.bob.connect().leave()
		w.bob.session("short").leave()
		w.alice.session("long")
		time.Sleep(protocol.SessionLifetime + 4*time.Hour - sweepEvery)
		if n := w.rows(bucketSessions); n != 3 {
			t.Errorf("%d session statements before", n)
		}
		time.Sleep(3 * sweepEvery)
		synctest.Wait()
		if n := w.rows(bucketSessions); n != 2 {
			t.Errorf("%d session statements after", n)
		}
		cathy := w.cathy.connect()
		if ack := cathy.submit(cathy.seal(w.bob.sessionKey("short").Public(), protocol.PriorityNext, "hi")); ack.Code != protocol.CodeUnknownRecipient {
			t.Errorf("to the session that is forgotten: %+v", ack)
		}
		cathy.Send(w.bob, "to bob himself")
	})
}

// A stranger's link gives him and whoever he gave it to few connections and presences, over all the
// keys that they make.
func TestPresencesOfALink(t *testing.T) {
	story(t, Limits{ConnsPerLink: 4, MaxSessions: 10, HTTPPerAddress: 1000}, func(w *world) {
		alice := w.alice.connect()
		link := w.sharedLink()
		before := w.rows(bucketAudit)
		for i := range 20 {
			dora := w.joinedBy(link, fmt.Sprint("dora", i))
			dora.lose()
			synctest.Wait()
			for n := range 5 {
				dora.person.session(fmt.Sprint("s", n)).lose()
				synctest.Wait()
			}
		}
		if n := w.rows(bucketSessions); n != 1+20+10 {
			t.Errorf("%d session statements on the disk", n)
		}
		if n := w.rows(bucketAudit) - before; n > auditPerHour+1+20 { // and each who enrolled
			t.Errorf("%d entries in the audit log", n)
		}
		if n := len(alice.peers()); n != 1+4 {
			t.Errorf("alice sees %d connections", n)
		}
	})
}

// A session connects with the statement that it made hours ago, older than all that its member made
// since. It is not the one that gives way, and it gets its mail.
func TestOldStatementMakesNoRoomForItself(t *testing.T) {
	story(t, Limits{MaxSessions: 3}, func(w *world) {
		alice := w.alice.connect()
		key := w.bob.sessionKey("old")
		old := w.bob.sessionStatement(key, "old")
		time.Sleep(time.Hour)
		for i := range 3 {
			w.bob.session(fmt.Sprint(i)).leave()
		}
		c := w.bob.dial()
		h := c.helloFor(key, "old")
		h.Session = old.Text()
		c.hello(h)
		alice.wantQueued(alice.seal(key.Public(), protocol.PriorityNext, "hi"))
		c.Want("hi")
		w.bob.connect()
	})
}

// Bob publishes a statement for a key, and cathy connects with that key while it is committed. It
// is hers, and what bob's sessions do later does not take it from her.
func TestKeyThatBecameSomebodyElsesMeanwhile(t *testing.T) {
	story(t, Limits{MaxSessions: 2}, func(w *world) {
		bob := w.bob.connect()
		key := crypto.GenerateKey()
		late := w.bob.sessionStatement(key, "late")
		time.Sleep(time.Second)
		w.cathy.sessions["web"] = key
		cathy := w.cathy.session("web")
		m := w.srv.mesh(w.mesh)
		m.mu.Lock()
		m.appliedLocked(nil, []*protocol.Statement{late}) // as publish does behind its commit
		m.mu.Unlock()
		for i := range 4 {
			time.Sleep(time.Second)
			w.bob.session(fmt.Sprint(i)).leave()
		}
		bob.Send(w.cathy, "hi")
		sent := bob.seal(key.Public(), protocol.PriorityNext, "to her session")
		bob.wantQueued(sent)
		cathy.Want("to her session")
		w.cathy.connect().Want("hi")
	})
}
