package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// rest makes a request with the key, as it stands in the Authorization header.
func (w *world) rest(bearer, method, path string, body any) (int, []byte) {
	w.Helper()
	var b []byte
	switch v := body.(type) {
	case nil:
	case []byte:
		b = v
	default:
		var err error
		if b, err = json.Marshal(body); err != nil {
			w.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(b))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // ends a stream
	defer cancel()
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, r.WithContext(ctx))
	return rec.Code, rec.Body.Bytes()
}

// wantREST makes a request that must succeed.
func (s *script) wantREST(method, path string, body, into any) {
	s.w.Helper()
	code, b := s.w.rest(s.secret.Bearer.Text(), method, path, body)
	if code != http.StatusOK {
		s.w.Fatalf("%s %s: %d %s", method, path, code, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		s.w.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
}

func (w *world) wantRESTRefused(bearer, method, path string, body any, status int, code string) {
	w.Helper()
	got, b := w.rest(bearer, method, path, body)
	var e protocol.RESTError
	json.Unmarshal(b, &e)
	if got != status || e.Code != code || e.Status != status || e.Path == "" || e.Timestamp == "" {
		w.Errorf("%s %s: %d %s, want %d %s", method, path, got, b, status, code)
	}
}

// seal makes a direct message of the key's.
func (s *script) seal(to crypto.PublicKey, text string) protocol.Send {
	s.w.Helper()
	h := protocol.Header{
		ID: protocol.NewClientID(), Mesh: s.w.mesh, From: s.secret.Key.Public(), Member: s.key.Public(), To: to.String(), Prio: protocol.PriorityNext,
		TS: time.Now().UnixMilli(), Ep: "8899aabbccddeeff", Seq: 1, Log: s.w.view().Digest(), Att: s.statement.Text(),
	}
	shared, err := s.secret.Key.Shared(to)
	if err != nil {
		s.w.Fatal(err)
	}
	nonce, ciphertext, err := protocol.SealDirect(&h, []byte(text), s.secret.Key, &shared)
	if err != nil {
		s.w.Fatal(err)
	}
	return protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: h.ID, TargetSpec: h.To, Priority: h.Prio,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
	}
}

func (s *script) open(row protocol.RESTRow) string {
	s.w.Helper()
	p := decodePush(s.w, row.Frame)
	o := protocol.Opener{
		Mesh: s.w.mesh, View: s.w.view(), Now: time.Now(), Member: s.key.Public(), Sessions: []crypto.PublicKey{s.secret.Key.Public()},
		Shared: func(own, peer crypto.PublicKey) (crypto.Key, error) { return s.secret.Key.Shared(peer) },
	}
	m, err := o.Open(p.Incoming())
	if err != nil {
		s.w.Fatal(err)
	}
	text, _ := m.Text()
	return text
}

func TestRESTSendAndReceive(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", time.Hour, "read", "send"))

		msg := ci.seal(w.alice.key.Public(), "main is red")
		var sent, again protocol.RESTSent
		ci.wantREST("POST", "/api/v1/messages", msg, &sent)
		ci.wantREST("POST", "/api/v1/messages", msg, &again)
		if !sent.Queued || again != sent {
			t.Errorf("sent %+v, again %+v", sent, again)
		}
		p := alice.Get("main is red")
		if p.SenderPubkey != ci.id() || p.SenderMemberPubkey != w.bob.key.Public().String() {
			t.Errorf("pushed as from %s of %s", p.SenderPubkey, p.SenderMemberPubkey)
		}
		if m := alice.open(&p); m.Label() != "ci" || m.Name() != "bob" {
			t.Errorf("opened as %s of %s", m.Label(), m.Name())
		}
		alice.Ack(p)
		synctest.Wait()
		var state protocol.MessageState
		ci.wantREST("GET", "/api/v1/messages/"+msg.ID+"/status", nil, &state)
		if !state.Delivered || state.MessageID != sent.MessageID {
			t.Errorf("status %+v", state)
		}
		w.wantRESTRefused(ci.secret.Bearer.Text(), "GET", "/api/v1/messages/"+msg.ID[:10]+"/status", nil, 404, "not_found")

		alice.wantQueued(alice.seal(ci.secret.Key.Public(), protocol.PriorityNow, "which commit?"))
		alice.wantQueued(alice.seal(ci.secret.Key.Public(), protocol.PriorityLow, "no hurry"))
		var got, one protocol.RESTMessages
		ci.wantREST("GET", "/api/v1/messages", nil, &got)
		if len(got.Messages) != 3 { // the receipt among them
			t.Fatalf("got %+v", got)
		}
		ci.wantREST("GET", "/api/v1/messages?limit=1", nil, &one)
		if len(one.Messages) != 1 || one.Messages[0].Row != got.Messages[0].Row {
			t.Errorf("limit=1 gave %+v", one)
		}
		if text := ci.open(got.Messages[0]); text != "which commit?" {
			t.Errorf("opened %q", text)
		}
		var row protocol.RESTRow
		ci.wantREST("GET", "/api/v1/messages/"+got.Messages[0].Row, nil, &row)
		if row.Row != got.Messages[0].Row || !bytes.Equal(row.Frame, got.Messages[0].Frame) {
			t.Errorf("one gave %+v", row)
		}
		var rest protocol.RESTMessages
		ci.wantREST("GET", "/api/v1/messages?after="+got.Cursor, nil, &rest)
		if len(rest.Messages) != 0 {
			t.Errorf("after the cursor: %+v", rest)
		}
		for i, row := range got.Messages {
			var ack protocol.RESTAck
			body := protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: row.Row}
			ci.wantREST("POST", "/api/v1/messages/ack", body, &ack)
			if !ack.Acked {
				t.Errorf("row %d was not there", i)
			}
			ci.wantREST("POST", "/api/v1/messages/ack", body, &ack)
			if ack.Acked {
				t.Errorf("row %d was there twice", i)
			}
		}
		ci.wantREST("GET", "/api/v1/messages", nil, &rest)
		if len(rest.Messages) != 0 {
			t.Errorf("after the acknowledgement: %+v", rest)
		}
		w.wantRESTRefused(ci.secret.Bearer.Text(), "GET", "/api/v1/messages/"+row.Row, nil, 404, "not_found")
	})
}

func TestRESTRefusals(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		both := bob.register(w.bob.apiKey("both", 0, "read", "send"))
		reads, sends := bob.register(w.bob.apiKey("reads", 0, "read")), bob.register(w.bob.apiKey("sends", time.Hour, "send"))
		to := w.alice.key.Public()
		good := both.secret.Bearer.Text()
		w.wantRESTRefused("", "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyMissing)
		w.wantRESTRefused(protocol.NewAPISecret().Bearer.Text(), "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		w.wantRESTRefused(good[:len(good)-1], "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		w.wantRESTRefused(w.srv.AdminToken(), "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		for _, path := range []string{"peers", "members", "messages", "messages/m1-1", "events"} {
			w.wantRESTRefused(sends.secret.Bearer.Text(), "GET", "/api/v1/"+path, nil, 403, protocol.RESTKeyNotEnough)
		}
		w.wantRESTRefused(reads.secret.Bearer.Text(), "POST", "/api/v1/messages", reads.seal(to, "no"), 403, protocol.RESTKeyNotEnough)
		group := both.seal(to, "to all")
		group.TargetSpec = "*"
		w.wantRESTRefused(good, "POST", "/api/v1/messages", group, 403, "forbidden")
		group = both.seal(to, "to all")
		group.Keys = map[string]string{to.String(): base64.StdEncoding.EncodeToString(make([]byte, 116))}
		w.wantRESTRefused(good, "POST", "/api/v1/messages", group, 403, "forbidden")
		other := both.seal(to, "as another")
		other.Sender = w.bob.key.Public().String()
		w.wantRESTRefused(good, "POST", "/api/v1/messages", other, 400, "invalid")
		w.wantRESTRefused(good, "POST", "/api/v1/messages", both.seal(crypto.GenerateKey().Public(), "nobody"), 404, "unknown_recipient")
		w.wantRESTRefused(good, "POST", "/api/v1/messages", []byte(`{"text":"hello"}`), 400, "bad_frame")
		w.wantRESTRefused(good, "GET", "/api/v1/messages?after=x", nil, 400, "invalid")
		w.wantRESTRefused(good, "GET", "/api/v1/messages?limit=x", nil, 400, "invalid")

		time.Sleep(2 * time.Hour)
		w.wantRESTRefused(sends.secret.Bearer.Text(), "GET", "/api/v1/key", nil, 401, protocol.RESTKeyInvalid)
		alice = w.alice.connect()
		if got := alice.revokeKey(reads.id()); got.Status != protocol.KeyRevoked {
			t.Fatal(got)
		}
		w.wantRESTRefused(reads.secret.Bearer.Text(), "GET", "/api/v1/key", nil, 401, protocol.RESTKeyInvalid)
		alice.publish(w.revoke(w.bob.key.Public()))
		w.wantRESTRefused(good, "GET", "/api/v1/key", nil, 401, protocol.RESTKeyInvalid)
	})
}

// Whoever sends the whole secret has told the broker what it must not know: the key ends, whoever it was.
func TestRESTWholeSecretEndsTheKey(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		bob := w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", 0, "read"))
		var key protocol.RESTKey
		ci.wantREST("GET", "/api/v1/key", nil, &key)
		w.wantRESTRefused(ci.secret.Text(), "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		w.wantRESTRefused(ci.secret.Bearer.Text(), "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		if k := bob.keyList()[0]; k.RevokedAt == nil || k.Reason != exposed {
			t.Errorf("the key is %+v", k)
		}
		w.wantRESTRefused(ci.secret.Text(), "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		seed := strings.SplitN(ci.secret.Text(), ".", 2)[1]
		if strings.Contains(w.log.String(), seed) || strings.Contains(w.log.String(), ci.secret.Bearer.Text()) {
			t.Error("the secret is in the log")
		}
	})
}

func TestRESTRefusalsAreLimited(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		wrong := protocol.NewAPISecret().Bearer.Text()
		for range refusedKeysPerMinute {
			w.wantRESTRefused(wrong, "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
		}
		w.wantRESTRefused(wrong, "GET", "/api/v1/peers", nil, 429, "rate_limit")
		bob := w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", 0, "read"))
		var key protocol.RESTKey
		ci.wantREST("GET", "/api/v1/key", nil, &key)
		time.Sleep(time.Minute)
		w.wantRESTRefused(wrong, "GET", "/api/v1/peers", nil, 401, protocol.RESTKeyInvalid)
	})
}

func TestRESTKnowsWhoIsThere(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		w.alice.session("web")
		bob := w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", 0, "read"))
		var key protocol.RESTKey
		ci.wantREST("GET", "/api/v1/key", nil, &key)
		if key.MeshID != string(w.mesh) || key.ID != ci.id() || key.Statement != ci.statement.Text() {
			t.Errorf("key %+v", key)
		}
		var log protocol.RESTLog
		ci.wantREST("GET", "/api/v1/log", nil, &log)
		if len(log.Statements) != 4 || log.Statements[0] != w.charter.Text() {
			t.Errorf("log has %d statements", len(log.Statements))
		}
		var members protocol.RESTMembers
		ci.wantREST("GET", "/api/v1/members", nil, &members)
		online := map[string]bool{}
		for _, m := range members.Members {
			online[m.DisplayName] = m.Online
			if len(m.Certs) != 1 || m.MemberID == "" || m.JoinedAt == "" {
				t.Errorf("member %+v", m)
			}
		}
		if len(online) != 3 || !online["alice"] || !online["bob"] || online["cathy"] {
			t.Errorf("online: %v", online)
		}
		var peers protocol.RESTPeers
		ci.wantREST("GET", "/api/v1/peers", nil, &peers)
		via := map[string]string{}
		for _, p := range peers.Peers {
			via[p.DisplayName+" "+p.SessionID] = p.Via
		}
		if via["alice web"] != "ws" || via["bob/ci "] != "rest" {
			t.Errorf("peers: %v", via)
		}
		if k := bob.keyList()[0]; k.LastUsedAt == nil {
			t.Error("the key was used, and nobody noted it")
		}
		w.restart()
		bob = w.bob.connect()
		if k := bob.keyList()[0]; k.LastUsedAt == nil {
			t.Error("after a restart the key was never used")
		}
	})
}

// stream opens the key's events over a real connection.
func (s *script) stream(lastID string) (next func() (id, data string), end func()) {
	s.w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+testHost+"/api/v1/events", nil)
	if err != nil {
		s.w.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.secret.Bearer.Text())
	r.Header.Set("Last-Event-ID", lastID)
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return s.w.listener.Dial(s.addr) }}
	res, err := tr.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK {
		s.w.Fatalf("events: %v %v", res, err)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, protocol.MaxFrame)
	next = func() (id, data string) {
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			case strings.HasPrefix(line, "data: "):
				data = line[6:]
			case line == "" && data != "":
				return id, data
			}
		}
		return "", io.EOF.Error()
	}
	return next, func() { cancel(); res.Body.Close(); tr.CloseIdleConnections() }
}

func TestRESTEventsComeOnce(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", 0, "read"))
		say := func(prio, text string) { alice.wantQueued(alice.seal(ci.secret.Key.Public(), prio, text)) }
		text := func(data string) string {
			var row protocol.RESTRow
			if err := json.Unmarshal([]byte(data), &row); err != nil {
				t.Fatalf("%v in %s", err, data)
			}
			return ci.open(row)
		}
		say(protocol.PriorityNext, "before")
		next, end := ci.stream("")
		if _, data := next(); !strings.Contains(data, "connectedAt") {
			t.Fatalf("first comes %s", data)
		}
		_, data := next()
		if got := text(data); got != "before" {
			t.Errorf("got %q", got)
		}
		say(protocol.PriorityLow, "one")
		id, data := next()
		if got := text(data); got != "one" {
			t.Errorf("got %q", got)
		}
		end()
		say(protocol.PriorityNow, "two")
		say(protocol.PriorityLow, "three")
		next, end = ci.stream(id)
		next()
		for _, want := range []string{"two", "three"} {
			if _, data := next(); text(data) != want {
				t.Errorf("got %q, want %q", text(data), want)
			}
		}
		if got := bob.revokeKey(ci.id()); got.Status != protocol.KeyRevoked {
			t.Fatal(got)
		}
		if _, data := next(); data != "EOF" {
			t.Errorf("after the revocation comes %s", data)
		}
		end()
	})
}

// Thirty messages of 60 KB wait for a program. It lists them in parts, each of about a megabyte, and streams all of them.
func TestRESTListsInParts(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		alice, bob := w.alice.connect(), w.bob.connect()
		ci := bob.register(w.bob.apiKey("ci", time.Hour, "read"))
		const messages, size = 30, 60_000
		for i := range messages {
			alice.wantQueued(alice.seal(ci.secret.Key.Public(), protocol.PriorityNext, fmt.Sprintf("%06d", i)+strings.Repeat("x", size)))
		}
		parts, seen := 0, 0
		for after := ""; ; parts++ {
			var got protocol.RESTMessages
			ci.wantREST("GET", "/api/v1/messages?limit=200&after="+after, nil, &got)
			bytes := 0
			for _, row := range got.Messages {
				bytes += len(row.Frame)
				if text := ci.open(row); text[:6] != fmt.Sprintf("%06d", seen) {
					t.Fatalf("number %d is %s", seen, text[:6])
				}
				seen++
			}
			if bytes > listBytes+2*size {
				t.Fatalf("an answer with %d bytes of frames", bytes)
			}
			if after = got.Cursor; len(got.Messages) == 0 {
				break
			}
		}
		if seen != messages || parts < 3 {
			t.Errorf("%d messages in %d parts", seen, parts)
		}
		next, end := ci.stream("")
		defer end()
		next() // ready
		for i := range messages {
			if _, data := next(); !strings.Contains(data, `"frame"`) {
				t.Fatalf("number %d of the stream: %.100s", i, data)
			}
		}
	})
}
