package broker

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// fields is a frame as an original client writes it.
type fields = map[string]any

// legacyStory is a story in a mesh whose policy lets original clients in.
func legacyStory(t *testing.T, f func(w *world)) {
	t.Helper()
	story(t, Limits{}, func(w *world) {
		w.policy(1, protocol.FlagLegacy)
		time.Sleep(time.Second) // so that nothing is signed before the broker started
		f(w)
	})
}

// policy has the owner sign the policy.
func (w *world) policy(n, flags uint64) {
	w.Helper()
	st := w.sign(&protocol.Policy{Mesh: w.mesh, By: w.owner.Public(), N: n, Flags: flags}, w.owner)
	if status, body := w.post("/api/v1/statements", "", protocol.OfferRequest{Mesh: w.mesh, Statements: []string{st.Text()}}); status != http.StatusOK {
		w.Fatalf("policy: %d %s", status, body)
	}
}

// v1Op has the owner ask for something about v1 links.
func (w *world) v1Op(verb string, args protocol.V1LinkOp, by *crypto.PrivateKey) (int, protocol.V1LinkReply) {
	w.Helper()
	args.At = time.Now().UnixMilli()
	b, err := json.Marshal(args)
	if err != nil {
		w.Fatal(err)
	}
	st := w.sign(&protocol.Op{Mesh: w.mesh, By: by.Public(), Nonce: [32]byte(crypto.RandomBytes(32)), Verb: verb, JSON: b}, by)
	status, body := w.post("/api/v1/v1links", "", protocol.V1LinkRequest{Statement: st.Text()})
	var reply protocol.V1LinkReply
	json.Unmarshal([]byte(body), &reply)
	return status, reply
}

// v1Link makes a v1 link.
func (w *world) v1Link(uses int, life time.Duration) string {
	w.Helper()
	token, err := protocol.MakeLegacyInvite(w.mesh, "acme", "wss://"+testHost+"/ws", time.Now().Add(life).Unix(), w.owner)
	if err != nil {
		w.Fatal(err)
	}
	if status, _ := w.v1Op(protocol.OpV1Make, protocol.V1LinkOp{Token: token, Uses: uses}, w.owner); status != http.StatusOK {
		w.Fatalf("make a v1 link: %d", status)
	}
	return token
}

// joinBody is what an original client posts to /join.
func joinBody(token string, p *person) fields {
	b, _ := base64.RawURLEncoding.DecodeString(token)
	var payload fields
	json.Unmarshal(b, &payload)
	return fields{"invite_token": token, "invite_payload": payload, "peer_pubkey": p.key.Public().String(), "display_name": p.name}
}

// wantJoin wants that answer to a join: "" for ok, "already", or the error.
func (w *world) wantJoin(body fields, want string) {
	w.Helper()
	status, text := w.post("/join", "", body)
	var a legacyJoined
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		w.Fatal(err)
	}
	got := a.Error
	if a.Already {
		got = "already"
	}
	if got != want || (status == http.StatusOK) != (a.Error == "") || a.OK != (a.Error == "") {
		w.Errorf("join: %d %s, want %q", status, text, want)
	}
}

// original makes a person who came by a v1 link.
func (w *world) original(name string) *person {
	w.Helper()
	p := w.stranger(name)
	w.wantJoin(joinBody(w.v1Link(1, time.Hour), p), "")
	return p
}

func (p *person) memberID() string { return protocol.MemberID(p.w.mesh, p.key.Public()) }

func signBars(key *crypto.PrivateKey, parts ...string) string {
	sig := key.Sign([]byte(strings.Join(parts, "|")))
	return hex.EncodeToString(sig[:])
}

// signedHello is a plain hello, as 0.1.4 sends it unless more is given.
func (p *person) signedHello(more fields) fields {
	time.Sleep(time.Millisecond) // two hellos of one instant are the same bytes
	at := time.Now().UnixMilli()
	h := fields{
		"type": "hello", "meshId": string(p.w.mesh), "memberId": p.memberID(), "pubkey": p.key.Public().String(),
		"sessionId": "9320-" + itoa(at), "pid": 9320, "cwd": "/home/" + p.name, "timestamp": at,
		"signature": signBars(p.key, string(p.w.mesh), p.memberID(), p.key.Public().String(), itoa(at)),
	}
	for k, v := range more {
		h[k] = v
	}
	return h
}

func itoa(n int64) string { return string(json.Number(jsonText(n))) }

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// sessionHello is a session_hello of 1.37.
func (p *person) sessionHello(key *crypto.PrivateKey, more fields) fields {
	time.Sleep(time.Millisecond) // two hellos of one instant are the same bytes
	at := time.Now().UnixMilli()
	expires := at + (12 * time.Hour).Milliseconds()
	member, session := p.key.Public().String(), key.Public().String()
	h := fields{
		"type": "session_hello", "meshId": string(p.w.mesh), "parentMemberId": p.memberID(), "parentMemberPubkey": member,
		"sessionPubkey": session, "displayName": p.name + "-1", "sessionId": "bb9e5704-81cf-4d0f-a50e-45a6bc15c0e5", "pid": 12409,
		"cwd": "/home/" + p.name, "hostname": "vm", "peerType": "ai", "channel": "claudemesh-session", "role": "lead", "timestamp": at,
		"parentAttestation": fields{
			"sessionPubkey": session, "parentMemberPubkey": member, "expiresAt": expires,
			"signature": signBars(p.key, "claudemesh-session-attest", member, session, itoa(expires)),
		},
		"signature": signBars(key, "claudemesh-session-hello", string(p.w.mesh), member, session, itoa(at)),
	}
	for k, v := range more {
		h[k] = v
	}
	return h
}

// says connects and says hello, and wants to be let in.
func (p *person) says(hello fields) *client {
	p.w.Helper()
	c := p.dial()
	c.own = p.key
	c.write(hello)
	c.wantFrame("hello_ack", &c.ack)
	return c
}

// plain connects as 0.1.4.
func (p *person) plain() *client {
	p.w.Helper()
	return p.says(p.signedHello(nil))
}

// box seals as original clients do.
func (c *client) box(to crypto.PublicKey, text string) (nonce, ciphertext string) {
	c.w.Helper()
	shared, err := c.own.Shared(to)
	if err != nil {
		c.w.Fatal(err)
	}
	n, b, err := protocol.SealBare([]byte(text), &shared)
	if err != nil {
		c.w.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(n), base64.StdEncoding.EncodeToString(b)
}

// legacySend boxes text to a key and wants it to be taken.
func (c *client) legacySend(id string, to crypto.PublicKey, text string) legacyAck {
	c.w.Helper()
	nonce, box := c.box(to, text)
	return c.legacySubmit(fields{"id": id, "targetSpec": to.String(), "priority": "next", "nonce": nonce, "ciphertext": box})
}

func (c *client) legacySubmit(f fields) (a legacyAck) {
	c.w.Helper()
	f["type"] = "send"
	c.write(f)
	raw := c.take("ack", func(raw []byte) bool {
		json.Unmarshal(raw, &a)
		return a.ID == f["id"]
	})
	a = legacyAck{}
	json.Unmarshal(raw, &a)
	return a
}

// wantBare wants the next push that is a message to be a box with that text.
func (c *client) wantBare(text string) legacyPush {
	c.w.Helper()
	var p legacyPush
	raw := c.take("push", func(raw []byte) bool {
		p = legacyPush{}
		json.Unmarshal(raw, &p)
		return p.Subtype == ""
	})
	sender, err := crypto.ParsePublicKey(p.Sender)
	if err != nil {
		c.w.Fatalf("%s: push %s", c.name, raw)
	}
	shared, err := c.own.Shared(sender)
	if err != nil {
		c.w.Fatal(err)
	}
	nonce, _ := base64.StdEncoding.DecodeString(p.Nonce)
	box, _ := base64.StdEncoding.DecodeString(p.Ciphertext)
	n := crypto.Nonce(nonce)
	got, err := crypto.Open(nil, box, &n, &shared)
	if err != nil || string(got) != text {
		c.w.Fatalf("%s: opened %q, %v; want %q", c.name, got, err, text)
	}
	return p
}

// wantNoMail wants no message to be there once everybody is idle; news is none.
func (c *client) wantNoMail() {
	c.w.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.typ == "push" && !strings.Contains(string(f.raw), `"subtype":"system"`) {
			c.w.Errorf("%s: has an unexpected %s", c.name, f.raw)
		}
	}
}

// wantError sends a request and wants an error of that code with its id.
func (c *client) wantError(f fields, code string) {
	c.w.Helper()
	var e protocol.ErrorFrame
	c.request(f, "error", &e)
	if string(e.Code) != code {
		c.w.Errorf("%s: %v is refused as %s (%s), want %s", c.name, f["type"], e.Code, e.Message, code)
	}
}

func TestLegacyIsOffByDefault(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		time.Sleep(time.Second)
		dave := w.stranger("dave")
		c := dave.dial()
		c.write(dave.signedHello(nil))
		var e protocol.ErrorFrame
		c.wantFrame("error", &e)
		if e.Code != protocol.CodeLegacyOff {
			t.Errorf("refused as %s", e.Code)
		}
		c.wantClose(websocket.ClosePolicyViolation)
		token, _ := protocol.MakeLegacyInvite(w.mesh, "acme", "wss://"+testHost+"/ws", time.Now().Add(time.Hour).Unix(), w.owner)
		if status, _ := w.v1Op(protocol.OpV1Make, protocol.V1LinkOp{Token: token, Uses: 1}, w.owner); status == http.StatusOK {
			t.Error("a v1 link was taken")
		}
		w.wantJoin(joinBody(token, dave), "legacy_off")
	})
}

func TestLegacyEndsWithThePolicy(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave := w.original("dave")
		c := dave.plain()
		w.policy(2, 0)
		var e protocol.ErrorFrame
		c.wantFrame("error", &e)
		if e.Code != protocol.CodeLegacyOff {
			t.Errorf("ended as %s", e.Code)
		}
		c.wantClose(websocket.ClosePolicyViolation)
	})
}

func TestLegacyJoin(t *testing.T) {
	legacyStory(t, func(w *world) {
		token := w.v1Link(1, time.Hour)
		dave, erin := w.stranger("dave"), w.stranger("erin")
		with := func(p *person, change func(body, payload fields)) fields {
			b := joinBody(token, p)
			change(b, b["invite_payload"].(fields))
			return b
		}
		w.wantJoin(with(dave, func(b, _ fields) { delete(b, "display_name") }), "invite_token, invite_payload, peer_pubkey and display_name are required")
		w.wantJoin(with(dave, func(b, _ fields) { b["peer_pubkey"] = "00" }), "peer_pubkey must be 64 lower-case hex digits of an ed25519 key")
		w.wantJoin(with(dave, func(_, p fields) { p["role"] = "admin" }), "invite_bad_signature")
		other, _ := protocol.MakeLegacyInvite(protocol.MeshID(strings.Repeat("x", 32)), "acme", "wss://"+testHost+"/ws", 1, w.owner)
		w.wantJoin(joinBody(other, dave), "mesh_not_found")
		forged, _ := protocol.MakeLegacyInvite(w.mesh, "acme", "wss://"+testHost+"/ws", time.Now().Add(time.Hour).Unix(), crypto.GenerateKey())
		w.wantJoin(joinBody(forged, dave), "invite_owner_mismatch")
		unknown, _ := protocol.MakeLegacyInvite(w.mesh, "acme", "wss://"+testHost+"/ws", time.Now().Add(time.Hour).Unix(), w.owner)
		w.wantJoin(joinBody(unknown, dave), "invite_not_found")
		w.wantJoin(joinBody(token, w.bob), "member_insert_failed")
		w.wantJoin(joinBody(token, dave), "")
		w.wantJoin(joinBody(token, dave), "already")
		w.wantJoin(joinBody(token, erin), "invite_exhausted")
		closed := w.v1Link(5, time.Hour)
		status, reply := w.v1Op(protocol.OpV1Close, protocol.V1LinkOp{ID: protocol.V1LinkID(closed)[:8]}, w.owner)
		if status != http.StatusOK || len(reply.Links) != 2 {
			t.Errorf("close: %d %+v", status, reply)
		}
		w.wantJoin(joinBody(closed, erin), "invite_revoked")
		if status, _ := w.v1Op(protocol.OpV1List, protocol.V1LinkOp{}, w.alice.key); status != http.StatusForbidden {
			t.Errorf("an admin lists v1 links: %d", status)
		}
		late := w.v1Link(5, time.Minute)
		time.Sleep(2 * time.Minute)
		w.wantJoin(joinBody(late, erin), "invite_expired")

		w.restart()
		time.Sleep(time.Second)
		w.wantJoin(joinBody(token, dave), "already")
		c := dave.plain()
		st := w.revoke(dave.key.Public())
		if status, body := w.post("/api/v1/statements", "", protocol.OfferRequest{Mesh: w.mesh, Statements: []string{st.Text()}}); status != http.StatusOK {
			t.Fatalf("revoke: %d %s", status, body)
		}
		c.wantClose(protocol.CloseBanned)
		w.wantJoin(joinBody(token, dave), "invite_revoked")
	})
}

func TestLegacyHelloChecks(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, mallory := w.original("dave"), w.original("mallory")
		session := crypto.GenerateKey()
		for name, c := range map[string]struct {
			hello fields
			code  string
			close int
		}{
			"late":              {dave.signedHello(fields{"timestamp": time.Now().Add(-2 * time.Minute).UnixMilli()}), "timestamp_skew", 1008},
			"before the start":  {dave.signedHello(fields{"timestamp": time.Now().Add(-5 * time.Second).UnixMilli()}), "timestamp_skew", 1008},
			"short signature":   {dave.signedHello(fields{"signature": "00"}), "malformed", 1008},
			"other's signature": {dave.signedHello(fields{"signature": mallory.signedHello(nil)["signature"]}), "bad_signature", 1008},
			"session key":       {dave.signedHello(fields{"sessionPubkey": "AA"}), "bad_session_pubkey", 1008},
			"stranger":          {w.stranger("nobody").signedHello(nil), "unauthorized", 1008},
			"certified":         {w.bob.signedHello(nil), "unauthorized", 1008},
			"s session key":     {dave.sessionHello(session, fields{"sessionPubkey": "x"}), "bad_session_pubkey", 1008},
			"s parent":          {dave.sessionHello(session, fields{"parentMemberPubkey": "x"}), "bad_parent_pubkey", 1008},
			"s binding":         {dave.sessionHello(session, fields{"parentAttestation": fields{}}), "attestation_mismatch", 1008},
			"s signature":       {dave.sessionHello(session, fields{"signature": strings.Repeat("0", 128)}), "bad_signature", 1008},
			"s late":            {dave.sessionHello(session, fields{"timestamp": time.Now().Add(-2 * time.Minute).UnixMilli()}), "timestamp_skew", 1008},
			"s parent id":       {dave.sessionHello(session, fields{"parentMemberId": mallory.memberID()}), "parent_member_id_mismatch", 1008},
			"s expired":         {dave.sessionHello(session, fields{"parentAttestation": dave.attest(session, -time.Hour)}), "expired", 1008},
			"s too long":        {dave.sessionHello(session, fields{"parentAttestation": dave.attest(session, 25*time.Hour)}), "ttl_too_long", 1008},
			"s forged":          {dave.sessionHello(session, fields{"parentAttestation": mallory.attestFor(dave, session)}), "bad_signature", 1008},
		} {
			conn := dave.dial()
			conn.write(c.hello)
			var e protocol.ErrorFrame
			conn.wantFrame("error", &e)
			if string(e.Code) != c.code {
				t.Errorf("%s: refused as %s (%s), want %s", name, e.Code, e.Message, c.code)
			}
			conn.wantClose(c.close)
		}

		hello := dave.signedHello(nil)
		dave.says(hello)
		again := dave.dial()
		again.write(hello)
		var e protocol.ErrorFrame
		again.wantFrame("error", &e)
		if e.Code != protocol.CodeBadSignature {
			t.Errorf("a replayed hello is refused as %s", e.Code)
		}
	})
}

// attest is an attestation that lives for d.
func (p *person) attest(session *crypto.PrivateKey, d time.Duration) fields {
	expires := time.Now().Add(d).UnixMilli()
	member, key := p.key.Public().String(), session.Public().String()
	return fields{
		"sessionPubkey": key, "parentMemberPubkey": member, "expiresAt": expires,
		"signature": signBars(p.key, "claudemesh-session-attest", member, key, itoa(expires)),
	}
}

// attestFor forges an attestation of another member.
func (p *person) attestFor(other *person, session *crypto.PrivateKey) fields {
	a := p.attest(session, time.Hour)
	a["parentMemberPubkey"] = other.key.Public().String()
	return a
}

func TestLegacyPlainExchange(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		d := dave.plain()
		ack := d.legacySend("e7fafe8c8d30b694", erin.key.Public(), "while you were away")
		if !ack.Queued || len(ack.MessageID) != 32 || ack.Error != "" {
			t.Errorf("ack %+v", ack)
		}
		e := erin.plain()
		p := e.wantBare("while you were away")
		if p.MessageID != ack.MessageID || p.Sender != dave.key.Public().String() || p.SenderName != "dave" {
			t.Errorf("push %+v", p)
		}
		synctest.Wait()
		e.leave() // the pong confirmed it: it does not come again
		e = erin.plain()
		e.wantNone("push")

		d.legacySubmit(fields{"id": "1", "targetSpec": "*", "priority": "next", "nonce": "E/jtUhw0Qdddw5FK/ESjs9FJv5E2Dia8", "ciphertext": "YnJvYWRjYXN0IGZyb20gQQ=="})
		var clear legacyPush
		e.wantFrame("push", &clear)
		if clear.Sender != "" || clear.SenderMember != dave.key.Public().String() || clear.Ciphertext != "YnJvYWRjYXN0IGZyb20gQQ==" {
			t.Errorf("broadcast to 0.1.4: %+v", clear)
		}
		var state legacyMessageState
		d.request(fields{"type": "message_status", "messageId": ack.MessageID[:10]}, "message_status_result", &state)
		if !state.Delivered || state.DeliveredAt == nil || len(state.Recipients) != 1 || state.Recipients[0].Status != "delivered" {
			t.Errorf("status %+v", state)
		}
	})
}

func TestLegacyLostConnectionGetsItAgain(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		e := erin.plain()
		e.freeze()
		d := dave.plain()
		d.legacySend("e7fafe8c8d30b694", erin.key.Public(), "hi")
		synctest.Wait()
		e.lose()
		erin.plain().wantBare("hi")
	})
}

func TestLegacyRefusedSends(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave := w.original("dave")
		d := dave.plain()
		for name, c := range map[string]struct {
			f    fields
			want string // in the text
		}{
			"unknown key":   {fields{"targetSpec": strings.Repeat("ab", 32)}, "target_not_found"},
			"name":          {fields{"targetSpec": "bob"}, "target_not_found"},
			"own key":       {fields{"targetSpec": dave.key.Public().String()}, "invalid"},
			"topic":         {fields{"targetSpec": "#general"}, "invalid"},
			"priority":      {fields{"priority": "urgent"}, "invalid"},
			"long":          {fields{"ciphertext": strings.Repeat("AAAA", 17<<10)}, "payload too large: 69728 bytes > MAX_MESSAGE_BYTES=65536"},
			"not base64":    {fields{"ciphertext": "-_-_"}, "invalid"},
			"strange group": {fields{"targetSpec": "@x' OR 1"}, "invalid"},
		} {
			f := fields{"type": "send", "id": "7", "targetSpec": w.bob.key.Public().String(), "priority": "now", "nonce": "E/jtUhw0Qdddw5FK/ESjs9FJv5E2Dia8", "ciphertext": "AAAA"}
			for k, v := range c.f {
				f[k] = v
			}
			d.write(f)
			var e protocol.ErrorFrame
			d.wantFrame("error", &e)
			var a legacyAck
			d.wantFrame("ack", &a)
			if e.ID != "7" || a.ID != "7" || a.Queued || e.Code == "" || !strings.Contains(a.Error, c.want) || strings.HasPrefix(e.Message, string(e.Code)+":") {
				t.Errorf("%s: error %+v, ack %+v", name, e, a)
			}
		}
	})
}

func TestLegacyIdempotency(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		d, e := dave.plain(), erin.plain()
		send := func(id, print string) legacyAck {
			nonce, box := d.box(erin.key.Public(), "once")
			return d.legacySubmit(fields{"id": id, "client_message_id": "0190e5f0-aaaa-7bbb-8ccc-ddddeeeeffff", "request_fingerprint": print,
				"targetSpec": erin.key.Public().String(), "priority": "next", "nonce": nonce, "ciphertext": box})
		}
		first, again := send("a", strings.Repeat("11", 32)), send("b", strings.Repeat("11", 32))
		if !again.Queued || again.MessageID != first.MessageID {
			t.Errorf("acks %+v, %+v", first, again)
		}
		e.wantBare("once")
		e.wantNone("push")
		if other := send("c", strings.Repeat("22", 32)); other.Queued || !strings.Contains(other.Error, "invalid") {
			t.Errorf("another request of the same id: %+v", other)
		}
	})
}

func TestLegacyDaemonAndSession(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		key := crypto.GenerateKey()
		daemon := dave.says(dave.signedHello(fields{"channel": "claudemesh-daemon", "sessionId": "daemon-1"}))
		session := dave.says(dave.sessionHello(key, nil))
		session.own = key
		e := erin.plain()

		var joined legacyPush
		raw := daemon.take("push", func(b []byte) bool { return strings.Contains(string(b), "erin") })
		json.Unmarshal(raw, &joined)
		if joined.Event != "peer_joined" || joined.EventData["name"] != "erin" || joined.EventData["displayName"] != "erin" {
			t.Errorf("news %s", raw)
		}
		session.wantNone("push")

		e.legacySend("1", key.Public(), "to the session")
		p := session.wantBare("to the session")
		session.lose() // not acknowledged: it comes again, to the session alone
		daemon.wantNoMail()
		session = dave.says(dave.sessionHello(key, nil))
		session.own = key
		session.wantBare("to the session")
		session.write(fields{"type": "client_ack", "clientMessageId": p.ClientMessageID, "brokerMessageId": p.MessageID})
		synctest.Wait()
		session.leave()
		session = dave.says(dave.sessionHello(key, nil))
		session.own = key
		session.wantNone("push")

		e.legacySend("2", dave.key.Public(), "to the member")
		daemon.wantBare("to the member")
		session.wantNone("push")

		ack := session.legacySend("3", erin.key.Public(), "from the session")
		if got := e.wantBare("from the session"); got.Sender != key.Public().String() || got.MessageID != ack.MessageID {
			t.Errorf("push %+v", got)
		}
		session.legacySubmit(fields{"id": "4", "targetSpec": "@all", "priority": "low", "nonce": "E/jtUhw0Qdddw5FK/ESjs9FJv5E2Dia8", "ciphertext": "aGk="})
		var clear legacyPush
		e.wantFrame("push", &clear)
		if clear.Sender != "" || clear.Ciphertext != "aGk=" {
			t.Errorf("clear %+v", clear)
		}
	})
}

func TestLegacySessionKeysAreTheirMembers(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, mallory := w.original("dave"), w.original("mallory")
		key := crypto.GenerateKey()
		dave.says(dave.sessionHello(key, nil)).lose()
		m := mallory.says(mallory.signedHello(fields{"channel": "sdk", "sessionPubkey": key.Public().String()}))
		bob := w.original("bob2").plain()
		bob.legacySend("1", key.Public(), "for dave's session")
		m.wantNoMail()
		c := mallory.dial()
		c.write(mallory.sessionHello(key, nil))
		var e protocol.ErrorFrame
		c.wantFrame("error", &e)
		if e.Code != protocol.CodeUnauthorized {
			t.Errorf("another member's session key: %s", e.Code)
		}
	})
}

func TestLegacyTwoProcesses(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		first, second := dave.plain(), dave.says(dave.signedHello(fields{"sessionId": "1-1"}))
		erin.plain().legacySend("1", dave.key.Public(), "one of you")
		second.wantBare("one of you")
		first.wantNone("push")
		third := dave.says(dave.signedHello(fields{"sessionId": "1-1", "channel": "sdk"}))
		synctest.Wait()
		if second.closed != nil {
			t.Errorf("another kind of the same session id closed it: %v", second.closed)
		}
		dave.says(dave.signedHello(fields{"sessionId": "1-1", "channel": "sdk"}))
		third.wantClose(websocket.CloseNormalClosure)
	})
}

func TestLegacyStatusGates(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		d, e := dave.plain(), erin.plain()
		e.write(fields{"type": "set_status", "status": "working"})
		synctest.Wait()
		d.legacySend("1", erin.key.Public(), "later")
		e.wantNone("push")
		nonce, box := d.box(erin.key.Public(), "now")
		d.legacySubmit(fields{"id": "2", "targetSpec": erin.key.Public().String(), "priority": "now", "nonce": nonce, "ciphertext": box})
		e.wantBare("now")
		e.wantNone("push")
		e.write(fields{"type": "set_status", "status": "idle"})
		e.wantBare("later")
	})
}

func TestLegacyPeers(t *testing.T) {
	legacyStory(t, func(w *world) {
		alice := w.alice.connect()
		w.alice.session("api")
		dave := w.original("dave")
		key := crypto.GenerateKey()
		session := dave.says(dave.sessionHello(key, nil))
		session.write(fields{"type": "set_summary", "summary": "fixes the parser"})
		session.write(fields{"type": "join_group", "name": "frontend", "role": "lead"})
		session.write(fields{"type": "set_stats", "stats": fields{"messagesIn": 3}})
		var ack legacyAck
		session.request(fields{"type": "set_profile", "title": "Parser"}, "ack", &ack)
		if ack.ID != "q1" || ack.Queued {
			t.Errorf("ack %+v", ack)
		}

		command := dave.says(dave.signedHello(fields{"channel": "claude-code", "sessionId": "bb9e5704-81cf-4d0f-a50e-45a6bc15c0e5", "sessionPubkey": crypto.GenerateKey().Public().String()}))
		command.write(fields{"type": "set_status", "status": "dnd"})
		erin := w.original("erin").plain()
		synctest.Wait()
		var list struct{ Peers []fields }
		erin.request(fields{"type": "list_peers"}, "peers_list", &list)
		got := make(map[string]fields)
		for _, p := range list.Peers {
			got[p["displayName"].(string)] = p
			for _, name := range []string{"pubkey", "memberPubkey", "displayName", "status", "summary", "groups", "sessionId", "connectedAt", "cwd", "peerRole"} {
				if _, ok := p[name]; !ok {
					t.Errorf("%v has no %s", p["displayName"], name)
				}
			}
		}
		if len(got) != 4 || got["alice"]["peerRole"] != "session" || got["alice/api"] == nil || got["erin"]["peerRole"] != "session" {
			t.Errorf("peers %s", jsonText(list))
		}
		d := got["dave-1"]
		if d["status"] != "dnd" || d["summary"] != "fixes the parser" || d["pubkey"] != key.Public().String() || jsonText(d["stats"]) != `{"messagesIn":3}` ||
			jsonText(d["groups"]) != `[{"name":"frontend","role":"lead"}]` || jsonText(d["profile"]) != `{"title":"Parser"}` {
			t.Errorf("dave %s", jsonText(d))
		}
		var ours protocol.PeersList
		alice.request(fields{"type": "list_peers"}, "peers_list", &ours)
		found := false
		for _, p := range ours.Peers {
			found = found || p.Legacy && p.DisplayName == "dave-1" && p.Summary != nil && *p.Summary == "fixes the parser" && p.Session == ""
		}
		if !found {
			t.Errorf("our peers %s", jsonText(ours))
		}
		session.request(fields{"type": "set_visible", "visible": false}, "ack", &ack)
		erin.request(fields{"type": "list_peers"}, "peers_list", &list)
		if len(list.Peers) != 3 {
			t.Errorf("a hidden peer is listed: %s", jsonText(list))
		}
	})
}

func TestLegacyVerbs(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave := w.original("dave")
		c := dave.says(dave.signedHello(fields{"channel": "claude-code"}))
		for _, verb := range []string{"kick", "disconnect", "ban", "unban"} {
			c.wantError(fields{"type": verb, "target": "alice"}, "forbidden")
		}
		for _, verb := range strings.Fields(`set_state get_state list_state remember recall forget topic_create topic_list topic_join topic_leave
			topic_members topic_history topic_mark_read audit_query audit_verify schedule list_scheduled cancel_scheduled create_stream subscribe
			unsubscribe publish list_streams share_context get_context list_contexts create_task claim_task complete_task list_tasks get_file
			list_files file_status delete_file grant_file_access mesh_info vector_store vector_search vector_delete list_collections graph_query
			graph_execute mesh_query mesh_execute mesh_schema mcp_register mcp_unregister mcp_list mcp_call mcp_call_response mcp_deploy
			mcp_undeploy mcp_update mcp_logs mcp_scope mcp_schema mcp_catalog share_skill get_skill list_skills remove_skill skill_deploy
			vault_set vault_list vault_get vault_delete set_clock pause_clock resume_clock get_clock watch unwatch watch_list create_webhook
			list_webhooks delete_webhook peer_file_request peer_file_response peer_dir_request peer_dir_response hello_challenge op log
			no_such_verb`) {
			c.wantError(fields{"type": verb}, "not_supported")
		}
		c.wantError(fields{"type": "hello"}, "invalid")
		c.wantError(fields{"type": "set_status", "status": "asleep"}, "invalid")
		c.wantError(fields{"type": "join_group", "name": `x'); DROP TABLE`}, "invalid")
		c.wantError(fields{"type": "message_status", "messageId": "x"}, "invalid_argument")
		c.wantError(fields{"type": "message_status", "messageId": "xxxxxxxx"}, "not_found")
		var keys struct{ Keys []fields }
		c.request(fields{"type": "apikey_list"}, "apikey_list_response", &keys)
		var revoked struct{ Status string }
		c.request(fields{"type": "apikey_revoke", "id": "nosuch"}, "apikey_revoke_response", &revoked)
		if keys.Keys == nil || revoked.Status != "not_found" {
			t.Errorf("keys %v, revoked %q", keys, revoked.Status)
		}
		var bans struct{ Bans []fields }
		c.request(fields{"type": "list_bans"}, "list_bans_result", &bans)
		if bans.Bans == nil {
			t.Error("no list of bans")
		}
		d := dave.says(dave.signedHello(fields{"channel": "claudemesh-daemon", "sessionId": "d"}))
		for verb, answer := range map[string]string{"list_skills": "skill_list", "get_state": "state_value", "recall": "memory_recall_result", "remember": "memory_stored"} {
			var v fields
			d.request(fields{"type": verb}, answer, &v)
		}
	})
}

func TestLegacyHook(t *testing.T) {
	legacyStory(t, func(w *world) {
		dave, erin := w.original("dave"), w.original("erin")
		d := dave.plain()
		erin.plain()
		status, body := w.post("/hook/set-status", "", fields{"cwd": "/home/dave", "pid": 1, "status": "working", "session_id": "x"})
		if status == http.StatusOK {
			t.Errorf("a hook from another host: %d %s", status, body)
		}
		w.remote = "127.0.0.1:7"
		for _, c := range []struct {
			f    fields
			want string
		}{
			{fields{"cwd": "/home/dave", "pid": 1, "status": "working"}, `"presence_id":"` + d.ack.PresenceID + `"`},
			{fields{"cwd": "/home/nobody", "pid": 9320, "status": "idle"}, `"pending":true`},
			{fields{"cwd": "/home/dave"}, `cwd and status required`},
		} {
			if status, body := w.post("/hook/set-status", "", c.f); status != http.StatusOK || !strings.Contains(body, c.want) {
				t.Errorf("%v: %d %s", c.f, status, body)
			}
		}
		hook := fields{"cwd": "/home/dave", "pid": 1, "status": "working"}
		for range hooksPerMinute - 1 {
			if status, body := w.post("/hook/set-status", "", hook); status != http.StatusOK {
				t.Fatalf("hook: %d %s", status, body)
			}
		}
		hook["status"] = "idle"
		if status, body := w.post("/hook/set-status", "", hook); status != http.StatusTooManyRequests || !strings.Contains(body, `{"error":"rate limited","ok":false}`) {
			t.Errorf("one hook more than a minute has: %d %s", status, body)
		}
		var list legacyPeers
		d.request(fields{"type": "list_peers"}, "peers_list", &list)
		for _, p := range list.Peers {
			if p.DisplayName == "dave" && p.Status != "working" {
				t.Errorf("dave is %s", p.Status)
			}
		}
	})
}

func TestLegacyMeetsOurs(t *testing.T) {
	legacyStory(t, func(w *world) {
		bob := w.bob.connect()
		dave := w.original("dave")
		d := dave.plain()
		var m protocol.Membership
		raw := bob.take("membership", func(raw []byte) bool { return strings.Contains(string(raw), dave.key.Public().String()) })
		json.Unmarshal(raw, &m)
		if len(m.Members) != 1 || !m.Members[0].Legacy || m.Members[0].Name != "dave" {
			t.Errorf("membership %s", raw)
		}
		d.legacySend("1", w.bob.key.Public(), "hello bob")
		p := bob.wantBare("hello bob")
		bob.write(fields{"type": "client_ack", "brokerMessageId": p.MessageID})
		var ok protocol.OK
		bob.request(fields{"type": "receipt", "to": dave.key.Public().String(), "recipient": w.bob.key.Public().String(), "clientMessageId": p.ClientMessageID,
			"state": "read", "at": 1}, "ok", &ok)
		if a := w.srv.mesh(w.mesh).addresses[dave.key.Public()]; a != nil {
			if n, _ := w.srv.queue.Depth(a.side); n != 0 {
				t.Errorf("%d receipts wait for an original client", n)
			}
		}
		d.legacySubmit(fields{"id": "2", "targetSpec": "*", "priority": "next", "nonce": "E/jtUhw0Qdddw5FK/ESjs9FJv5E2Dia8", "ciphertext": "aGk="})
		var clear protocol.Push
		bob.wantFrame("push", &clear)
		if clear.SenderPubkey != dave.key.Public().String() || clear.TargetSpec != "*" || clear.Key != "" || clear.Ciphertext != "aGk=" {
			t.Errorf("clear text to ours: %+v", clear)
		}
		nonce, box := bob.box(dave.key.Public(), "hello dave")
		s := protocol.Send{Tag: protocol.Tag{Type: "send"}, ID: protocol.NewClientID(), TargetSpec: dave.key.Public().String(), Priority: "next", Nonce: nonce, Ciphertext: box}
		bob.wantQueued(s)
		d.wantBare("hello dave")
		bob.WantReceipt(s, protocol.StateDelivered, false)
	})
}
