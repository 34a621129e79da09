package broker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// line is one line of a recording between original clients and the original broker.
type line struct {
	Kind   string          `json:"kind"`
	ID     int             `json:"id"` // of the connection
	Dir    string          `json:"dir"`
	Event  string          `json:"ev"`
	Reason string          `json:"reason"`
	Frame  fields          `json:"frame"`
	Body   json.RawMessage `json:"body"`
}

// replay plays the clients' side of recordings to our broker, with keys of its own where a signature or a box needs one.
type replay struct {
	*world
	people   map[string]*person            // by recorded member key
	sessions map[string]*crypto.PrivateKey // by recorded session key
	names    map[string]string             // recorded keys and ids → ours
	conns    map[int]*client
	kinds    map[int]string // frame type of the hello
	missed   int            // frames on connections that opened before the recording began
	answered map[string]int // requests by type
}

func readRecording(t *testing.T, name string) (lines []line) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "frames", "recordings", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func text(f fields, name string) string {
	s, _ := f[name].(string)
	return s
}

// hello connects as the recorded client did.
func (r *replay) hello(l line) {
	r.Helper()
	f := l.Frame
	key := text(f, "pubkey")
	if f["type"] == "session_hello" {
		key = text(f, "parentMemberPubkey")
	}
	p := r.people[key]
	if p == nil {
		p = r.original("original-" + key[:4])
		r.people[key] = p
		r.names[key] = p.key.Public().String()
	}
	own := p.key
	more := make(fields)
	for k, v := range f {
		more[k] = v
	}
	if recorded := text(f, "sessionPubkey"); recorded != "" {
		if r.sessions[recorded] == nil {
			r.sessions[recorded] = crypto.GenerateKey()
			r.names[recorded] = r.sessions[recorded].Public().String()
		}
		own = r.sessions[recorded]
		more["sessionPubkey"] = own.Public().String()
	}
	for _, k := range []string{"meshId", "memberId", "pubkey", "parentMemberId", "parentMemberPubkey", "parentAttestation", "timestamp", "signature"} {
		delete(more, k)
	}
	hello := p.signedHello(more)
	if f["type"] == "session_hello" {
		hello = p.sessionHello(own, more)
	}
	for k := range f {
		if _, ok := hello[k]; !ok {
			r.Fatalf("the hello lacks %s", k)
		}
	}
	c := p.says(hello)
	c.own = own
	r.conns[l.ID] = c
}

// translate puts our keys and ids in the place of the recorded ones.
func (r *replay) translate(v any) any {
	switch v := v.(type) {
	case string:
		if ours, ok := r.names[v]; ok {
			return ours
		}
	case fields:
		out := make(fields, len(v))
		for k, inner := range v {
			out[k] = r.translate(inner)
		}
		return out
	}
	return v
}

// answerTo finds the recorded answer to line i: by _reqId, or by the id of a send.
func answerTo(lines []line, i int) fields {
	for _, l := range lines[i:] {
		f := l.Frame
		if l.ID != lines[i].ID || l.Dir != "b2c" || f == nil {
			continue
		}
		if id := text(lines[i].Frame, "_reqId"); id != "" && f["_reqId"] == id {
			return f
		}
		if lines[i].Frame["type"] == "send" && f["type"] == "ack" && f["id"] == lines[i].Frame["id"] {
			return f
		}
	}
	return nil
}

// request plays one recorded request and compares the answer's shape.
func (r *replay) request(lines []line, i int) {
	r.Helper()
	l := lines[i]
	c := r.conns[l.ID]
	if c == nil {
		r.missed++
		return
	}
	f := r.translate(l.Frame).(fields)
	typ := text(f, "type")
	if to, err := crypto.ParsePublicKey(text(f, "targetSpec")); err == nil && typ == "send" {
		f["nonce"], f["ciphertext"] = c.box(to, "again")
	}
	want := answerTo(lines, i)
	asked := time.Now()
	c.write(f)
	if want == nil {
		synctest.Wait()
		c.wantNone("error")
		return
	}
	var got fields
	c.takeWhere(func(g fields) bool {
		got = g
		return want["_reqId"] != nil && g["_reqId"] == want["_reqId"] || want["type"] == "ack" && g["type"] == "ack" && g["id"] == want["id"]
	})
	if time.Since(asked) > time.Second {
		r.Errorf("%s was answered after %s", typ, time.Since(asked))
	}
	r.answered[typ]++
	switch {
	case got["type"] == "error" && (got["code"] == "not_supported" || got["code"] == "forbidden"):
		return
	case typ == "message_status" && got["code"] == "not_found": // it was another's message: ours tells of one's own
		return
	}
	for k, v := range want {
		if _, ok := got[k]; !ok {
			r.Errorf("%s: the answer %v lacks %s", typ, got, k)
		}
		if k == "type" && got[k] != v {
			r.Errorf("%s: answered by %v, want %v", typ, got[k], v)
		}
	}
	r.compare(typ, got, want)
}

// compare looks into the answers that clients read more of.
func (r *replay) compare(typ string, got, want fields) {
	r.Helper()
	switch typ {
	case "apikey_create":
		r.names[text(want, "id")] = text(got, "id")
	case "apikey_revoke":
		if got["status"] != want["status"] {
			r.Errorf("apikey_revoke: %v, want %v", got, want)
		}
	case "apikey_list":
		for k := range want["keys"].([]any)[0].(fields) {
			if _, ok := got["keys"].([]any)[0].(fields)[k]; !ok {
				r.Errorf("apikey_list: an item lacks %s", k)
			}
		}
	case "send":
		if got["queued"] == true && want["queued"] == true {
			r.names[text(want, "messageId")] = text(got, "messageId")
		}
		if want["queued"] == true && got["queued"] != true {
			r.Errorf("send: %v, want %v", got, want)
		}
	case "list_peers":
		recorded := want["peers"].([]any)[0].(fields)
		for _, p := range got["peers"].([]any) {
			for k := range recorded {
				// 0.1.4 sends none of these, so its item has none either.
				if _, ok := p.(fields)[k]; !ok && !slices.Contains([]string{"hostname", "peerType", "channel"}, k) {
					r.Errorf("list_peers: %v lacks %s", p, k)
				}
			}
		}
	}
}

// takeWhere waits for the first frame that matches.
func (c *client) takeWhere(match func(fields) bool) {
	c.w.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range c.frames {
		var g fields
		json.Unmarshal(f.raw, &g)
		if match(g) {
			c.frames = slices.Delete(c.frames, i, i+1)
			return
		}
	}
	c.w.Fatalf("%s: no answer; has %s", c.name, types(c.frames))
}

// pushed wants a recorded push to have reached somebody of ours, with the fields that it had.
func (r *replay) pushed(want fields) {
	r.Helper()
	ours, ok := r.names[text(want, "messageId")]
	if !ok {
		return
	}
	synctest.Wait()
	for _, c := range r.conns {
		c.mu.Lock()
		for _, f := range c.frames {
			var got fields
			if json.Unmarshal(f.raw, &got); got["messageId"] == ours {
				for k := range want {
					if _, ok := got[k]; !ok && k != "request_fingerprint" {
						r.Errorf("push %v lacks %s", got, k)
					}
				}
				c.mu.Unlock()
				return
			}
		}
		c.mu.Unlock()
	}
	r.Errorf("nobody got %v", want)
}

func (r *replay) play(lines []line) {
	r.Helper()
	for i, l := range lines {
		switch typ := text(l.Frame, "type"); {
		case l.Kind != "ws":
		case l.Dir == "c2b" && (typ == "hello" || typ == "session_hello"):
			r.hello(l)
			want := answerToHello(lines[i:])
			got := r.conns[l.ID].ack
			if got.PresenceID == "" || len(got.PresenceID) != len(text(want, "presenceId")) || got.MemberDisplayName == "" {
				r.Errorf("hello_ack %+v, want %v", got, want)
			}
		case l.Dir == "c2b" && l.Frame != nil:
			r.request(lines, i)
		case l.Dir == "c2b" && l.Event == "close" && l.Reason == "" && r.conns[l.ID] != nil:
			r.conns[l.ID].leave()
			delete(r.conns, l.ID)
		case l.Dir == "b2c" && typ == "push" && text(l.Frame, "subtype") == "":
			r.pushed(l.Frame)
		}
	}
}

func answerToHello(lines []line) fields {
	for _, l := range lines {
		if l.ID == lines[0].ID && l.Frame["type"] == "hello_ack" {
			return l.Frame
		}
	}
	return nil
}

func TestRecordedClients(t *testing.T) {
	for name, files := range map[string][]string{
		"0.1.4": {"old-mcp-send-receive"},
		"1.37":  {"new-daemon-hello", "new-session-hello", "new-send-receive", "new-apikey2"},
	} {
		t.Run(name, func(t *testing.T) {
			legacyStory(t, func(w *world) {
				r := &replay{
					world: w, people: make(map[string]*person), sessions: make(map[string]*crypto.PrivateKey), names: make(map[string]string),
					conns: make(map[int]*client), answered: make(map[string]int),
				}
				for _, f := range files {
					r.play(readRecording(t, f))
				}
				t.Logf("answered %v; %d frames on connections that the recordings do not open", r.answered, r.missed)
				if r.answered["send"] == 0 {
					t.Error("no send was played")
				}
			})
		})
	}
}

func TestRecordedJoin(t *testing.T) {
	legacyStory(t, func(w *world) {
		n := 0
		for _, l := range readRecording(t, "old-join") {
			var recorded fields
			if l.Kind != "http" || l.Dir != "c2b" || json.Unmarshal(l.Body, &recorded) != nil {
				continue
			}
			n++
			p := w.stranger(text(recorded, "display_name"))
			body := joinBody(w.v1Link(1, time.Hour), p)
			if got, want := keysOf(body)+keysOf(body["invite_payload"].(fields)), keysOf(recorded)+keysOf(recorded["invite_payload"].(fields)); got != want {
				t.Errorf("fields %s, want %s", got, want)
			}
			w.wantJoin(body, "")
			p.plain()
		}
		if n == 0 {
			t.Error("no join was recorded")
		}
	})
}

func keysOf(f fields) string {
	var names []string
	for k := range f {
		names = append(names, k)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}
