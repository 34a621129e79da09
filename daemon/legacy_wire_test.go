package daemon

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// original is an original client: it joins with a v1 link, says the plain hello, and boxes bare text.
type original struct {
	*world
	key *crypto.PrivateKey
	ws  *websocket.Conn
}

// olga joins by the broker's door for original clients.
func (w *world) olga() *original {
	w.Helper()
	mesh := w.charter.Mesh()
	token, err := protocol.MakeLegacyInvite(mesh, "acme", testURL, time.Now().Add(time.Hour).Unix(), w.owner)
	if err != nil {
		w.Fatal(err)
	}
	args, err := json.Marshal(protocol.V1LinkOp{At: time.Now().UnixMilli(), Token: token, Uses: 1})
	if err != nil {
		w.Fatal(err)
	}
	op := w.sign(&protocol.Op{Mesh: mesh, By: w.owner.Public(), Nonce: [32]byte(crypto.RandomBytes(32)), Verb: protocol.OpV1Make, JSON: args}, w.owner)
	w.post("/api/v1/v1links", protocol.V1LinkRequest{Statement: op.Text()}, new(protocol.V1LinkReply))
	o := &original{world: w, key: crypto.GenerateKey()}
	payload, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		w.Fatal(err)
	}
	pub := o.key.Public().String()
	w.post("/join", frame{"invite_token": token, "invite_payload": json.RawMessage(payload), "peer_pubkey": pub, "display_name": "Olga"}, new(frame))

	d := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return w.listener.Load().dial("10.0.0.7:1") }}
	if o.ws, _, err = d.Dial(testURL, nil); err != nil {
		w.Fatal(err)
	}
	at := time.Now().UnixMilli()
	id := protocol.MemberID(mesh, o.key.Public())
	sig := o.key.Sign([]byte(strings.Join([]string{string(mesh), id, pub, strconv.FormatInt(at, 10)}, "|")))
	o.write(frame{"type": "hello", "meshId": string(mesh), "memberId": id, "pubkey": pub, "displayName": "Olga", "sessionId": "s-1", "pid": 1,
		"cwd": "/home/olga", "timestamp": at, "signature": hex.EncodeToString(sig[:])})
	if f := o.read(); !f.is(protocol.TypeHelloAck) {
		w.Fatalf("hello: %v", f)
	}
	return o
}

func (o *original) write(f frame) { (&evilConn{ws: o.ws}).write(f) }

func (o *original) read() frame {
	o.Helper()
	_, b, err := o.ws.ReadMessage()
	if err != nil {
		o.Fatal(err)
	}
	return parseFrame(b)
}

// Olga and bob write to each other through the real broker, in a mesh whose owner allows it.
func TestOriginalClientAndDaemon(t *testing.T) {
	story(t, func(w *world) {
		policy := w.sign(&protocol.Policy{Mesh: w.charter.Mesh(), By: w.owner.Public(), N: 1, Flags: protocol.FlagLegacy}, w.owner)
		if err := w.alice.m.publish(context.Background(), policy.Text()); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		olga := w.olga()
		defer olga.ws.Close()
		pass(time.Second)
		names := []string{}
		for _, p := range w.bob.m.peers() {
			if p.Trust == protocol.TrustUnverified {
				names = append(names, p.Name)
			}
		}
		if !slices.Equal(names, []string{"~olga"}) {
			t.Errorf("unverified peers of bob: %q", names)
		}
		push := w.bare(olga.key, "", w.bob, "hello bob")
		olga.write(frame{"type": "send", "id": "1", "targetSpec": w.bob.m.self.String(), "priority": "next", "nonce": push.Nonce, "ciphertext": push.Ciphertext})
		pass(time.Second)
		w.bob.want("~olga: hello bob")
		id := w.bob.send("~olga", "hello olga")
		for got := false; !got; {
			f := olga.read()
			if !f.is(protocol.TypePush) {
				continue
			}
			shared, err := olga.key.Shared(w.bob.m.self)
			if err != nil {
				t.Fatal(err)
			}
			n := crypto.Nonce(unbase64(t, f.str("nonce")))
			text, err := crypto.Open(nil, unbase64(t, f.str("ciphertext")), &n, &shared)
			if got = true; err != nil || string(text) != "hello olga" || f.str("senderPubkey") != w.bob.m.self.String() {
				t.Errorf("olga got %q, %v", text, err)
			}
		}
		synctest.Wait()
		if res := w.bob.wantMessage(id); res.Recipients[0].Proof == protocol.ProofPeer || res.State.Rank() < protocol.StateQueued.Rank() {
			t.Errorf("state %+v", res)
		}
		// The owner takes it back: what olga writes is not taken any more.
		strict := w.sign(&protocol.Policy{Mesh: w.charter.Mesh(), By: w.owner.Public(), N: 2}, w.owner)
		if err := w.alice.m.publish(context.Background(), strict.Text()); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.bob.wire().push(w.bare(olga.key, "Olga", w.bob, "still here?"))
		w.bob.wantAlarm("")
		if _, err := w.bob.m.resolve("~olga"); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("olga is still addressed: %v", err)
		}
	})
}

// An admin sees the key that an original client had made, and ends it by a part of its id.
func TestKeyOfAnOriginalClient(t *testing.T) {
	story(t, func(w *world) {
		policy := w.sign(&protocol.Policy{Mesh: w.charter.Mesh(), By: w.owner.Public(), N: 1, Flags: protocol.FlagLegacy}, w.owner)
		if err := w.alice.m.publish(context.Background(), policy.Text()); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		olga := w.olga()
		defer olga.ws.Close()
		olga.write(frame{"type": "apikey_create", "_reqId": "1", "label": "CI bot", "capabilities": []string{"read"}})
		made := olga.read()
		for !made.is(protocol.TypeAPIKeyCreated) {
			made = olga.read()
		}
		pass(time.Second)
		keys, err := w.alice.m.apiKeys()
		if err != nil || len(keys) != 1 || keys[0].ID != made.str("id") || keys[0].Member != "~olga" || keys[0].RevokedAt != nil {
			t.Fatalf("alice lists %+v, %v", keys, err)
		}
		if keys, _ := w.bob.m.apiKeys(); len(keys) != 0 {
			t.Errorf("bob lists %+v", keys)
		}
		done, err := w.alice.m.revokeAPIKey(context.Background(), made.str("id")[:6], "")
		if err != nil || done.ID != made.str("id") || done.Published || done.Reason != "" {
			t.Errorf("revoked %+v, %v", done, err)
		}
	})
}
