package mesh

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// editing runs one lie about a message from alice to bob, which must be an alarm.
func editing(t *testing.T, about string, to string, edit func(w *world, push frame) frame) {
	t.Helper()
	besieged(t, func(w *world, e *evil) {
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypePush) {
				f = edit(w, f)
			}
			return []frame{f}
		})
		id := w.alice.send(to, "pay cathy")
		synctest.Wait()
		w.bob.wantAlarm(about)
		for _, r := range w.alice.wantMessage(id).Recipients {
			if r.Name == "bob" && r.Proof == protocol.ProofPeer {
				t.Errorf("bob vouched for what he did not read: %+v", r)
			}
		}
	})
}

func (n *node) wantMessage(id string) protocol.SendResult {
	n.Helper()
	res, err := n.m.Message(id)
	if err != nil {
		n.Fatal(err)
	}
	return res
}

func TestEvilTwinKey(t *testing.T) {
	editing(t, "signature", "bob", func(w *world, f frame) frame {
		return f.with("senderPubkey", twin(w.alice.m.self).String(), "senderMemberPubkey", twin(w.alice.m.self).String())
	})
	besieged(t, func(w *world, e *evil) { // for the twin of bob, with the box that bob opens
		f := w.alice.forge(w.bob, w.alice.m.key, "to", twin(w.bob.m.self).String())
		e.say(f)
		w.bob.wantAlarm("another key")
	})
}

// What bob wrote comes back to him as from alice: the boxes between them have one key for both ways.
func TestEvilReflection(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		w.bob.send("alice", "I quit")
		synctest.Wait()
		sent := e.uttered(protocol.TypeSend)[0]
		e.say(frameOf(protocol.Push{
			Tag: protocol.Tag{Type: protocol.TypePush}, MessageID: "m1", MeshID: string(w.charter.Mesh()), SenderPubkey: w.alice.m.self.String(),
			Priority: protocol.PriorityNext, Nonce: sent.str("nonce"), Ciphertext: sent.str("ciphertext"),
		}))
		w.bob.wantAlarm("signature")
	})
}

func TestEvilReplay(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		w.alice.send("bob", "once")
		w.alice.send("*", "once to all")
		synctest.Wait()
		replay := func() {
			for i, f := range e.pushed() {
				e.say(f)
				e.say(f.with("messageId", "again"+string(rune('a'+i))))
			}
		}
		replay()
		w.bob.want("alice: once", "alice: once to all")
		w.bob.kill()
		pass(time.Minute)
		replay()
		w.bob.want("alice: once", "alice: once to all")
	})
}

// A message from the future stays known longer than one of today: its id is remembered for as long as it can be opened.
func TestEvilFutureReplay(t *testing.T) {
	ambush(t, func(w *world) {
		w.alice.skew = 20 * 24 * time.Hour
		push, bob := w.alice.sealed(w.alice.send("bob", "from the future"), w.bob), w.bob.wire()
		bob.push(push)
		w.bob.want("alice: from the future")
		for _, days := range []int{11, 25, 48, 50} {
			w.bob.skew = time.Duration(days) * 24 * time.Hour
			w.bob.m.sweep(true)
			bob.push(push)
			w.bob.want("alice: from the future")
		}
	})
}

func TestEvilReaddressed(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		w.alice.send("cathy", "for cathy")
		synctest.Wait()
		sealed := w.alice.sealed(w.alice.send("cathy", "for cathy too"), w.cathy)
		sealed.Type, sealed.TargetSpec = protocol.TypePush, w.bob.m.self.String()
		e.say(frameOf(sealed))
		w.bob.wantAlarm("opens with none of our keys")
	})
	editing(t, "target", "bob", func(_ *world, f frame) frame { return f.with("targetSpec", "*") })
	editing(t, "member", "bob", func(w *world, f frame) frame { return f.with("senderMemberPubkey", w.cathy.m.self.String()) })
}

func TestEvilPriority(t *testing.T) {
	editing(t, "priority", "bob", func(_ *world, f frame) frame { return f.with("priority", protocol.PriorityNow) })
}

func TestEvilTopicAndReply(t *testing.T) {
	editing(t, "topic", "bob", func(_ *world, f frame) frame { return f.with("topic", "deploys") })
	editing(t, "replies", "bob", func(_ *world, f frame) frame { return f.with("replyToId", "0123456789abcdef") })
	editing(t, "id", "bob", func(_ *world, f frame) frame { return f.with("client_message_id", "0123456789abcdef") })
}

// The time that is shown is the sender's, whatever the broker says.
func TestEvilTimes(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		e.lies(func(f frame) []frame {
			if f.is(protocol.TypePush) {
				f = f.with("createdAt", "1999-12-31T23:59:59Z")
			}
			return []frame{f}
		})
		before := time.Now()
		w.alice.send("bob", "now")
		w.bob.want("alice: now")
		if at := w.bob.messages(nil)[0].SentAt; at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("sent at %s", at)
		}
	})
}

func TestEvilCiphertextsSwapped(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		var held []frame
		e.lies(func(f frame) []frame {
			if !f.is(protocol.TypePush) {
				return []frame{f}
			}
			if held = append(held, f); len(held) < 2 {
				return nil
			}
			a, b := held[0], held[1]
			return []frame{a.with("ciphertext", b.str("ciphertext"), "nonce", b.str("nonce")), b.with("ciphertext", a.str("ciphertext"), "nonce", a.str("nonce"))}
		})
		w.alice.send("bob", "yes, to the first question")
		w.alice.send("bob", "no, to the second")
		synctest.Wait()
		for _, m := range w.bob.messages(nil) {
			if m.Alarm == "" || m.Body != "" {
				t.Errorf("shown: %+v", m)
			}
		}
		if n := len(w.bob.messages(nil)); n != 2 {
			t.Errorf("%d alarms", n)
		}
	})
}

func TestEvilWrapsSwapped(t *testing.T) {
	for about, of := range map[string]func(w *world) *node{
		"wrap":                            func(w *world) *node { return w.cathy }, // cathy's wrap, for bob
		"wrap belongs to another message": func(w *world) *node { return w.bob },
	} {
		besieged(t, func(w *world, e *evil) {
			w.bob.unplug()
			other := w.alice.sealed(w.alice.send("*", "another"), of(w))
			w.alice.send("*", "pay cathy")
			e.lies(func(f frame) []frame {
				switch {
				case !f.is(protocol.TypePush):
					return []frame{f}
				case f.str("client_message_id") == other.ClientMessageID:
					return nil
				}
				return []frame{f.with("key", other.Key)}
			})
			w.bob.plug()
			pass(time.Minute)
			w.bob.wantAlarm(about)
		})
	}
	besieged(t, func(w *world, e *evil) { // an envelope to everybody, boxed for bob alone
		e.say(w.alice.forge(w.bob, w.alice.m.key, "to", "*", "seq", nil))
		w.bob.wantAlarm("confused")
	})
}

// A box between alice and bob of just the size of a wrap is none: it lacks the label.
func TestEvilTextAsWrap(t *testing.T) {
	editing(t, "the box is not a wrap", "*", func(w *world, f frame) frame {
		shared, err := w.alice.m.key.Shared(w.bob.m.self)
		if err != nil {
			t.Fatal(err)
		}
		text := []byte("a text that is no envelope and that is exactly as long as the wrap of a group!")
		nonce := crypto.NewNonce()
		return f.with("key", base64Text(append(nonce[:], crypto.Seal(nil, text[:76], &nonce, &shared)...)))
	})
}

// Cathy uses the id of a message of alice's before alice does: both arrive.
func TestEvilIDSquatting(t *testing.T) {
	story(t, func(w *world) {
		const id = "0123456789abcdefABCDEF"
		w.cathy.sendAs(nil, protocol.SendRequest{To: "bob", Body: "squat", ClientID: id})
		synctest.Wait()
		w.alice.sendAs(nil, protocol.SendRequest{To: "bob", Body: "the real one", ClientID: id})
		w.bob.want("cathy: squat", "alice: the real one")
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
		w.cathy.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

// Cathy writes with a session key of her own, and says that it is alice's; or has alice's name stand behind it.
func TestEvilSessionOfAnother(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		session, now := crypto.GenerateKey(), time.Now().UnixMilli()
		att := w.sign(&protocol.Session{
			Mesh: w.charter.Mesh(), Member: w.cathy.m.self, Session: session.Public(), Label: "x", Issued: now, Expires: now + 1000000,
		}, w.cathy.m.key, session)
		e.say(w.cathy.forge(w.bob, session, "member", w.alice.m.self.String(), "att", att.Text()))
		w.bob.wantAlarm("another session or member")
		e.say(w.cathy.forge(w.bob, session, "member", w.alice.m.self.String()))
		w.bob.wantAlarm("att")
		w.alice.session("web")
		pass(time.Second)
		for _, s := range w.alice.m.trust.Sessions() { // alice's own attestation, of another key
			if s.Label == "web" {
				theirs := w.alice.m.trust.Session(s.Session)
				e.say(w.cathy.forge(w.bob, session, "member", w.alice.m.self.String(), "att", theirs.Text()))
				w.bob.wantAlarm("another session or member")
			}
		}
		// The same attestation under her own name is in order.
		e.say(w.cathy.forge(w.bob, session, "member", w.cathy.m.self.String(), "att", att.Text()))
		all := w.bob.inbox(nil)
		if len(all) == 0 || all[len(all)-1] != "cathy: forged" {
			t.Errorf("inbox %q", all)
		}
	})
}

// Clear text under a certified name, in the forms that clients of the original claudemesh use.
func TestEvilClearText(t *testing.T) {
	besieged(t, func(w *world, e *evil) {
		for _, f := range []frame{
			{"targetSpec": "*", "nonce": "", "ciphertext": base64Text([]byte("all hands: run this"))},
			{"targetSpec": "*", "nonce": "", "ciphertext": "", "plaintext": "all hands: run this"},
			{"targetSpec": w.bob.m.self.String(), "nonce": base64Text(make([]byte, 24)), "ciphertext": base64Text([]byte("all hands: run this, and that, and more"))},
		} {
			e.say(f.with("type", protocol.TypePush, "messageId", "m"+protocol.NewClientID(), "meshId", string(w.charter.Mesh()),
				"senderPubkey", w.alice.m.self.String(), "priority", "now", "createdAt", "2026-01-01T00:00:00Z"))
			w.bob.wantAlarm("")
		}
		if n := len(w.bob.messages(nil)); n != 3 {
			t.Errorf("%d alarms", n)
		}
	})
}

// A key that nobody certified writes without an envelope, boxed to bob or in the clear to all: alarms, and nobody new is listed.
func TestEvilTextOfAStranger(t *testing.T) {
	ambush(t, func(w *world) {
		olga := crypto.GenerateKey()
		shared, err := olga.Shared(w.bob.m.self)
		if err != nil {
			t.Fatal(err)
		}
		nonce, me := crypto.NewNonce(), olga.Public().String()
		for _, push := range []protocol.Push{
			{TargetSpec: w.bob.m.self.String(), Ciphertext: base64Text(crypto.Seal(nil, []byte("hi"), &nonce, &shared))},
			{TargetSpec: "*", Ciphertext: base64Text([]byte("hi"))},
		} {
			push.MessageID, push.MeshID, push.Priority = "m"+protocol.NewClientID(), string(w.charter.Mesh()), protocol.PriorityNext
			push.SenderPubkey, push.SenderMemberPubkey, push.SenderName, push.Nonce = me, me, "olga", base64Text(nonce[:])
			w.bob.wire().push(push)
			w.bob.wantAlarm("")
		}
		if n := len(w.bob.m.Members()); n != 3 {
			t.Errorf("%d members are listed, want 3", n)
		}
	})
}
