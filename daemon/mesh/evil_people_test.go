package mesh

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func TestEvilNamesSwapped(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		a, c := w.alice.m.self.String(), w.cathy.m.self.String()
		e.lies(func(f frame) []frame {
			if !f.is(protocol.TypePush, protocol.TypePeersList, protocol.TypePresence, protocol.TypeMembersList, protocol.TypeMembership) {
				return []frame{f}
			}
			return []frame{f.replaced(`"displayName":"alice"`, `"displayName":"cathy"`, `"displayName":"cathy"`, `"displayName":"alice"`,
				`"senderName":"alice"`, `"senderName":"cathy"`, `"senderName":"cathy"`, `"senderName":"alice"`)}
		})
		w.bob.restart()
		synctest.Wait()
		for name, key := range map[string]string{"alice": a, "cathy": c} {
			target, err := w.bob.m.Resolve(name)
			if err != nil || target.Spec != key {
				t.Errorf("%s is %s, %v", name, target.Spec, err)
			}
		}
		for _, p := range w.bob.m.Peers() {
			if (p.Name == "alice") != (p.MemberPubkey == a) {
				t.Errorf("%s is shown as %s", p.Pubkey, p.Name)
			}
		}
		w.alice.send("bob", "it is me")
		w.bob.want("alice: it is me")
		w.bob.send("cathy", "for you alone")
		w.cathy.want("bob: for you alone")
	})
}

// Somebody comes by a link and calls himself bob: he is bob-2. One whom a careless admin certifies as a second bob is listed
// by his key, and the bare name stays with the first.
func TestEvilCallsHimselfBob(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		mallory := w.joined("bob", w.alice.link(1).Link)
		mallory.start()
		pass(time.Second)
		second := crypto.GenerateKey()
		cert := w.certify(second.Public(), "bob", protocol.RoleMember)
		for _, n := range []*node{w.alice, w.bob, w.cathy} {
			n.learn(cert)
		}
		mallory.send("cathy", "hi, bob here")
		synctest.Wait()
		w.cathy.want("bob-2: hi, bob here")
		if got := w.cathy.m.trust.Name(second.Public()); got != "bob~"+second.Public().String()[:4] {
			t.Errorf("the second bob is called %s", got)
		}
		w.cathy.session("bob") // a member who calls her session so
		pass(time.Second)
		target, err := w.alice.m.Resolve("bob")
		if err != nil || target.key != w.bob.m.self {
			t.Errorf("bob is %v, %v", target, err)
		}
	})
}

// Somebody who only holds a link calls himself bob, while nobody is there who could admit him: he is not shown as bob, not even
// beside his mail, and what is meant for bob is not sealed to him.
func TestEvilInvitedCallsHimselfBob(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		mallory := w.joined("bob", link)
		mallory.start()
		pass(time.Second)
		mallory.send("cathy", "hi, bob here")
		synctest.Wait()
		name := "bob~" + mallory.m.self.String()[:4]
		got := w.cathy.messages(nil)
		if len(got) != 1 || got[0].From.Name != name || got[0].From.Trust != protocol.TrustInvited || got[0].Held == "" {
			t.Fatalf("cathy got %+v", got)
		}
		for _, m := range w.cathy.m.Members() {
			if (m.Name == "bob") != (m.Pubkey == w.bob.m.self.String()) || (m.Name == name) != (m.Pubkey == mallory.m.self.String()) {
				t.Errorf("listed: %+v", m)
			}
		}
		for to, want := range map[string]crypto.PublicKey{"bob": w.bob.m.self, name: mallory.m.self} {
			if target, err := w.cathy.m.Resolve(to); err != nil || target.key != want {
				t.Errorf("%s is %v, %v", to, target, err)
			}
		}
	})
}

// The broker gives out another key for alice wherever it names hers: what bob seals goes to the certified one.
func TestEvilKeySubstituted(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		mallory := crypto.GenerateKey()
		a, m := w.alice.m.self.String(), mallory.Public().String()
		e.lies(func(f frame) []frame { return []frame{f.replaced(a, m)} })
		w.bob.restart()
		synctest.Wait()
		w.bob.send("alice", "the password")
		synctest.Wait()
		w.alice.want("bob: the password")
		for _, f := range e.uttered(protocol.TypeSend) {
			if f.str("targetSpec") != a {
				t.Errorf("sealed to %s", f.str("targetSpec"))
			}
		}
		w.bob.send("*", "to all")
		synctest.Wait()
		for _, f := range e.uttered(protocol.TypeSend) {
			if keys, ok := f["keys"].(map[string]any); ok && keys[m] != nil {
				t.Error("mallory got a wrap")
			}
		}
	})
}

// The broker adds a member: with a certificate that he signed himself, with one of another mesh, with none.
func TestEvilMemberAdded(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		mallory := crypto.GenerateKey()
		k := mallory.Public()
		own := w.sign(&protocol.Cert{Mesh: w.charter.Mesh(), Issuer: k, Member: k, Name: "mallory", Role: protocol.RoleMember, Issued: 1}, mallory)
		charter := w.sign(&protocol.Charter{Owner: k, Created: 1, Slug: "acme"}, mallory)
		foreign := w.sign(&protocol.Cert{Mesh: charter.Mesh(), Issuer: k, Member: k, Name: "mallory", Role: protocol.RoleMember, Issued: 1}, mallory)
		session := w.sign(&protocol.Session{
			Mesh: w.charter.Mesh(), Member: k, Session: k, Label: "mallory", Issued: time.Now().UnixMilli(), Expires: time.Now().Add(time.Hour).UnixMilli(),
		}, mallory, mallory)
		item := protocol.MemberItem{Pubkey: k.String(), Certs: []string{own.Text(), foreign.Text()}, Sessions: []string{session.Text()}, Online: true}
		e.say(frameOf(protocol.Membership{Tag: protocol.Tag{Type: protocol.TypeMembership}, Members: []protocol.MemberItem{item}}))
		e.say(frameOf(protocol.Log{Tag: protocol.Tag{Type: protocol.TypeLog}, Statements: []string{own.Text(), charter.Text(), foreign.Text()}, Cursor: 99}))
		e.say(frameOf(protocol.Presence{Tag: protocol.Tag{Type: protocol.TypePresence}, Peers: []protocol.PeerItem{{
			Pubkey: k.String(), MemberPubkey: k.String(), DisplayName: "mallory", PeerRole: protocol.RoleSession, Session: session.Text(),
		}}}))
		if _, err := w.bob.m.Resolve("mallory"); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("bob may write to mallory: %v", err)
		}
		if slices.ContainsFunc(w.bob.m.Peers(), func(p protocol.PeerInfo) bool { return strings.Contains(p.Name, "mallory") || p.Pubkey == k.String() }) {
			t.Error("mallory is among the peers")
		}
		e.say(w.bob.forge(w.bob, mallory))
		w.bob.want() // held, not shown
		w.bob.send("*", "to all")
		synctest.Wait()
		for _, f := range e.uttered(protocol.TypeSend) {
			if keys, _ := f["keys"].(map[string]any); keys[k.String()] != nil {
				t.Error("mallory got a wrap")
			}
		}
	})
}

// The broker hides certificates from bob: a message of one whom he does not know waits without being shown, and is shown when
// the certificate comes.
func TestEvilCertificatesStripped(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		known := []string{w.alice.m.self.String(), w.bob.m.self.String(), w.cathy.m.self.String()}
		e.lies(func(f frame) []frame {
			switch {
			case f.is(protocol.TypeMembersList, protocol.TypeMembership):
				kept := []any{}
				for _, m := range f["members"].([]any) {
					if slices.Contains(known, frame(m.(map[string]any)).str("pubkey")) {
						kept = append(kept, m)
					}
				}
				return []frame{f.with("members", kept)}
			case f.is(protocol.TypeLog):
				return []frame{f.with("statements", nil)}
			}
			return []frame{f}
		})
		dave := w.joined("dave", w.alice.link(1).Link)
		dave.start()
		pass(time.Second)
		dave.learn(w.cert(w.bob))
		dave.send("bob", "hello bob")
		pass(time.Second)
		w.bob.want()
		e.lies(nil)
		w.bob.restart()
		pass(time.Minute)
		w.bob.want("dave: hello bob")
	})
}

// The broker announces less than it can do: bob refuses it as a downgrade, and sends it nothing.
func TestEvilCapabilitiesStripped(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypeChallenge) {
				return []frame{f.with("capabilities", []string{protocol.CapReceipts})}
			}
			return []frame{f}
		})
		w.bob.stop()
		e.mu.Lock()
		e.sent = nil
		e.mu.Unlock()
		w.bob.send("alice", "secret")
		w.bob.db.Close()
		w.bob.open()
		w.bob.start()
		pass(time.Minute)
		h := w.bob.m.Health()
		if h.State != protocol.ConnRefused || h.ErrorCode != protocol.CodeDowngrade {
			t.Errorf("health %+v", h)
		}
		if n := len(e.uttered(protocol.TypeHello)) + len(e.uttered(protocol.TypeSend)); n != 0 {
			t.Errorf("%d frames to a broker that cannot serve safely", n)
		}
		e.lies(nil)
		pass(2 * time.Minute)
		w.alice.want("bob: secret")
	})
}

// Who is blocked is refused by the recipient's own daemon, whatever the broker passes on: here one that says it heard of the block,
// and did not.
func TestBlockedWithoutTheBroker(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.mu.Lock()
		e.up = func(f frame) []frame {
			if f.is(protocol.TypeSetGrants) {
				f = f.with("grants", map[string]any{})
			}
			return []frame{f}
		}
		e.mu.Unlock()
		info, err := w.bob.m.ChangeGrant(protocol.GrantRequest{Peer: "alice", Revoke: protocol.Grants()})
		if err != nil || len(info.May) != 0 {
			t.Fatalf("%+v, %v", info, err)
		}
		id := w.alice.send("bob", "hello")
		pass(time.Second)
		if res := w.alice.wantMessage(id); res.State != protocol.StateDead || res.Recipients[0].Proof != protocol.ProofPeer {
			t.Errorf("%+v", res)
		}
		if got := w.bob.inbox(nil); len(got) != 0 {
			t.Errorf("bob has %q", got)
		}
		// The honest broker refuses it before it is on its way.
		e.mu.Lock()
		e.up = nil
		e.mu.Unlock()
		if _, err := w.bob.m.ChangeGrant(protocol.GrantRequest{Peer: "alice", Revoke: protocol.Grants()}); err != nil {
			t.Fatal(err)
		}
		before := len(e.pushed())
		id = w.alice.send("bob", "hello?")
		pass(time.Second)
		if res := w.alice.wantMessage(id); res.State != protocol.StateDead || res.Recipients[0].Proof != protocol.ProofBroker || len(e.pushed()) != before {
			t.Errorf("%+v, %d pushes", res, len(e.pushed())-before)
		}
		if res := w.alice.pings("bob", protocol.PingRefused); res.RTTms != 0 {
			t.Errorf("ping %+v", res)
		}
	})
}

// What each could do to take what is meant for bob, who is written to by the head of his key: a member or a joiner calls himself
// so, an admin certifies somebody so, and the broker passes it on. None of these is a statement. A session label may look so:
// then nobody is written to.
func TestEvilNameLikeAKey(t *testing.T) {
	story(t, func(w *world) {
		head := w.bob.m.self.String()[:6]
		for _, n := range []int{6, 7, 16, 32} {
			name := w.bob.m.self.String()[:n]
			for _, body := range []protocol.Body{
				&protocol.Cert{Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Member: w.cathy.m.self, Name: name, Role: protocol.RoleMember},
				&protocol.Enrol{Mesh: w.charter.Mesh(), Link: w.owner.Public(), Member: w.cathy.m.self, Name: name},
			} {
				if _, err := protocol.Sign(body, w.owner, w.cathy.m.key); protocol.CodeOf(err) != protocol.CodeBadStatement {
					t.Errorf("%T of %s: %v", body, name, err)
				}
			}
		}
		if got, err := w.alice.m.Resolve(head); err != nil || got.key != w.bob.m.self {
			t.Errorf("%s is %s, %v", head, got.name, err)
		}
		w.alice.session(head)
		pass(time.Minute)
		_, err := w.alice.m.Resolve(head)
		wantRefusal(t, err, protocol.CodeAmbiguous)
		if got, err := w.alice.m.Resolve(w.bob.m.self.String()[:12]); err != nil || got.key != w.bob.m.self {
			t.Errorf("a longer head is %s, %v", got.name, err)
		}
	})
}

// What each could do to reach a model through what he says of himself: dave, who holds a link and is not admitted, shows a card
// of 4 KiB. It is taken by nobody. Cathy, a member with a client of her own, shows as long a summary: a line of it is taken.
func TestEvilCard(t *testing.T) {
	story(t, func(w *world) {
		link := w.alice.link(1).Link
		w.alice.stop()
		dave := w.joined("dave", link)
		dave.learn(w.cert(w.bob), w.cert(w.cathy))
		dave.start()
		pass(time.Minute)
		long := strings.Repeat("obey ", 700)
		for _, n := range []*node{dave, w.cathy} {
			body, err := protocol.EncodeCard(&protocol.Card{Summary: long, Cwd: long[:300], Host: long[:200], Model: "m"})
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := protocol.SealGroup(&protocol.Header{
				ID: protocol.NewClientID(), Mesh: w.charter.Mesh(), From: n.m.self, Member: n.m.self, To: "*", Prio: protocol.PriorityLow,
				TS: time.Now().UnixMilli(), Ep: noEpoch, Log: n.m.trust.View().Digest(), Kind: protocol.KindCard,
			}, body, n.m.key)
			if err != nil {
				t.Fatal(err)
			}
			shared, err := n.m.key.Shared(w.bob.m.self)
			if err != nil {
				t.Fatal(err)
			}
			wrap := sealed.Wrap(0, &shared)
			card := w.bob.m.openCard(n.m.self, &protocol.Sealed{
				Sender: n.m.self.String(), Nonce: base64Text(sealed.Nonce[:]), Ciphertext: base64Text(sealed.Ciphertext), Key: base64Text(wrap),
			})
			switch {
			case n == dave && card != nil:
				t.Errorf("the card of somebody who is %s is taken", w.bob.m.trust.Trust(dave.m.self))
			case n == w.cathy && (card == nil || card.Summary != long[:200] || card.Cwd != long[:200]):
				t.Errorf("cathy's card: %+v", card)
			}
		}
	})
}
