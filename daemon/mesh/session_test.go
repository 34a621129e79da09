package mesh

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/keyring"
	"github.com/claudemesh/claudemesh/protocol"
)

func TestSessionMail(t *testing.T) {
	story(t, func(w *world) {
		web, api := w.bob.session("web"), w.bob.session("api")
		pass(time.Second)
		id := w.alice.send("bob/web", "for web")
		w.bob.want("alice: for web")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		if got := w.bob.inbox(api); len(got) != 0 {
			t.Errorf("api sees %q", got)
		}
		if got := w.bob.messages(web); len(got) != 1 || got[0].ToSession != "web" {
			t.Errorf("web sees %+v", got)
		}
		// A session sends as itself, and to its sibling.
		w.bob.sendAs(web, protocol.SendRequest{To: "alice", Body: "from web"})
		w.bob.sendAs(web, protocol.SendRequest{To: "api", Body: "sibling"})
		synctest.Wait()
		from := w.alice.messages(nil)[0].From
		if from.Name != "bob" || from.Session != "web" || from.Pubkey != web.Public().String() || from.MemberPubkey != w.bob.m.self.String() {
			t.Errorf("from: %+v", from)
		}
		if got := w.bob.inbox(api); !slices.Equal(got, []string{"bob: sibling"}) {
			t.Errorf("api sees %q", got)
		}
	})
}

// D37: what an ended session left in the outbox goes out, and what is sent to it arrives.
func TestEndedSession(t *testing.T) {
	story(t, func(w *world) {
		web := w.bob.session("web")
		pass(time.Second)
		w.bob.unplug()
		id := w.bob.sendAs(web, protocol.SendRequest{To: "alice", Body: "last words"})
		if err := w.bob.m.RemoveSession(web.ID); err != nil {
			t.Fatal(err)
		}
		w.bob.kill() // and the daemon does not survive either
		late := w.alice.send("bob/web", "too late?")
		pass(time.Minute)
		w.alice.want("bob: last words")
		w.bob.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.bob.want("alice: too late?")
		w.alice.wantState(late, protocol.StateDelivered, protocol.ProofPeer)
	})
}

// A session that lived and ended without a network is unknown to the broker until its last message goes out.
func TestSessionThatNeverConnected(t *testing.T) {
	story(t, func(w *world) {
		w.bob.unplug()
		web := w.bob.session("web")
		id := w.bob.sendAs(web, protocol.SendRequest{To: "alice", Body: "from the train"})
		if err := w.bob.m.RemoveSession(web.ID); err != nil {
			t.Fatal(err)
		}
		w.bob.plug()
		pass(time.Minute)
		w.alice.want("bob: from the train")
		w.bob.unplug() // the receipt waits for a connection that knows the session from its beginning
		w.bob.plug()
		pass(time.Minute)
		w.bob.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

func TestSessionKeyIsForEver(t *testing.T) {
	story(t, func(w *world) {
		first := w.bob.session("web")
		w.bob.restart()
		if again := w.bob.session("web"); again.Public() != first.Public() {
			t.Error("the session has another key after a restart")
		}
	})
}

func TestPeersAndPresence(t *testing.T) {
	story(t, func(w *world) {
		if got := w.alice.peerNames(); !slices.Equal(got, []string{"alice", "bob", "cathy"}) {
			t.Errorf("peers without sessions: %v", got)
		}
		web := w.bob.session("web", "backend")
		pass(time.Minute)
		if got := w.alice.peerNames(); !slices.Equal(got, []string{"alice", "bob/web", "cathy"}) {
			t.Errorf("peers: %v", got)
		}
		summary := "fixing the build"
		if err := w.bob.m.SetPresence(context.Background(), protocol.PresenceRequest{Summary: &summary, Status: "working", Join: []string{"oncall"}}, web); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		for _, n := range []*node{w.alice, w.bob} {
			for _, p := range n.m.Peers() {
				if p.Session == "web" && (p.Summary != summary || p.Status != "working" || !slices.Equal(p.Groups, []string{"backend", "oncall"}) || p.Cwd != "/src/web") {
					t.Errorf("%s sees %+v", n.name, p)
				}
			}
		}
		if err := w.bob.m.RemoveSession(web.ID); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if got := w.alice.peerNames(); !slices.Equal(got, []string{"alice", "bob", "cathy"}) {
			t.Errorf("peers after the session: %v", got)
		}
		joined, left := w.alice.events.of(inbox.EventPeerJoined), w.alice.events.of(inbox.EventPeerLeft)
		if len(joined) != 1 || len(left) != 1 || joined[0].Peer.Session != "web" {
			t.Errorf("joined %+v, left %+v", joined, left)
		}
		if own := w.bob.events.of(inbox.EventPeerJoined); len(own) != 0 {
			t.Errorf("bob is told of himself: %+v", own)
		}
	})
}

func (n *node) peerNames() (names []string) {
	for _, p := range n.m.Peers() {
		name := p.Name
		if p.Session != "" {
			name += "/" + p.Session
		}
		names = append(names, name)
	}
	return names
}

// Nor is a restart of the daemon, though its control connection closes in order.
func TestRestartIsSilent(t *testing.T) {
	story(t, func(w *world) {
		w.bob.session("web")
		pass(time.Minute)
		w.bob.restart()
		w.bob.session("web")
		pass(3 * time.Minute)
		if got := len(w.alice.events.of(inbox.EventPeerJoined)) + len(w.alice.events.of(inbox.EventPeerLeft)); got != 1 {
			t.Errorf("%d events, want the first arrival alone", got)
		}
	})
}

// A blip shorter than the lease is no news to others.
func TestBlipIsSilent(t *testing.T) {
	story(t, func(w *world) {
		w.bob.session("web")
		pass(time.Minute)
		before := len(w.alice.events.of(inbox.EventPeerJoined)) + len(w.alice.events.of(inbox.EventPeerLeft))
		w.bob.unplug()
		pass(20 * time.Second)
		w.bob.plug()
		pass(time.Minute)
		if after := len(w.alice.events.of(inbox.EventPeerJoined)) + len(w.alice.events.of(inbox.EventPeerLeft)); after != before {
			t.Errorf("%d events of a blip", after-before)
		}
	})
}

func TestResolve(t *testing.T) {
	story(t, func(w *world) {
		web := w.bob.session("web")
		w.alice.session("desk")
		pass(time.Second)
		bob := w.bob.m.self.String()
		for _, test := range []struct {
			to, want string
			code     protocol.Code
		}{
			{"bob", bob, ""},
			{bob, bob, ""},
			{bob[:6], bob, ""},
			{"bob/web", web.Public().String(), ""},
			{"*", "*", ""},
			{"@backend", "@backend", ""},
			{"desk", w.alice.m.ring.Sessions(true)[0].Public().String(), ""},
			{bob[:5], "", protocol.CodeNotFound},
			{"bobby", "", protocol.CodeNotFound},
			{"bob/api", "", protocol.CodeNotFound},
			{"", "", protocol.CodeInvalid},
			{"@Not A Group", "", protocol.CodeInvalid},
		} {
			got, err := w.alice.m.Resolve(test.to)
			wantRefusal(t, err, test.code)
			if got.Spec != test.want {
				t.Errorf("%q is %q, want %q", test.to, got.Spec, test.want)
			}
		}
		_, err := w.alice.m.Resolve("bobby")
		if e := err.(*protocol.Error); len(e.Names) == 0 || e.Names[0] != "bob" {
			t.Errorf("names offered: %v", e.Names)
		}
	})
}

// Two living members of one name: the first that was seen keeps it, the other is bob~3fa9.
func TestTwoOfOneName(t *testing.T) {
	story(t, func(w *world) {
		other := w.admitted("bob")
		pass(time.Second)
		got, err := w.alice.m.Resolve("bob")
		if err != nil || got.key != w.bob.m.self {
			t.Errorf("bob is %s, %v", got.key.Short(), err)
		}
		long := "bob~" + other.m.self.String()[:4]
		if got, err := w.alice.m.Resolve(long); err != nil || got.key != other.m.self {
			t.Errorf("%s is %s, %v", long, got.key.Short(), err)
		}
		// Who met both at once has pinned neither.
		fresh := w.node("dave", config.Membership{Key: crypto.GenerateKey()})
		fresh.learn(w.cert(w.bob), w.cert(other))
		_, err = fresh.m.Resolve("bob")
		wantRefusal(t, err, protocol.CodeAmbiguous)
		if e, ok := err.(*protocol.Error); !ok || len(e.Names) != 2 {
			t.Errorf("names: %+v", err)
		}
	})
}

func TestYourselfIsRefused(t *testing.T) {
	story(t, func(w *world) {
		desk := w.alice.session("desk")
		for _, acting := range []*keyring.Session{nil, desk} {
			_, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "alice", Body: "me"}, acting)
			wantRefusal(t, err, protocol.CodeInvalid)
		}
		_, err := w.alice.m.Send(context.Background(), protocol.SendRequest{To: "desk", Body: "me"}, desk)
		wantRefusal(t, err, protocol.CodeInvalid)
	})
}

func TestLimitsOfASend(t *testing.T) {
	story(t, func(w *world) {
		ctx := context.Background()
		most := strings.Repeat("x", protocol.MaxBody)
		for _, test := range []struct {
			req  protocol.SendRequest
			code protocol.Code
		}{
			{protocol.SendRequest{To: "bob", Body: most}, ""},
			{protocol.SendRequest{To: "bob", Body: most + "x"}, protocol.CodePayloadTooLarge},
			{protocol.SendRequest{To: "bob", Priority: "urgent"}, protocol.CodeInvalid},
			{protocol.SendRequest{To: "bob", Kind: protocol.KindReceipt}, protocol.CodeInvalid},
			{protocol.SendRequest{To: "bob", ClientID: "short"}, protocol.CodeInvalid},
			{protocol.SendRequest{To: "@nobody", Body: "hi"}, protocol.CodeNotFound},
			{protocol.SendRequest{To: "bob", Body: "\xff"}, protocol.CodeInvalid},
			{protocol.SendRequest{To: "bob", Body: "\x7fELF\x00"}, protocol.CodeInvalid},
		} {
			_, err := w.alice.m.Send(ctx, test.req, nil)
			wantRefusal(t, err, test.code)
		}
	})
}

// A connection may live longer than the statement that it began with.
func TestStatementsAreRenewed(t *testing.T) {
	story(t, func(w *world) {
		w.cathy.stop()
		web := w.bob.session("web")
		pass(protocol.SessionLifetime + time.Hour)
		for _, key := range []crypto.PublicKey{w.bob.m.self, web.Public()} {
			if s := w.alice.m.trust.Session(key).Body.(*protocol.Session); s.Expires < time.Now().UnixMilli() {
				t.Errorf("alice knows a statement of %s that has expired", s.Label)
			}
		}
		w.bob.sendAs(web, protocol.SendRequest{To: "alice", Body: "still here"})
		w.alice.want("bob: still here")
	})
}
