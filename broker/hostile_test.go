package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// rude says hello with a frame in which nothing is escaped: what the broker passes on is many times longer.
func (c *client) rude(h protocol.Hello) {
	c.w.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(h); err != nil {
		c.w.Fatal(err)
	}
	c.writeRaw(b.Bytes())
	c.wantFrame(protocol.TypeHelloAck, &c.ack)
}

// wantFramesThatFit fails if a frame is longer than what a daemon reads, or is no JSON.
func (c *client) wantFramesThatFit() {
	c.w.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != nil {
		c.w.Errorf("%s is closed: %v", c.name, c.closed)
	}
	for _, f := range c.frames {
		if len(f.raw) > protocol.MaxFrame || !json.Valid(f.raw) {
			c.w.Errorf("%s got a %s of %d bytes", c.name, f.typ, len(f.raw))
		}
	}
}

// Whatever a member says of his sessions, what the others hear of it fits their frames: else their connections would end,
// and end again with every new one.
func TestNewsOfAnybodyFit(t *testing.T) {
	story(t, Limits{CardEvery: time.Nanosecond}, func(w *world) {
		alice := w.alice.connect()
		huge := strings.Repeat("<", 4000)
		var wraps = map[string]string{w.alice.key.Public().String(): strings.Repeat("<", wrapSize)}
		for i := range 40 {
			c := w.bob.dial()
			label := fmt.Sprint("s", i)
			h := c.helloFor(w.bob.sessionKey(label), label)
			h.SessionID, h.PeerType, h.Channel = huge, huge, huge
			c.rude(h)
			card := protocol.SetCard{Tag: protocol.Tag{Type: protocol.TypeSetCard}, ID: protocol.NewClientID(), Nonce: strings.Repeat("A", nonceSize),
				Ciphertext: strings.Repeat("<", maxCardCiphertext), Keys: wraps}
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			enc.Encode(card)
			c.writeRaw(b.Bytes())
		}
		alice.wantFramesThatFit()
		again := w.cathy.connect()
		var list protocol.PeersList
		ask := struct{ protocol.Tag }{protocol.Tag{Type: protocol.TypeListPeers}}
		again.request(&ask, protocol.TypePeersList, &list)
		if b, _ := json.Marshal(list); len(b) > protocol.MaxFrame {
			t.Errorf("a list of %d bytes", len(b))
		}
		again.wantFramesThatFit()
		for _, p := range list.Peers {
			if len(p.SessionID) > 128 || len(p.PeerType) > 128 || len(p.Channel) > 128 {
				t.Fatalf("a peer with words of %d, %d and %d bytes", len(p.SessionID), len(p.PeerType), len(p.Channel))
			}
			if p.Card != nil {
				t.Fatalf("a card that is no base64 is passed on")
			}
		}
	})
}

// The same of what the statements of members are worth: many long ones are told in many frames.
func TestMembersFit(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		var groups []string
		for i := range protocol.MaxListed {
			groups = append(groups, fmt.Sprintf("%02d", i)+strings.Repeat("g", 62))
		}
		alice := w.alice.connect()
		for _, p := range []*person{w.bob, w.cathy} {
			c := p.connect()
			var statements []string
			for i := range maxListedSessions {
				key := crypto.GenerateKey()
				now := time.Now().UnixMilli()
				statements = append(statements, w.sign(&protocol.Session{
					Mesh: w.mesh, Member: p.key.Public(), Session: key.Public(), Label: fmt.Sprint("s", i), Groups: groups,
					Issued: now, Expires: now + 1000,
				}, p.key, key).Text())
			}
			frame := protocol.Publish{Tag: protocol.Tag{Type: protocol.TypePublish}, Statements: statements}
			var got protocol.Published
			c.request(&frame, protocol.TypePublished, &got)
			if len(got.Accepted) != len(statements) {
				t.Fatalf("%d of %d taken: %+v", len(got.Accepted), len(statements), got.Refused)
			}
		}
		alice.wantFramesThatFit()
	})
}

// A page holds as much as fits, in order, and an item alone that does not fit is alone.
func TestPages(t *testing.T) {
	for _, test := range []struct {
		sizes []int
		want  string
	}{
		{nil, "[]"}, {[]int{1, 2, 3}, "[[1 2 3]]"}, {[]int{5, 5, 5}, "[[5 5] [5]]"}, {[]int{11, 1, 11}, "[[11] [1] [11]]"}, {[]int{10, 1}, "[[10] [1]]"},
	} {
		pages := [][]int{}
		for page := range paged(test.sizes, func(n int) int { return n }, 10) {
			pages = append(pages, page)
		}
		if got := fmt.Sprint(pages); got != test.want {
			t.Errorf("%v: %s, want %s", test.sizes, got, test.want)
		}
	}
}

// What has no JSON is logged and answered, over HTTP and on a connection. Nothing ends.
func TestAnswersWithoutJSON(t *testing.T) {
	story(t, Limits{}, func(w *world) {
		rec := httptest.NewRecorder()
		w.srv.writeJSON(rec, http.StatusOK, map[string]any{"x": math.NaN()})
		if rec.Code != http.StatusInternalServerError || !json.Valid(rec.Body.Bytes()) || !strings.Contains(rec.Body.String(), `"code":"internal"`) {
			t.Errorf("answered %d %s", rec.Code, rec.Body)
		}
		alice := w.alice.connect()
		synctest.Wait()
		w.srv.mu.Lock()
		var c *conn
		for c = range w.srv.conns {
		}
		w.srv.mu.Unlock()
		c.reply(struct {
			protocol.Tag
			X float64 `json:"x"`
		}{protocol.Tag{Type: "x", ReqID: "r7"}, math.Inf(1)})
		var e protocol.ErrorFrame
		alice.wantFrame(protocol.TypeError, &e)
		if e.Code != protocol.CodeInternal || e.ReqID != "r7" {
			t.Errorf("answered %+v", e)
		}
		if n := strings.Count(w.log.String(), "cannot be encoded"); n != 2 {
			t.Errorf("logged %d times: %s", n, w.log)
		}
		alice.wantFramesThatFit()
	})
}
