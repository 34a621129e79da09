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

// Every limit is met exactly, which nobody notices, and then exceeded by one, which is refused or ends a connection and is counted
// once. What else it does has tests of its own.
func TestEveryLimitAtItsEdge(t *testing.T) {
	refused := func(code protocol.Code) string { return fmt.Sprintf(`refusals_total{reason="%s"}`, code) }
	closed := func(reason string) string { return fmt.Sprintf(`closes_total{reason="%s"}`, reason) }
	dropped := func(reason string) string { return fmt.Sprintf(`drops_total{reason="%s"}`, reason) }
	var alice, bob *client
	edges := map[string]struct {
		limits  Limits
		counter string
		upTo    func(w *world)
		beyond  func(w *world)
	}{
		"burst": {
			Limits{Burst: 5, Rate: 1}, refused(protocol.CodeRateLimit),
			func(w *world) {
				alice = w.alice.connect()
				for range 5 {
					alice.Send(w.bob, "hi")
				}
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeRateLimit)
			},
		},
		"rate": {
			Limits{Burst: 5, Rate: 2}, refused(protocol.CodeRateLimit),
			func(w *world) {
				alice = w.alice.connect()
				for range 5 {
					alice.Send(w.bob, "hi")
				}
				time.Sleep(time.Second)
				alice.Send(w.bob, "hi")
				alice.Send(w.bob, "hi")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeRateLimit)
			},
		},
		"queue-messages": {
			Limits{QueueMessages: 3}, refused(protocol.CodeQueueFull),
			func(w *world) {
				alice = w.alice.connect()
				for range 3 {
					alice.Send(w.bob, "hi")
				}
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"queue-bytes": {
			Limits{QueueBytes: 10_000}, refused(protocol.CodeQueueFull),
			func(w *world) { // as long as it takes, but for one byte
				alice = w.alice.connect()
				alice.Send(w.bob, "hi")
				w.srv.limits.QueueBytes = 2 * w.waitsFor(w.bob).bytes
				alice.Send(w.bob, "hi")
			},
			func(w *world) {
				w.srv.limits.QueueBytes = 3*w.waitsFor(w.bob).bytes/2 - 1
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"share-messages": {
			Limits{ShareMessages: 3}, refused(protocol.CodeQueueFull),
			func(w *world) { // by person: from two keys, to two keys
				alice = w.alice.connect()
				w.bob.session("api").leave()
				w.alice.session("web").Send(w.bob, "hi")
				alice.Send(w.bob, "hi")
				alice.wantQueued(alice.seal(w.bob.sessionKey("api").Public(), protocol.PriorityNext, "hi"))
				w.cathy.connect().Send(w.bob, "others are not concerned")
				alice.Send(w.cathy, "nor is mail for others")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.sessionKey("api").Public(), protocol.PriorityNow, "hi"), protocol.CodeQueueFull)
			},
		},
		"share-bytes": {
			Limits{}, refused(protocol.CodeQueueFull),
			func(w *world) {
				alice = w.alice.connect()
				alice.Send(w.bob, "hi")
				w.srv.limits.ShareBytes = 2 * w.waitsFor(w.bob).bytes
				alice.Send(w.bob, "hi")
				w.cathy.connect().Send(w.bob, "others are not concerned")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"link-messages": {
			Limits{LinkMessages: 3}, refused(protocol.CodeQueueFull),
			func(w *world) { // two keys of one link, to two members
				alice, bob = w.joinedBy(w.sharedLink(), "dora"), w.joinedBy(w.sharedLink(), "eve")
				alice.Send(w.bob, "hi")
				bob.Send(w.bob, "hi")
				bob.Send(w.cathy, "hi")
				w.joinedBy(w.newLink(), "frank").Send(w.bob, "who has another link is not concerned")
				w.alice.connect().Send(w.bob, "nor are members")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.cathy.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"link-bytes": {
			Limits{}, refused(protocol.CodeQueueFull),
			func(w *world) {
				alice = w.joinedBy(w.sharedLink(), "dora")
				alice.Send(w.bob, "hi")
				w.srv.limits.LinkBytes = 2 * w.waitsFor(w.bob).bytes
				alice.Send(w.cathy, "hi")
				w.joinedBy(w.newLink(), "frank").Send(w.bob, "who has another link is not concerned")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"invited-messages": {
			Limits{InvitedMessages: 3}, refused(protocol.CodeQueueFull),
			func(w *world) { // of three links
				for i := range 3 {
					alice = w.joinedBy(w.newLink(), fmt.Sprint("dora", i))
					alice.Send(w.bob, "hi")
				}
				alice.Send(w.cathy, "for others there is room")
				w.alice.connect().Send(w.bob, "members have theirs")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"invited-bytes": {
			Limits{}, refused(protocol.CodeQueueFull),
			func(w *world) {
				w.joinedBy(w.newLink(), "dora").Send(w.bob, "hi")
				w.srv.limits.InvitedBytes = 2 * w.waitsFor(w.bob).bytes
				alice = w.joinedBy(w.newLink(), "erin")
				alice.Send(w.bob, "hi")
				w.alice.connect().Send(w.bob, "members have theirs")
			},
			func(w *world) {
				alice.wantNotQueued(alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi"), protocol.CodeQueueFull)
			},
		},
		"pre-hello": {
			Limits{}, closed(endTooLarge),
			func(w *world) {
				bob = w.bob.dial()
				bob.writeRaw([]byte(`{"type":"` + strings.Repeat("x", protocol.MaxPreHello-len(`{"type":""}`)) + `"}`))
				bob.hello(bob.helloFor(bob.key, "control"))
			},
			func(w *world) { w.cathy.dial().writeRaw(make([]byte, protocol.MaxPreHello+1)) },
		},
		"frames before hello": {
			Limits{}, refused(protocol.CodeNoHello),
			func(w *world) {
				bob = w.bob.dial()
				for range maxEarly - 2 {
					bob.challenge()
				}
				bob.hello(bob.helloFor(bob.key, "control")) // asks for one more challenge
				bob = w.cathy.dial()
				for range maxEarly {
					bob.challenge()
				}
			},
			func(w *world) {
				bob.write(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}})
				bob.wantClose(websocket.ClosePolicyViolation)
			},
		},
		"frame": {
			Limits{}, closed(endTooLarge),
			func(w *world) {
				bob = w.bob.connect()
				bob.writeRaw([]byte(`{"type":"` + strings.Repeat("x", protocol.MaxFrame-len(`{"type":""}`)) + `"}`))
				bob.peers()
			},
			func(w *world) { w.cathy.connect().writeRaw(make([]byte, protocol.MaxFrame+1)) },
		},
		"hello-timeout": {
			Limits{}, closed(endHelloTimeout),
			func(w *world) {
				bob = w.bob.dial()
				time.Sleep(protocol.HelloTimeout - time.Millisecond)
				bob.hello(bob.helloFor(bob.key, "control"))
				w.cathy.dial()
				time.Sleep(protocol.HelloTimeout - time.Millisecond)
			},
			func(w *world) { time.Sleep(2 * time.Millisecond) },
		},
		"conns-per-address": {
			Limits{ConnsPerAddress: 2}, refused(protocol.CodeCapacity),
			func(w *world) { w.alice.connect(); w.bob.connect() },
			func(w *world) { (&client{person: w.cathy, changed: make(chan struct{})}).wantNoUpgrade() },
		},
		"conns-per-mesh": {
			Limits{ConnsPerMesh: 2}, refused(protocol.CodeCapacity),
			func(w *world) { w.alice.connect(); w.bob.connect() },
			func(w *world) {
				c := w.cathy.dial()
				c.wantHelloRefused(c.helloFor(c.key, "control"), protocol.CodeCapacity)
			},
		},
		"conns-per-member": {
			Limits{ConnsPerMember: 3}, refused(protocol.CodeCapacity),
			func(w *world) { // his sessions, and his control connection beside them, in any order
				w.bob.session("api")
				w.bob.session("web")
				w.bob.connect()
				w.bob.session("web")   // in place of the older one
				w.cathy.session("api") // others are not concerned
			},
			func(w *world) {
				c := w.bob.dial()
				c.wantHelloRefused(c.helloFor(w.bob.sessionKey("third"), "third"), protocol.CodeCapacity)
			},
		},
		"conns-per-link": {
			Limits{ConnsPerLink: 2}, refused(protocol.CodeCapacity),
			func(w *world) { // of two keys
				w.joinedBy(w.sharedLink(), "dora").session("api")
				w.joinedBy(w.newLink(), "frank")
				w.bob.connect()
				w.joinsBy(w.sharedLink(), "eve", http.StatusOK)
			},
			func(w *world) {
				c := w.people["eve"].dial()
				c.wantHelloRefused(c.helloFor(c.key, "control"), protocol.CodeCapacity)
			},
		},
		"max-sessions": {
			Limits{MaxSessions: 3}, dropped(dropForgotten),
			func(w *world) {
				alice = w.alice.connect()
				for i := range 3 {
					time.Sleep(time.Second)
					w.bob.session(fmt.Sprint(i)).leave()
				}
				alice.wantQueued(alice.seal(w.bob.sessionKey("0").Public(), protocol.PriorityNext, "hi"))
			},
			func(w *world) { time.Sleep(time.Second); w.bob.session("3") },
		},
		"http-per-address": {
			Limits{HTTPPerAddress: 3}, refused(protocol.CodeRateLimit),
			func(w *world) {
				for range 3 {
					w.post("/join", "", protocol.JoinRequest{})
				}
			},
			func(w *world) { w.post("/join", "", protocol.JoinRequest{}) },
		},
		"http-body": {
			Limits{HTTPBody: 2000}, refused(protocol.CodePayloadTooLarge),
			func(w *world) {
				w.post("/join", "", map[string]string{"invite": strings.Repeat("x", 2000-len(`{"invite":""}`))})
			},
			func(w *world) {
				w.post("/join", "", map[string]string{"invite": strings.Repeat("x", 2001-len(`{"invite":""}`))})
			},
		},
		"enrol-slack": {
			Limits{EnrolSlack: 1, HTTPPerAddress: 100}, refused(protocol.CodeUsedUp),
			func(w *world) {
				for i := range 2 { // one that the issuer allows, and the slack
					w.joinsBy(w.sharedLink(), fmt.Sprint("dora", i), http.StatusOK)
				}
			},
			func(w *world) { w.joinsBy(w.sharedLink(), "dora2", http.StatusGone) },
		},
		"card-every": {
			Limits{}, refused(protocol.CodeRateLimit),
			func(w *world) {
				bob = w.bob.connect()
				bob.request(bob.emptyCard(), protocol.TypeOK, new(protocol.OK))
				time.Sleep(defaultCardEvery)
				bob.request(bob.emptyCard(), protocol.TypeOK, new(protocol.OK))
				time.Sleep(defaultCardEvery - time.Millisecond)
			},
			func(w *world) { bob.wantRefused(bob.emptyCard(), protocol.CodeRateLimit) },
		},
		"silence": {
			Limits{}, closed(endSilent),
			func(w *world) {
				w.bob.connect().freeze()
				time.Sleep(protocol.SilenceLimit - time.Millisecond)
			},
			func(w *world) { time.Sleep(2 * time.Millisecond) },
		},
		"write-timeout": {
			Limits{}, closed(endSlow),
			func(w *world) {
				alice, bob = w.alice.connect(), w.bob.connect()
				bob.freeze()
				for range 12 {
					alice.Send(w.bob, strings.Repeat("x", 32<<10))
				}
				time.Sleep(defaultWriteTimeout - time.Millisecond)
			},
			func(w *world) { time.Sleep(2 * time.Millisecond) },
		},
		"retention": {
			Limits{Retention: 2 * time.Hour}, dropped(dropExpired),
			func(w *world) {
				w.alice.connect().Send(w.bob, "hi")
				time.Sleep(2*time.Hour - time.Second)
				synctest.Wait()
			},
			func(w *world) { time.Sleep(2 * sweepEvery) },
		},
		"ciphertext": {
			Limits{}, refused(protocol.CodePayloadTooLarge),
			func(w *world) {
				alice = w.alice.connect()
				s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
				s.Ciphertext = strings.Repeat("A", maxCiphertext)
				alice.wantQueued(s)
			},
			func(w *world) {
				s := alice.seal(w.bob.key.Public(), protocol.PriorityNext, "hi")
				s.Ciphertext = strings.Repeat("A", maxCiphertext+4)
				alice.wantNotQueued(s, protocol.CodePayloadTooLarge)
			},
		},
	}
	for name, e := range edges {
		t.Run(name, func(t *testing.T) {
			story(t, e.limits, func(w *world) {
				counter := e.counter
				value := func() (n int) {
					synctest.Wait()
					fmt.Sscanf(strings.TrimPrefix(grep(w.scrape(), counter), "claudemesh_broker_"+counter+" "), "%d", &n)
					return n
				}
				e.upTo(w)
				if n := value(); n != 0 {
					t.Fatalf("at the limit: %s is %d", counter, n)
				}
				e.beyond(w)
				if n := value(); n != 1 {
					t.Errorf("one past the limit: %s is %d", counter, n)
				}
			})
		})
	}
	// Of the others most bound what is in flight, and refuse nobody.
	elsewhere := map[string]string{
		"streams": "TestEventStreamsAreCapped", "streams-per-key": "TestEventStreamsAreCapped", "streams-per-member": "TestEventStreamsOfAMember",
		"window": "TestWindow", "window-bytes": "TestWindow", "reply-bytes": "TestRepliesWaitForASlowReader", "list-bytes": "TestListsThatDoNotFitOneFrame",
		"dedupe": "TestDedupeForgetsTheOldest", "lease": "TestFrozenLaptopLeavesAfterTheLease", "ping-every": "TestSilence", "drain": "TestDrain",
		"join-wait": "TestJoinWaitsForTheCertificate", "file-bytes": "TestBlobQuotas", "member-file-bytes": "TestBlobQuotas",
		"member-files": "TestBlobQuotas", "mesh-file-bytes": "TestBlobQuotas", "file-life": "TestBlobsEnd", "upload-life": "TestBlobsEnd",
	}
	for _, f := range new(Limits).fields() {
		if _, there := edges[f.name]; !there && elsewhere[f.name] == "" {
			t.Errorf("the limit %s has no test at its edge", f.name)
		}
	}
}

// sharedLink is one link of alice's for one person, newLink another one.
func (w *world) sharedLink() *sharedLink {
	if w.link == nil {
		w.link = w.newLink()
	}
	return w.link
}

func (w *world) newLink() *sharedLink {
	link := crypto.GenerateKey()
	return &sharedLink{key: link, invite: w.sign(&protocol.Invite{
		Mesh: w.mesh, Issuer: w.alice.key.Public(), Link: link.Public(), Role: protocol.RoleMember, Uses: 1,
		Expires: time.Now().Add(time.Hour).Unix(), URL: "wss://" + testHost + "/ws", Owner: w.owner.Public(),
	}, w.alice.key)}
}

// joinedBy is the connection of somebody who holds the link and is not admitted.
func (w *world) joinedBy(l *sharedLink, name string) *client {
	w.Helper()
	p := w.stranger(name)
	if status, body := w.post("/join", "", protocol.JoinRequest{Invite: l.invite.Text(), Enrol: w.enrol(p, l.key).Text()}); status != http.StatusOK {
		w.Fatalf("%s: %d %s", name, status, body)
	}
	return p.connect()
}

type sharedLink struct {
	key    *crypto.PrivateKey
	invite *protocol.Statement
}

func (w *world) joinsBy(l *sharedLink, name string, want int) {
	w.Helper()
	p := w.stranger(name)
	if status, body := w.post("/join", "", protocol.JoinRequest{Invite: l.invite.Text(), Enrol: w.enrol(p, l.key).Text()}); status != want {
		w.Errorf("%s: %d %s, want %d", name, status, body, want)
	}
}

// emptyCard is a card for nobody.
func (c *client) emptyCard() protocol.SetCard {
	s := c.seal(c.w.alice.key.Public(), protocol.PriorityLow, "hi")
	return protocol.SetCard{Tag: protocol.Tag{Type: protocol.TypeSetCard}, ID: protocol.NewClientID(), Nonce: s.Nonce, Ciphertext: s.Ciphertext}
}
