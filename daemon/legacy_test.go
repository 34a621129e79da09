package daemon

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// permissive runs f in a mesh whose owner allows original clients, with one of them, olga.
func permissive(t *testing.T, f func(w *world, olga *crypto.PrivateKey, bob *wire)) {
	t.Helper()
	ambush(t, func(w *world) {
		w.bob.learn(w.sign(&protocol.Policy{Mesh: w.charter.Mesh(), By: w.owner.Public(), N: 1, Flags: protocol.FlagLegacy}, w.owner))
		f(w, crypto.GenerateKey(), w.bob.wire())
	})
}

// bare is a message as an original client boxes it.
func (w *world) bare(from *crypto.PrivateKey, name string, to *node, text string) protocol.Push {
	w.Helper()
	shared, err := from.Shared(to.m.self)
	if err != nil {
		w.Fatal(err)
	}
	nonce, ciphertext, err := protocol.SealBare([]byte(text), &shared)
	if err != nil {
		w.Fatal(err)
	}
	return protocol.Push{
		MessageID: "m" + protocol.NewClientID(), MeshID: string(w.charter.Mesh()), SenderPubkey: from.Public().String(),
		SenderMemberPubkey: from.Public().String(), SenderName: name, TargetSpec: to.m.self.String(), Priority: protocol.PriorityNext,
		Nonce: base64Text(nonce), Ciphertext: base64Text(ciphertext),
	}
}

// clear is a broadcast as an original client sends it: for everybody to read.
func (w *world) clear(from crypto.PublicKey, name, text string) protocol.Push {
	return protocol.Push{
		MessageID: "m" + protocol.NewClientID(), MeshID: string(w.charter.Mesh()), SenderPubkey: from.String(), SenderMemberPubkey: from.String(),
		SenderName: name, TargetSpec: "*", Priority: protocol.PriorityNext, Nonce: base64Text(crypto.RandomBytes(24)), Ciphertext: base64Text([]byte(text)),
	}
}

func TestBareTextNeedsThePolicy(t *testing.T) {
	ambush(t, func(w *world) {
		olga := crypto.GenerateKey()
		w.bob.wire().push(w.bare(olga, "olga", w.bob, "hi"))
		w.bob.wantAlarm("")
		w.bob.wire().push(w.clear(olga.Public(), "olga", "hi"))
		w.bob.wantAlarm("")
		if len(w.bob.m.members()) != 3 {
			t.Error("olga is a member")
		}
	})
}

func TestBareText(t *testing.T) {
	permissive(t, func(w *world, olga *crypto.PrivateKey, bob *wire) {
		push := w.bare(olga, "olga", w.bob, "hi bob")
		acks := bob.push(push)
		if len(acks) != 1 || acks[0].Proof != nil || acks[0].State != "" {
			t.Errorf("acks: %+v", acks)
		}
		push.MessageID = "another"
		bob.push(push)
		w.bob.kill()
		w.bob.stop()
		w.bob.wire().push(push)
		w.bob.want("~olga: hi bob")
		got := w.bob.messages(nil)[0]
		if got.From.Trust != protocol.TrustUnverified || got.Held == "" || got.From.Pubkey != olga.Public().String() || len(got.Flags) != 0 {
			t.Errorf("message %+v", got)
		}
		w.bob.wire().push(w.clear(olga.Public(), "olga", "to all"))
		w.bob.want("~olga: hi bob", "~olga: to all")
		if got := w.bob.messages(nil)[1]; !slices.Equal(got.Flags, []string{"unencrypted"}) || got.From.Trust != protocol.TrustUnverified || got.To != "*" {
			t.Errorf("broadcast %+v", got)
		}
		// She is listed and addressed with the ~, and answered without an envelope.
		if _, err := w.bob.m.resolve("olga"); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("without the ~: %v", err)
		}
		sealed := w.bob.sealed(w.bob.send("~olga", "hi olga"), w.bob)
		nonce, ciphertext := unbase64(t, sealed.Nonce), unbase64(t, sealed.Ciphertext)
		shared, err := olga.Shared(w.bob.m.self)
		if err != nil {
			t.Fatal(err)
		}
		n := crypto.Nonce(nonce)
		if text, err := crypto.Open(nil, ciphertext, &n, &shared); err != nil || string(text) != "hi olga" {
			t.Errorf("olga reads %q, %v", text, err)
		}
		// The same box as from her is not hers.
		sealed.SenderPubkey, sealed.SenderMemberPubkey, sealed.TargetSpec, sealed.ClientMessageID = push.SenderPubkey, push.SenderPubkey, push.TargetSpec, ""
		w.bob.wire().push(sealed)
		w.bob.wantAlarm("came back")
	})
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// In the name of somebody certified, bare and clear text are alarms; so they are once a key sent an envelope.
func TestEvilBareTextOfTheCertified(t *testing.T) {
	permissive(t, func(w *world, olga *crypto.PrivateKey, bob *wire) {
		bob.push(w.bare(w.alice.m.key, "alice", w.bob, "run this"))
		w.bob.wantAlarm("")
		bob.push(w.clear(w.alice.m.self, "alice", "run this"))
		w.bob.wantAlarm("")
		push := w.clear(olga.Public(), "olga", "run this") // with alice behind it
		push.SenderMemberPubkey = w.alice.m.self.String()
		bob.push(push)
		w.bob.wantAlarm("")
		w.bob.learn(w.ban(w.owner, w.cathy.m.self))
		bob.push(w.bare(w.cathy.m.key, "cathy", w.bob, "psst"))
		w.bob.wantAlarm("")

		bob.push(w.bare(olga, "olga", w.bob, "hi"))
		var envelope protocol.Push
		forged := w.alice.forge(w.bob, olga)
		envelope = protocol.Push{MessageID: forged.str("messageId"), MeshID: forged.str("meshId"), SenderPubkey: forged.str("senderPubkey"),
			Priority: forged.str("priority"), Nonce: forged.str("nonce"), Ciphertext: forged.str("ciphertext")}
		bob.push(envelope) // held: no certificate
		bob.push(w.bare(olga, "olga", w.bob, "hi again"))
		w.bob.wantAlarm("")
		bob.push(w.clear(olga.Public(), "olga", "hi all"))
		w.bob.wantAlarm("")
	})
}

// Whom the user blocked is not heard, whatever client he uses: neither a box nor a broadcast, from no key of his.
func TestBareTextOfTheBlocked(t *testing.T) {
	permissive(t, func(w *world, olga *crypto.PrivateKey, bob *wire) {
		bob.push(w.bare(olga, "olga", w.bob, "hi"))
		w.bob.want("~olga: hi")
		change := func(req protocol.GrantRequest) {
			t.Helper()
			req.Peer = "~olga"
			if _, err := w.bob.m.changeGrant(req); err != nil {
				t.Fatal(err)
			}
		}
		change(protocol.GrantRequest{Revoke: protocol.Grants()})
		session := w.bare(crypto.GenerateKey(), "olga", w.bob, "from a session of mine")
		session.SenderMemberPubkey = olga.Public().String()
		for _, push := range []protocol.Push{w.bare(olga, "olga", w.bob, "are you there?"), w.clear(olga.Public(), "olga", "to all"), session} {
			if acks := bob.push(push); len(acks) != 1 || acks[0].Proof != nil {
				t.Errorf("acks: %+v", acks)
			}
		}
		w.bob.want("~olga: hi")
		change(protocol.GrantRequest{Grant: []string{protocol.GrantGroup}})
		bob.push(w.bare(olga, "olga", w.bob, "and now?"))
		bob.push(w.clear(olga.Public(), "olga", "to all again"))
		w.bob.want("~olga: hi", "~olga: to all again")
		change(protocol.GrantRequest{Grant: protocol.Grants()})
		bob.push(w.bare(olga, "olga", w.bob, "thank you"))
		w.bob.want("~olga: hi", "~olga: to all again", "~olga: thank you")
	})
}

// The first name of a key stays, and the first key of a name: what differs is told, once.
func TestOriginalNamesArePinned(t *testing.T) {
	permissive(t, func(w *world, olga *crypto.PrivateKey, bob *wire) {
		second := crypto.GenerateKey()
		bob.push(w.bare(olga, "olga", w.bob, "1"))
		bob.push(w.bare(olga, "alice", w.bob, "2"))
		bob.push(w.bare(olga, "alice", w.bob, "3"))
		bob.push(w.bare(second, "~olga\n", w.bob, "4"))
		first, other := olga.Public(), second.Public()
		if slices.Compare(other[:], first[:]) < 0 {
			first, other = other, first
		}
		names := []string{w.bob.m.trust.nameOf(first), w.bob.m.trust.nameOf(other)}
		if !slices.Equal(names, []string{"~olga", "~olga~" + other.String()[:4]}) {
			t.Errorf("names %q", names)
		}
		renamed, twice := 0, 0
		for _, ev := range w.bob.events.of(eventNotice) {
			switch {
			case strings.Contains(ev.Notice, "calls itself alice now"):
				renamed++
			case strings.Contains(ev.Notice, "second key"):
				twice++
			}
		}
		if renamed != 1 || twice > 1 {
			t.Errorf("told %d and %d times", renamed, twice)
		}
		if target, err := w.bob.m.resolve("alice"); err != nil || target.key != w.alice.m.self {
			t.Errorf("alice is %v, %v", target, err)
		}
		for _, member := range w.bob.m.members() {
			if strings.HasPrefix(member.Name, "~") != (member.Trust == protocol.TrustUnverified) {
				t.Errorf("member %+v", member)
			}
		}
	})
}

// A broker that calls olga's key by a new name each time is told of, and fills neither the memory nor the screen.
func TestClaimsOfABrokerAreBounded(t *testing.T) {
	permissive(t, func(w *world, olga *crypto.PrivateKey, _ *wire) {
		m := w.bob.m
		for i := range 3 * maxClaims {
			pin, ok, err := m.meet(olga.Public(), olga.Public(), fmt.Sprintf("olga%d", i))
			if err != nil || !ok || pin.Name != "olga0" {
				t.Fatalf("%d: %+v, %v, %v", i, pin, ok, err)
			}
		}
		if n := len(m.trust.claims); n != maxClaims {
			t.Errorf("%d claims are kept, want %d", n, maxClaims)
		}
	})
}
