package broker

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

func TestAliceWritesToBob(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		bob.Want("hi")
		alice.WantReceipt(s, protocol.StateDelivered, true)
	})
}

func TestOfflineThenBack(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		for _, text := range []string{"one", "two", "three"} {
			alice.Send(w.bob, text)
		}
		bob := w.bob.connect()
		for _, text := range []string{"one", "two", "three"} {
			bob.Want(text)
		}
		bob.wantNone(protocol.TypePush)
		bob.leave()
		bob = w.bob.connect()
		bob.wantNone(protocol.TypePush)
	})
}

func TestReceiptReachesTheOfflineSenderLater(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		s := alice.Send(w.bob, "hi")
		alice.leave()
		w.bob.connect().Want("hi")
		time.Sleep(time.Hour)
		alice = w.alice.connect()
		alice.WantReceipt(s, protocol.StateDelivered, true)
		alice.leave()
		w.alice.connect().wantNone(protocol.TypeReceipt)
	})
}

func TestUnacknowledgedIsPushedAgainOnReconnectOnly(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		alice.Send(w.bob, "hi")
		bob.Get("hi")
		time.Sleep(10 * time.Minute)
		bob.wantNone(protocol.TypePush)
		bob.lose()
		bob = w.bob.connect()
		bob.Want("hi")
		bob.lose()
		w.bob.connect().wantNone(protocol.TypePush)
	})
}

func TestRestartKeepsTheQueue(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		first := alice.Send(w.bob, "one")
		bob.Want("one")
		alice.WantReceipt(first, protocol.StateDelivered, true)
		bob.lose()
		alice.Send(w.bob, "two")
		w.restart()
		bob = w.bob.connect()
		bob.Want("two")
		bob.wantNone(protocol.TypePush)
		w.alice.connect().WantReceipt(protocol.Send{ID: alice.lastID}, protocol.StateDelivered, true)
	})
}

func TestKilledBrokerKeepsWhatItAcknowledged(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		for _, text := range []string{"one", "two", "three"} {
			alice.Send(w.bob, text)
		}
		before := w.srv
		dir := w.TempDir()
		if err := os.CopyFS(dir, os.DirFS(w.cfg.Dir)); err != nil { // what kill -9 leaves: nothing was closed
			t.Fatal(err)
		}
		w.close()
		w.cfg.Dir = dir
		w.open()
		if before.AdminToken() != w.srv.AdminToken() {
			t.Error("the admin token changed")
		}
		bob := w.bob.connect()
		for _, text := range []string{"one", "two", "three"} {
			bob.Want(text)
		}
	})
}

func TestRepeatIsAnsweredAndNotPushedTwice(t *testing.T) {
	story(t, Limits{Burst: 1, Rate: 0.001}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		id := alice.wantQueued(s)
		for range 3 { // answered although the bucket is empty
			if again := alice.wantQueued(s); again != id {
				t.Fatalf("the repeat has the id %s, not %s", again, id)
			}
		}
		bob.Want("hi")
		bob.wantNone(protocol.TypePush)
		alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "more"), protocol.CodeRateLimit)
	})
}

func TestNowGoesBeforeNextBeforeLow(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		const each = pullRows + 2 // more than one round
		for _, prio := range []string{protocol.PriorityLow, protocol.PriorityNext, protocol.PriorityNow} {
			for i := range each {
				alice.wantQueued(alice.seal(w.bob.key.Public(), prio, fmt.Sprint(prio, i)))
			}
		}
		bob := w.bob.connect()
		for _, prio := range []string{protocol.PriorityNow, protocol.PriorityNext, protocol.PriorityLow} {
			for i := range each {
				bob.Want(fmt.Sprint(prio, i))
			}
		}
	})
}

func TestGroupMessage(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		dora := w.stranger("dora") // has no certificate: her wrap is left out
		s := alice.sealGroup("@backend", "to all", w.bob, w.cathy, dora)
		alice.wantQueued(s)
		bob.Want("to all")
		if r := alice.WantReceipt(s, protocol.StateDelivered, true); r.Recipient != w.bob.key.Public().String() {
			t.Errorf("receipt of %s", r.Recipient)
		}
		w.cathy.connect().Want("to all")
		alice.WantReceipt(s, protocol.StateDelivered, true)
		alice.wantNotQueued(alice.sealGroup("*", "to nobody", dora), protocol.CodeUnknownRecipient)
		topic := alice.sealGroup("*", "no", w.bob)
		topic.TargetSpec = "#topic"
		alice.wantNotQueued(topic, protocol.CodeInvalid)
		none := alice.sealGroup("*", "no wraps")
		alice.wantNotQueued(none, protocol.CodeInvalid)
	})
}

func TestSessionsHaveMailOfTheirOwn(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		web, api := w.bob.session("web"), w.bob.session("api")
		key := w.bob.sessionKey("web").Public()
		s := alice.seal(key, protocol.PriorityNext, "for web")
		alice.wantQueued(s)
		web.Want("for web")
		alice.WantReceipt(s, protocol.StateDelivered, true)
		api.wantNone(protocol.TypePush)
		bob.wantNone(protocol.TypePush)

		web.leave() // now the control connection drains it
		s = alice.seal(key, protocol.PriorityNext, "later")
		alice.wantQueued(s)
		bob.Get("later")

		web = w.bob.session("web") // nobody acknowledged: it is pushed again where it belongs
		web.Want("later")
		alice.WantReceipt(s, protocol.StateDelivered, true)
	})
}

func TestMessageWaitsForAnEndedSession(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, web := w.alice.connect(), w.bob.session("web")
		key := w.bob.sessionKey("web").Public()
		web.leave()
		alice.wantQueued(alice.seal(key, protocol.PriorityNext, "for web"))
		w.restart() // the session's statement is kept
		w.bob.connect().Want("for web")
	})
}

func TestControlConnectionSendsForAnEndedSession(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob, web := w.bob.connect(), w.bob.session("web")
		web.leave()
		s := web.seal(w.alice.key.Public(), protocol.PriorityNext, "last words")
		s.Sender = w.bob.sessionKey("web").Public().String()
		bob.wantQueued(s)
		p := w.alice.connect().Want("last words")
		if p.SenderPubkey != s.Sender {
			t.Errorf("sender %s, want %s", p.SenderPubkey, s.Sender)
		}
		var r protocol.Receipt
		bob.wantFrame(protocol.TypeReceipt, &r)
		if r.ClientMessageID != s.ID || r.Proof == nil {
			t.Errorf("receipt %+v", r)
		}

		s = bob.seal(w.alice.key.Public(), protocol.PriorityNext, "not mine")
		s.Sender = w.cathy.key.Public().String()
		bob.wantNotQueued(s, protocol.CodeForbidden)
		api := w.bob.session("api")
		s = api.seal(w.alice.key.Public(), protocol.PriorityNext, "of another session")
		s.Sender = w.bob.sessionKey("web").Public().String()
		api.wantNotQueued(s, protocol.CodeForbidden)
	})
}

func TestReceiptsWithoutProofAreTheBrokersWord(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		p := bob.Get("hi")
		bob.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID})
		alice.WantReceipt(s, protocol.StateDelivered, false)

		s = alice.Send(w.bob, "take this")
		p = bob.Get("take this")
		bob.write(protocol.ClientAck{
			Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: p.MessageID, State: "refused", Proof: bob.proof(p, protocol.StateRefused),
		})
		alice.WantReceipt(s, protocol.StateRefused, true)
	})
}

func TestShownAndReadReachTheSender(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		p := bob.Want("hi")
		alice.WantReceipt(s, protocol.StateDelivered, true)
		r := protocol.Receipt{
			Tag: protocol.Tag{Type: protocol.TypeReceipt}, MessageID: p.MessageID, ClientMessageID: p.ClientMessageID, To: p.SenderPubkey,
			Recipient: w.bob.key.Public().String(), State: "shown", At: time.Now().UnixMilli(), Proof: bob.proof(p, protocol.StateShown),
		}
		var ok protocol.OK
		bob.request(r, protocol.TypeOK, &ok)
		alice.WantReceipt(s, protocol.StateShown, true)

		r.Recipient = w.cathy.key.Public().String()
		bob.wantRefused(r, protocol.CodeForbidden)
		r.State = "eaten"
		bob.wantRefused(r, protocol.CodeInvalid)
	})
}

func TestReceiptsAndLogsHaveNoReceipt(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNow, "statements")
		s.Kind = protocol.KindLog
		alice.wantQueued(s)
		bob.Want("statements")
		alice.wantNone(protocol.TypeReceipt)
	})
}

func TestMessageStatus(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		s := alice.Send(w.bob, "hi")
		p := bob.Get("hi")
		ask := func(id string) (state protocol.MessageState) {
			alice.request(protocol.MessageStatus{Tag: protocol.Tag{Type: protocol.TypeMessageStatus}, MessageID: id}, protocol.TypeMessageState, &state)
			return state
		}
		if got := ask(s.ID); got.Delivered || got.MessageID != p.MessageID || got.Recipients[0].Status != "queued" || got.Recipients[0].Name != "bob" {
			t.Errorf("before: %+v", got)
		}
		bob.Ack(p)
		alice.WantReceipt(s, protocol.StateDelivered, true)
		if got := ask(p.MessageID[:8]); !got.Delivered || got.Recipients[0].Status != "delivered" {
			t.Errorf("after: %+v", got)
		}
		alice.wantRefused(protocol.MessageStatus{Tag: protocol.Tag{Type: protocol.TypeMessageStatus}, MessageID: "nothing-of-that-name"}, protocol.CodeNotFound)
		bob.wantRefused(protocol.MessageStatus{Tag: protocol.Tag{Type: protocol.TypeMessageStatus}, MessageID: s.ID}, protocol.CodeNotFound)
	})
}

func TestExpiredMessageIsToldToItsSender(t *testing.T) {
	story(t, Limits{Retention: time.Hour}, func(w *world) {
		alice := w.alice.connect()
		s := alice.Send(w.bob, "hi")
		time.Sleep(time.Hour + 2*sweepEvery)
		alice.WantReceipt(s, "expired", false)
		w.bob.connect().wantNone(protocol.TypePush)
	})
}

func TestFrozenCathyDoesNotDisturbBob(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob, cathy := w.alice.connect(), w.bob.connect(), w.cathy.connect()
		cathy.freeze()
		text := strings.Repeat("x", 32<<10)
		for range 12 { // far more than a pipe holds
			alice.Send(w.cathy, text)
		}
		start := time.Now()
		for range 12 {
			alice.Send(w.bob, "hi")
			bob.Want("hi")
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("bob waited %s", waited)
		}
		time.Sleep(defaultWriteTimeout + time.Second)
		if !strings.Contains(w.log.String(), "reason="+endSlow) {
			t.Error("cathy was not ended as slow")
		}
		cathy = w.cathy.connect()
		for range 12 {
			cathy.Want(text)
		}
	})
}

// A client id names one message. The same bytes again are answered as they were the first time; other bytes or another target
// under the id are refused, before and after a restart, and the first message arrives as it was.
func TestClientIDWithAnotherMessage(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		first := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "pay 10")
		id := alice.wantQueued(first)
		other := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "pay 1000")
		other.ID = first.ID
		elsewhere := first
		elsewhere.TargetSpec = w.cathy.key.Public().String()
		for _, s := range []protocol.Send{other, elsewhere} {
			alice.wantNotQueued(s, protocol.CodeExists)
		}
		if again := alice.wantQueued(first); again != id {
			t.Errorf("the repeat has the id %s, not %s", again, id)
		}
		w.restart()
		alice = w.alice.connect()
		alice.wantNotQueued(elsewhere, protocol.CodeExists)
		if again := alice.wantQueued(first); again != id {
			t.Errorf("after a restart the repeat has the id %s, not %s", again, id)
		}
		bob := w.bob.connect()
		bob.Want("pay 10")
		bob.wantNone(protocol.TypePush)
	})
}
