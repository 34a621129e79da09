package broker

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// padded is a frame of exactly n bytes.
func padded(typ string, n int) []byte {
	head, tail := `{"type":"`+typ+`","_reqId":"pad","pad":"`, `"}`
	return []byte(head + strings.Repeat("x", n-len(head)-len(tail)) + tail)
}

func TestFrameBeforeHello(t *testing.T) {
	story(t, Limits{PreHello: 4 << 10}, func(w *world) {
		c := w.bob.dial()
		c.writeRaw(padded(protocol.TypeHelloChallenge, 4<<10))
		var ch protocol.Challenge
		c.wantFrame(protocol.TypeChallenge, &ch)
		c.writeRaw(padded(protocol.TypeHelloChallenge, 4<<10+1))
		c.wantClose(websocket.CloseMessageTooBig)
	})
}

func TestFrameAfterHello(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := w.bob.connect()
		c.writeRaw(padded(protocol.TypeListPeers, protocol.MaxFrame))
		c.take(protocol.TypePeersList, func([]byte) bool { return true })
		go c.ws.WriteMessage(websocket.TextMessage, padded(protocol.TypeListPeers, protocol.MaxFrame+1))
		c.wantClose(websocket.CloseMessageTooBig)
	})
}

func TestHelloTimeout(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		c := w.bob.dial()
		time.Sleep(protocol.HelloTimeout - time.Second)
		h := c.helloFor(c.key, "control")
		c.hello(h)
		time.Sleep(time.Minute)
		c.peers()

		c = w.cathy.dial()
		start := time.Now()
		time.Sleep(protocol.HelloTimeout - time.Second)
		c.challenge() // does not win time
		c.wantClose(websocket.ClosePolicyViolation)
		if d := time.Since(start); d != protocol.HelloTimeout {
			t.Errorf("closed after %s", d)
		}
	})
}

func TestSilence(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect() // his reader answers pings
		time.Sleep(time.Hour)
		bob.peers()
		cathy := w.cathy.connect()
		cathy.freeze()
		start := time.Now()
		for w.srv.mesh(w.mesh).isConnected(cathy.key.Public()) {
			time.Sleep(time.Second)
		}
		if d := time.Since(start); d < protocol.SilenceLimit || d > protocol.SilenceLimit+2*time.Second {
			t.Errorf("ended after %s", d)
		}
		synctest.Wait()
		if !strings.Contains(w.log.String(), "reason="+endSilent) {
			t.Error("not ended as silent")
		}
	})
}

func (m *mesh) isConnected(key crypto.PublicKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.members[key].conns.get(key) != nil
}

func TestClientPingsAreAnswered(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		got := make(chan string, 1)
		bob.ws.SetPongHandler(func(data string) error { got <- data; return nil })
		bob.ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second))
		if data := <-got; data != "are you there" {
			t.Errorf("pong %q", data)
		}
	})
}

func TestTokenBucket(t *testing.T) {
	story(t, Limits{Burst: 5, Rate: 2}, func(w *world) {
		alice, web := w.alice.connect(), w.alice.session("web")
		for range 4 {
			alice.Send(w.bob, "hi")
		}
		web.Send(w.bob, "the fifth") // sessions share their member's bucket
		ack := alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeRateLimit)
		if !ack.Retryable || ack.RetryAfter != 500 {
			t.Errorf("ack %+v", ack)
		}
		alice.wantRefused(protocol.Tag{Type: protocol.TypeListPeers}, protocol.CodeRateLimit)
		time.Sleep(500 * time.Millisecond)
		alice.Send(w.bob, "hi")
		w.bob.connect().Send(w.alice, "others are not concerned")
	})
}

func TestQueueFullByMessages(t *testing.T) {
	story(t, Limits{QueueMessages: 3}, func(w *world) {
		alice := w.alice.connect()
		for range 3 {
			alice.Send(w.bob, "hi")
		}
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNow, "one more")
		ack := alice.wantNotQueued(s, protocol.CodeQueueFull)
		if !ack.Retryable || ack.RetryAfter == 0 {
			t.Errorf("ack %+v", ack)
		}
		alice.wantNotQueued(alice.sealGroup("*", "to all", w.bob, w.cathy), protocol.CodeQueueFull)
		alice.Send(w.cathy, "cathy has room")
		log := alice.seal(w.bob.key.Public(), protocol.PriorityNow, "statements")
		log.Kind = protocol.KindLog
		alice.wantQueued(log) // not counted

		bob := w.bob.connect()
		bob.Want("statements")
		bob.Want("hi")
		synctest.Wait()
		alice.wantQueued(s) // the id is free: nothing was kept under it
		for _, text := range []string{"one more", "hi", "hi"} {
			bob.takePush(text)
		}
	})
}

// takePush wants a push of that text, wherever it is among those that came.
func (c *client) takePush(text string) {
	c.w.Helper()
	c.take(protocol.TypePush, func(raw []byte) bool {
		p := decodePush(c.w, raw)
		got, _ := c.open(&p).Text()
		return got == text
	})
}

func TestQueueFullByBytes(t *testing.T) {
	story(t, Limits{QueueBytes: 10_000}, func(w *world) {
		alice := w.alice.connect()
		alice.Send(w.bob, strings.Repeat("x", 5000)) // 8 KiB as a row
		alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, strings.Repeat("x", 2000)), protocol.CodeQueueFull)
		alice.Send(w.bob, "hi")
	})
}

func TestWindow(t *testing.T) {
	tests := []struct {
		name   string
		limits Limits
		text   string
	}{
		{"frames", Limits{Window: 4}, "hi"},
		{"bytes", Limits{WindowBytes: 30_000}, strings.Repeat("x", 5000)}, // rows of about 8 KiB
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			story(t, tt.limits, func(w *world) {
				alice, bob := w.alice.connect(), w.bob.connect()
				for range 10 {
					alice.Send(w.bob, tt.text)
				}
				synctest.Wait()
				if n := bob.count(protocol.TypePush); n != 4 && !(tt.name == "bytes" && n == 3) {
					t.Errorf("%d pushes without an acknowledgement", n)
				}
				for range 10 {
					bob.Want(tt.text)
				}
				bob.wantNone(protocol.TypePush)
			})
		})
	}
}

func (c *client) count(typ string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.typ == typ {
			n++
		}
	}
	return n
}

func TestDedupeForgetsTheOldest(t *testing.T) {
	story(t, Limits{Dedupe: 3}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		first := alice.Send(w.bob, "0")
		for i := range 2 {
			alice.Send(w.bob, fmt.Sprint(i+1))
		}
		alice.wantQueued(first) // the last three are known
		for i := range 3 {
			bob.Want(fmt.Sprint(i))
		}
		bob.wantNone(protocol.TypePush)
		alice.Send(w.bob, "3")
		bob.Want("3")
		alice.wantQueued(first) // forgotten: it is pushed again, and the recipient dedupes
		bob.Want("0")

		second := alice.Send(w.bob, "twice")
		before := bob.Get("twice")
		for i := range 3 {
			alice.Send(w.bob, fmt.Sprint(i))
			bob.Want(fmt.Sprint(i))
		}
		alice.wantQueued(second)
		bob.Want("twice")
		bob.Ack(before) // of the same id: each row has its own acknowledgement
		bob.lose()
		w.bob.connect().wantNone(protocol.TypePush)
	})
}

func TestConnectionsOfAnAddress(t *testing.T) {
	story(t, Limits{ConnsPerAddress: 2}, func(w *world) {
		first := w.alice.connect()
		w.bob.dial()
		c := &client{person: w.cathy, changed: make(chan struct{})}
		if status := c.wantNoUpgrade(); status != http.StatusTooManyRequests {
			t.Errorf("third connection: %d", status)
		}
		w.cathy.addr = "10.0.0.3:1"
		w.cathy.connect()
		w.cathy.addr = w.alice.addr
		first.leave()
		w.cathy.connect()
		w.alice.addr = "127.0.0.1:1"
		for range 4 { // loopback is exempt
			w.alice.connect()
		}
	})
}

func TestConnectionsOfAMesh(t *testing.T) {
	story(t, Limits{ConnsPerMesh: 2}, func(w *world) {
		w.alice.connect()
		w.bob.connect()
		c := w.cathy.dial()
		c.wantHelloRefused(c.helloFor(c.key, "control"), protocol.CodeCapacity)
		w.bob.connect() // in place of his older one
	})
}

func TestSessionKeysOfAMember(t *testing.T) {
	story(t, Limits{MaxSessions: 3}, func(w *world) {
		w.bob.connect()
		for i := range 3 {
			time.Sleep(time.Second)
			w.bob.session(fmt.Sprint(i)).leave()
		}
		alice := w.alice.connect()
		send := func(label string) protocol.Ack {
			return alice.submit(alice.seal(w.bob.sessionKey(label).Public(), protocol.PriorityNext, "hi"))
		}
		if ack := send("0"); ack.Code != protocol.CodeUnknownRecipient { // gave way to "2"
			t.Errorf("the oldest: %+v", ack)
		}
		for _, label := range []string{"1", "2"} {
			if ack := send(label); !ack.Queued {
				t.Errorf("session %s: %+v", label, ack)
			}
		}
	})
}

func TestRepliesWaitForASlowReader(t *testing.T) {
	story(t, Limits{ReplyBytes: 8 << 10, WriteTimeout: time.Hour, Silence: time.Hour}, func(w *world) {
		bob := w.bob.connect()
		bob.freeze()
		c := w.srv.mesh(w.mesh).members[bob.key.Public()].conns.get(bob.key.Public())
		done := make(chan struct{})
		go func() { // far more answers than the pipe and the limit hold
			defer close(done)
			for range 500 {
				bob.ws.WriteMessage(websocket.TextMessage, []byte(`{"type":"list_members","_reqId":"x"}`))
			}
		}()
		synctest.Wait()
		c.mu.Lock()
		waiting := c.out.size()
		c.mu.Unlock()
		if waiting > 16<<10 {
			t.Errorf("%d bytes of replies wait", waiting)
		}
		bob.thaw()
		<-done
		synctest.Wait()
		if n := bob.count(protocol.TypeMembersList); n != 500 {
			t.Errorf("%d of 500 answers", n)
		}
	})
}

func TestSealedSizes(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice := w.alice.connect()
		s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, strings.Repeat("x", protocol.MaxBody))
		alice.wantQueued(s)
		s = alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		s.Ciphertext = strings.Repeat("A", maxCiphertext)
		alice.wantQueued(s)
		s = alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		s.Ciphertext = strings.Repeat("A", maxCiphertext+4)
		alice.wantNotQueued(s, protocol.CodePayloadTooLarge)
		s.Ciphertext, s.Nonce = "AAAA", "AAAA"
		alice.wantNotQueued(s, protocol.CodeInvalid)
		s = alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
		s.ID = "short"
		alice.wantNotQueued(s, protocol.CodeInvalid)
	})
}

func TestListsThatDoNotFitOneFrame(t *testing.T) {
	story(t, Limits{ListBytes: 2500}, func(w *world) {
		alice := w.alice.connect()
		w.bob.connect()
		w.cathy.connect()
		alice.clear()
		var members protocol.MembersList
		alice.request(protocol.Tag{Type: protocol.TypeListMembers}, protocol.TypeMembersList, &members)
		synctest.Wait()
		pushed := 0
		for alice.count(protocol.TypeMembership) > 0 {
			var f protocol.Membership
			alice.wantFrame(protocol.TypeMembership, &f)
			pushed += len(f.Members)
		}
		if n := len(members.Members); n+pushed != 3 || n == 0 || pushed == 0 {
			t.Errorf("%d members listed, %d pushed", n, pushed)
		}
		n := len(alice.peers())
		synctest.Wait()
		pushed = 0
		for alice.count(protocol.TypePresence) > 0 {
			var f protocol.Presence
			alice.wantFrame(protocol.TypePresence, &f)
			pushed += len(f.Peers)
		}
		if n+pushed != 3 || n == 0 || pushed == 0 {
			t.Errorf("%d peers listed, %d pushed", n, pushed)
		}
	})
}

func TestEndDoesNotWaitForAFrozenPeer(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.bob.connect().freeze()
		w.bob.connect() // replaces it
		time.Sleep(closeGrace + time.Second)
		w.srv.mu.Lock()
		defer w.srv.mu.Unlock()
		if n := len(w.srv.conns); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}
