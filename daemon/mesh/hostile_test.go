package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Times (Unix ms) that no honest peer has.
func impossibleTimes(now time.Time) map[string]any {
	return map[string]any{
		"the first millisecond of 1970":    1,
		"too long ago":                     now.Add(-protocol.MessageSpan - time.Minute).UnixMilli(),
		"too far ahead":                    now.Add(protocol.MessageSpan + time.Minute).UnixMilli(),
		"the end of the year 9999":         protocol.MaxMillis,
		"the year 10000":                   protocol.MaxMillis + 1,
		"2⁵³−1":                            1<<53 - 1,
		"2⁵³":                              1 << 53,
		"2⁶³−1":                            json.Number("9223372036854775807"),
		"more than 64 bits":                json.Number("123456789012345678901234567890"),
		"a number that no float can hold":  json.Number("1e400"),
		"a fraction":                       json.Number("1.5"),
		"a negative number":                -1,
		"a text":                           "yesterday",
		"nothing at all":                   json.RawMessage("null"),
		"a time in seconds instead of ms ": now.Unix(),
	}
}

// Alice writes to cathy, whose receipts have times that cannot be. Alice hears an alarm, cathy's word does not count, and what
// bob says in the same batch does.
func TestReceiptsWithImpossibleTimes(t *testing.T) {
	for name, at := range impossibleTimes(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Run(name, func(t *testing.T) {
			ambush(t, func(w *world) {
				toCathy, toBob := w.alice.send("cathy", "hi cathy"), w.alice.send("bob", "hi bob")
				receipt := func(of *node, id string, at any) frame {
					body, _ := json.Marshal([]frame{{"id": id, "state": "delivered", "at": at}})
					push := of.forgeBody(w.alice, of.m.key, string(body), "kind", "receipt", "seq", nil)
					return frame{"type": "receipt", "receiptId": "r-" + id, "clientMessageId": id, "recipient": of.m.self.String(),
						"state": "delivered", "at": at, "proof": frame{"sender": push["senderPubkey"], "nonce": push["nonce"], "ciphertext": push["ciphertext"]}}
				}
				acks := w.alice.wire().batch(receipt(w.cathy, toCathy, at), receipt(w.bob, toBob, time.Now().UnixMilli()))
				if len(acks) != 2 {
					t.Errorf("acks: %+v", acks)
				}
				w.alice.wantState(toBob, protocol.StateDelivered, protocol.ProofPeer)
				w.alice.wantState(toCathy, protocol.StateAccepted, protocol.ProofSelf)
				w.alice.wantAlarm("receipt")
				w.alice.wantJSON()
			})
		})
	}
}

// Late is not impossible: bob tells what he read when he comes back, however long he was away.
func TestReceiptsOfLongAgoCount(t *testing.T) {
	ambush(t, func(w *world) {
		id := w.alice.send("bob", "hi")
		read := time.Now().Add(time.Hour).UnixMilli()
		pass(100 * 24 * time.Hour)
		body, _ := json.Marshal([]frame{{"id": id, "state": "read", "at": read}})
		w.alice.wire().batch(w.bob.forgeBody(w.alice, w.bob.m.key, string(body), "kind", "receipt", "seq", nil))
		w.alice.wantState(id, protocol.StateRead, protocol.ProofPeer)
	})
}

// Cathy's messages have times that cannot be. Each is an alarm, she hears why, and what bob wrote in the same batch is read.
func TestMessagesWithImpossibleTimes(t *testing.T) {
	for name, ts := range impossibleTimes(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Run(name, func(t *testing.T) {
			ambush(t, func(w *world) {
				acks := w.alice.wire().batch(
					w.cathy.forgeBody(w.alice, w.cathy.m.key, "what time is it?", "ts", ts),
					w.bob.forgeBody(w.alice, w.bob.m.key, "honest"))
				if len(acks) != 2 || acks[1].Proof == nil {
					t.Errorf("acks: %+v", acks)
				}
				for _, again := range []bool{false, true} {
					all := w.alice.messages(nil)
					if len(all) != 2 || all[0].Alarm == "" || all[0].Body != "" || all[1].Body != "honest" {
						t.Fatalf("inbox after a restart (%v): %+v", again, all)
					}
					w.alice.wantJSON()
					w.alice.kill()
				}
			})
		})
	}
}

// Whose message is refused for its time hears so, if he is one of the mesh.
func TestRefusedForItsTime(t *testing.T) {
	story(t, func(w *world) {
		w.cathy.stop()
		w.cathy.skew = -45 * 24 * time.Hour
		id := w.cathy.send("alice", "hello")
		w.cathy.skew = 0
		w.cathy.start()
		pass(30 * time.Second)
		res := w.cathy.wantState(id, protocol.StateDead, protocol.ProofPeer)
		if reason := res.Recipients[0].Reason; !strings.Contains(reason, "more than 30 days from now") {
			t.Errorf("reason %q", reason)
		}
		w.alice.wantAlarm("more than 30 days from now")
	})
}

// wantJSON fails unless all that a node shows can be written as JSON, every event included.
func (n *node) wantJSON() {
	n.Helper()
	outbox, err := n.m.Outbox()
	if err != nil {
		n.Error(err)
	}
	events, _, err := n.m.env.Events.Read(0, inbox.Audience{})
	if err != nil {
		n.Error(err)
	}
	for what, v := range map[string]any{
		"inbox": n.messages(nil), "outbox": outbox, "events": events, "peers": n.m.Peers(), "members": n.m.Members(), "devices": n.m.Devices(),
	} {
		if _, err := json.Marshal(v); err != nil {
			n.Errorf("%s of %s: %v", what, n.name, err)
		}
	}
}

// damage makes a row of a node's store unreadable, and returns what mends it.
func (n *node) damage(bucket string, key []byte) (mend func()) {
	n.hurt = true
	n.Helper()
	var was []byte
	set := func(value func(old []byte) []byte) {
		n.Helper()
		err := n.db.Commit(func(tx *store.Tx) error {
			old := tx.Get(bucket, key)
			if old == nil {
				return fmt.Errorf("%s has no such row", bucket)
			}
			was = old
			return tx.Put(bucket, key, value(old))
		})
		if err != nil {
			n.Fatal(err)
		}
	}
	set(func([]byte) []byte { return []byte("{damaged") })
	good := was
	return func() { n.Helper(); set(func([]byte) []byte { return good }) }
}

// keysOf lists the keys of a bucket.
func (n *node) keysOf(bucket string) (keys [][]byte) {
	n.Helper()
	err := n.db.View(func(tx *store.Tx) error {
		for k := range tx.Scan(bucket, nil, nil) {
			keys = append(keys, slices.Clone(k))
		}
		return nil
	})
	if err != nil {
		n.Fatal(err)
	}
	return keys
}

// What a daemon cannot store it sets aside, and says so. The others of the batch arrive, the connection goes on, and a later
// daemon without the fault stores it, too, and tells the sender.
func TestWhatCannotBeStoredIsSetAside(t *testing.T) {
	story(t, func(w *world) {
		w.bob.send("alice", "first")
		w.alice.want("bob: first")
		mend := w.alice.damage(table.Numbers, w.alice.numbersOf(w.bob))
		second := w.bob.send("alice", "second")
		w.cathy.send("alice", "from cathy")
		w.alice.want("bob: first", "!a message is set aside, because this machine cannot store it: decode a row of numbers: "+
			"invalid character 'd' looking for beginning of object key string", "cathy: from cathy")
		if state := w.alice.m.Health().State; state != protocol.ConnOpen {
			t.Errorf("alice is %s", state)
		}
		w.bob.wantState(second, protocol.StateDelivered, protocol.ProofBroker) // it is on her disk; she proves nothing yet
		w.alice.restart()
		if n := len(w.alice.inbox(nil)); n != 3 {
			t.Errorf("%d messages while the fault is there", n)
		}
		mend()
		w.alice.restart()
		synctest.Wait()
		if got := w.alice.inbox(nil); len(got) != 4 || got[3] != "bob: second" {
			t.Errorf("inbox: %q", got)
		}
		w.bob.wantState(second, protocol.StateDelivered, protocol.ProofPeer)
		if left := w.alice.keysOf(table.Aside); len(left) != 0 {
			t.Errorf("%d rows are still aside", len(left))
		}
	})
}

// numbersOf is the row that counts what arrived from another member.
func (n *node) numbersOf(from *node) []byte {
	n.Helper()
	prefix := table.Key(n.m.meshID, []byte{'i'}, from.m.self[:])
	for _, k := range n.keysOf(table.Numbers) {
		if strings.HasPrefix(string(k), string(prefix)) {
			return k
		}
	}
	n.Fatalf("%s heard nothing of %s", n.name, from.name)
	return nil
}

// A receipt that cannot be applied is set aside as well: what comes behind it arrives.
func TestReceiptThatCannotBeApplied(t *testing.T) {
	story(t, func(w *world) {
		w.bob.unplug()
		id := w.alice.send("bob", "hi")
		synctest.Wait()
		keys := w.alice.keysOf(table.Outbox)
		mend := w.alice.damage(table.Outbox, keys[len(keys)-1])
		w.bob.plug()
		pass(time.Minute)
		w.cathy.send("alice", "from cathy")
		w.alice.want("cathy: from cathy")
		mend()
		w.alice.restart()
		w.alice.wantState(id, protocol.StateDelivered, protocol.ProofPeer)
	})
}

// What the broker counts and times is bounded: no number of its own ends the connection, and honest mail comes behind it.
func TestNumbersOfTheBroker(t *testing.T) {
	numbers := []any{
		0, -1, 1<<31 - 1, 1<<53 - 1, json.Number("9223372036854775807"), json.Number("-9223372036854775808"),
		json.Number("18446744073709551615"), json.Number("18446744073709551616"), json.Number("1e400"), json.Number("0.5"), "7", nil, []any{}, frame{},
	}
	story(t, func(w *world) {
		e := w.bob.corrupt()
		w.bob.unplug()
		w.bob.plug()
		e.lies(func(f frame) []frame { // on the way up again
			for _, name := range []string{"time", "retentionDays", "logCursor", "cursor"} {
				if _, ok := f[name]; ok {
					f = f.with(name, json.Number("9223372036854775807"))
				}
			}
			return []frame{f}
		})
		pass(time.Minute)
		if state := w.bob.m.Health().State; state != protocol.ConnOpen {
			t.Fatalf("bob is %s", state)
		}
		e.lies(nil)
		id := w.bob.send("cathy", "hi")
		synctest.Wait()
		for i, n := range numbers {
			for _, f := range []frame{
				{"type": "receipt", "receiptId": "r", "clientMessageId": id, "recipient": w.cathy.m.self.String(), "state": "expired", "at": n},
				{"type": "error", "code": "rate_limit", "message": "wait", "retryable": true, "retry_after_ms": n},
				{"type": "ack", "id": id, "queued": false, "code": "rate_limit", "retry_after_ms": n},
				{"type": "log", "statements": []string{}, "cursor": n, "after": n},
				{"type": "membership", "members": []frame{{"pubkey": w.alice.m.self.String(), "last_seen": n, "online": false}, {"pubkey": n}}},
				{"type": "presence", "peers": []frame{{"pubkey": n, "connectedAt": n, "status": n}}, "left": n},
				{"type": "hello_ack", "retentionDays": n, "logCursor": n},
				{"type": n}, {"type": "push", "messageId": n, "createdAt": n},
			} {
				e.say(f)
			}
			text := fmt.Sprint("honest ", i)
			w.alice.send("bob", text)
			synctest.Wait()
			if got := w.bob.inbox(nil); !slices.Contains(got, "alice: "+text) {
				t.Fatalf("after %v bob has %q", n, got)
			}
			w.bob.wantJSON()
		}
		e.mu.Lock()
		opened := e.opened
		e.mu.Unlock()
		if opened != 1 {
			t.Errorf("bob connected %d times", opened)
		}
		if days := w.bob.m.keptDays(); days != protocol.RetentionDays {
			t.Errorf("the broker keeps messages for %d days", days)
		}
	})
}

// A session joins as many groups as a statement holds, and hears it when that is too many: its connection goes on.
func TestTooManyGroups(t *testing.T) {
	story(t, func(w *world) {
		var groups []string
		for i := range protocol.MaxListed {
			groups = append(groups, fmt.Sprintf("group-%02d", i))
		}
		join := func(groups ...string) error {
			return w.alice.m.SetPresence(context.Background(), protocol.PresenceRequest{Join: groups}, nil)
		}
		if err := join(groups...); err != nil {
			t.Fatal(err)
		}
		wantRefusal(t, join("one-more"), protocol.CodeInvalid)
		w.alice.unplug()
		w.alice.plug()
		pass(time.Minute)
		w.bob.send("@group-63", "hi")
		w.alice.want("bob: hi")
	})
}

// What the broker writes need not be a frame: bob skips it, logs it, and reads on, on the same connection.
func TestWhatIsNoFrameIsSkipped(t *testing.T) {
	story(t, func(w *world) {
		e := w.bob.corrupt()
		w.bob.unplug()
		w.bob.plug()
		pass(time.Minute)
		long := strings.Repeat("x", protocol.MaxFrame+1)
		for i, text := range []string{
			"", "{", "null", "7", "[]", `[{"type":"push"}]`, "\xef\xbb\xbf{\"type\":\"ok\"}", "Content-Length: 2\r\n\r\n{}", "\xff\xfe", `{"type":"push"`,
			`{"type":"push"}{"type":"push"}`, `{"type":{}}`, `{"type":"push","ciphertext":"` + long + `"}`, long, strings.Repeat("[", 20000),
			`{"type":"receipt","proof":{"nonce":7}}`, `{"type":"presence","peers":[null,{}]}`, `{"type":"membership","members":[{"certs":[null,"x"]}]}`,
			`{"type":"` + long[:1<<20] + `"}`, `{"type":"error","code":"<b>","message":"` + long[:1<<20] + `"}`, `{"type":"ok","_reqId":"1"}`,
		} {
			e.mu.Lock()
			c := e.client
			e.mu.Unlock()
			c.raw(text)
			honest := fmt.Sprint("honest ", i)
			w.alice.send("bob", honest)
			synctest.Wait()
			if got := w.bob.inbox(nil); !slices.Contains(got, "alice: "+honest) {
				t.Fatalf("after %.40q bob has %q", text, got)
			}
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.opened != 1 {
			t.Errorf("bob connected %d times", e.opened)
		}
	})
}

// Statements that are large go to the broker in frames that it reads.
func TestLargeStatementsArePublished(t *testing.T) {
	ambush(t, func(w *world) {
		keep := make([]protocol.ID, 1700)
		for i := range keep {
			keep[i] = protocol.ID(crypto.Hash([]byte(fmt.Sprint(i))))
		}
		large := w.sign(&protocol.Revoke{
			Mesh: w.charter.Mesh(), Issuer: w.owner.Public(), Kind: protocol.RevokeKey, Target: crypto.GenerateKey().Public(), Keep: keep, At: 1,
		}, w.owner)
		all := slices.Repeat([]*protocol.Statement{large, w.charter}, 100)
		for len(all) > 0 {
			n := publishable(all)
			frame := protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}}
			for _, s := range all[:n] {
				frame.Statements = append(frame.Statements, s.Text())
			}
			if b, err := json.Marshal(frame); err != nil || n == 0 || len(b) > protocol.MaxFrame {
				t.Fatalf("a frame of %d statements, %d bytes, %v", n, len(b), err)
			}
			all = all[n:]
		}
	})
}
