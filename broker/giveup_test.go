package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// wantTold wants the refusal of s, with a reason, and nothing left in the queues.
func (c *client) wantTold(s protocol.Send, reason string) {
	c.w.Helper()
	if r := c.WantReceipt(s, protocol.StateRefused, false); r.Reason != reason {
		c.w.Errorf("reason %q, want %q", r.Reason, reason)
	}
	if st := c.status(s.ID); st.Delivered || st.Recipients[0].Status != string(protocol.StateRefused) {
		c.w.Errorf("status %+v", st)
	}
}

func (w *world) wantDropped(why string, n float64) {
	w.Helper()
	synctest.Wait()
	if got := valueOf(w.srv.metrics.drops.WithLabelValues(why)); got != n {
		w.Errorf("%v messages dropped as %s, want %v", got, why, n)
	}
}

// rows counts what a bucket has of the mesh.
func (w *world) rows(bucket string) (n int) {
	w.Helper()
	err := w.srv.db.View(func(tx *store.Tx) error {
		for range tx.Scan(bucket, []byte(w.mesh), nil) {
			n++
		}
		return nil
	})
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// valueOf is the value of a counter or a gauge.
func valueOf(m prometheus.Metric) float64 {
	var v dto.Metric
	if err := m.Write(&v); err != nil {
		panic(err)
	}
	return v.GetCounter().GetValue() + v.GetGauge().GetValue()
}

// Bob is banned while messages wait for him and for his session. Their senders hear so at once, and nothing stays on the disk;
// what waits for cathy is not touched.
func TestMailOfARevokedMember(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.bob.session("web").leave()
		alice, cathy := w.alice.connect(), w.cathy.connect()
		direct := alice.Send(w.bob, "hi")
		web := cathy.seal(w.bob.sessionKey("web").Public(), protocol.PriorityLow, "hi")
		cathy.wantQueued(web)
		group := alice.sealGroup("*", "to all", w.bob, w.cathy)
		alice.wantQueued(group)
		cathy.Want("to all")
		alice.WantReceipt(group, protocol.StateDelivered, true)
		time.Sleep(50 * time.Second) // some of it is in the data base; no sweep comes between

		start := time.Now()
		alice.wantPublished(w.revoke(w.bob.key.Public()))
		alice.wantTold(direct, "the recipient was revoked")
		cathy.wantTold(web, "the recipient was revoked")
		if r := alice.WantReceipt(group, protocol.StateRefused, false); r.Recipient != w.bob.key.Public().String() {
			t.Errorf("receipt %+v", r)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("told after %s", d)
		}
		w.wantDropped(dropRevoked, 3)
		if q := w.srv.Status().Queue; q.Messages != 0 {
			t.Errorf("%d messages wait", q.Messages)
		}
		alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "again"), protocol.CodeUnknownRecipient)
	})
}

// The broker is killed between the revocation and the drop: the first sweep makes up for it.
func TestMailOfARevokedMemberAfterACrash(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		s := alice.Send(w.bob, "hi")
		alice.lose()
		if refused, err := w.srv.mesh(w.mesh).publish([]*protocol.Statement{w.revoke(w.bob.key.Public())}); err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
		w.crash()
		alice = w.alice.connect()
		time.Sleep(sweepEvery + time.Second)
		alice.wantTold(s, "the recipient was revoked")
	})
}

// Dora's link expires before anybody admitted her.
func TestMailOfWhoWasOnlyInvited(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		dora := w.stranger("dora")
		invite, enrol := w.invite(dora, time.Hour)
		if status, body := w.post("/join", "", protocol.JoinRequest{Invite: invite.Text(), Enrol: enrol.Text()}); status != 200 {
			t.Fatalf("join: %d %s", status, body)
		}
		alice := w.alice.connect()
		s := alice.Send(dora, "hi")
		time.Sleep(time.Hour + 2*sweepEvery)
		alice.wantTold(s, "the link that admitted the recipient is over")
		w.wantDropped(dropNotMember, 1)
	})
}

// Bob's oldest session gives way to newer ones, and so does what waited for it.
func TestMailOfAForgottenSession(t *testing.T) {
	story(t, Limits{MaxSessions: 3}, func(w *world) {
		alice := w.alice.connect()
		w.bob.session("old").leave()
		s := alice.seal(w.bob.sessionKey("old").Public(), protocol.PriorityNext, "hi")
		alice.wantQueued(s)
		for _, label := range []string{"a", "b", "c"} {
			time.Sleep(time.Second)
			w.bob.session(label).leave()
		}
		alice.wantTold(s, "the session ended, and newer ones took its place")
		w.wantDropped(dropForgotten, 1)
		if n := w.rows(bucketSessions); n != 3+1 { // bob's, and alice's own
			t.Errorf("%d session statements on the disk", n)
		}
	})
}
