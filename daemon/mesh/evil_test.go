package mesh

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/pipetest"
	"github.com/claudemesh/claudemesh/protocol"
)

// evil is a broker that lies to one daemon. It is the real one, with somebody between who reads, edits, drops, invents and
// records frames: what a broken-in broker can do, and nothing that needs a key of others.
type evil struct {
	*world
	to  *node
	l   *pipetest.Listener
	srv *http.Server

	mu     sync.Mutex
	down   func(f frame) []frame // what the daemon gets of a frame of the broker; nil: just that
	up     func(f frame) []frame // the same the other way
	client *evilConn             // to the daemon
	server *websocket.Conn       // to the broker
	seen   []frame               // all that the broker sent
	sent   []frame               // all that the daemon sent
	opened int                   // connections
}

// evilConn serialises writes: lies come between what is passed on.
type evilConn struct {
	mu sync.Mutex
	ws *websocket.Conn
}

func (c *evilConn) write(f frame) {
	b, err := json.Marshal(f)
	if err != nil {
		panic("test: " + err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.ws.WriteMessage(websocket.TextMessage, b) // the other side may be gone
}

// raw writes any text.
func (c *evilConn) raw(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.ws.WriteMessage(websocket.TextMessage, []byte(text))
}

// frame is a frame as a liar sees it.
type frame map[string]any

func (f frame) is(types ...string) bool { return slices.Contains(types, f.str("type")) }

func (f frame) str(name string) string {
	s, _ := f[name].(string)
	return s
}

// with returns a copy in which some fields are others; nil removes one.
func (f frame) with(pairs ...any) frame {
	g := make(frame)
	for k, v := range f {
		g[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(g, pairs[i].(string))
		} else {
			g[pairs[i].(string)] = pairs[i+1]
		}
	}
	return g
}

// replaced returns a copy in which one text is another wherever it stands.
func (f frame) replaced(oldnew ...string) frame {
	b, err := json.Marshal(f)
	if err != nil {
		panic("test: " + err.Error())
	}
	return parseFrame([]byte(strings.NewReplacer(oldnew...).Replace(string(b))))
}

func parseFrame(b []byte) frame {
	var f frame
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&f); err != nil {
		panic("test: " + err.Error())
	}
	return f
}

// frameOf is a frame of a protocol type.
func frameOf(v any) frame {
	b, err := json.Marshal(v)
	if err != nil {
		panic("test: " + err.Error())
	}
	return parseFrame(b)
}

// corrupt puts an evil broker before a node that is not started yet, or takes its connection over.
func (n *node) corrupt() *evil {
	n.Helper()
	e := &evil{world: n.world, to: n, l: pipetest.New()}
	e.srv = &http.Server{Handler: e}
	go e.srv.Serve(e.l)
	n.mu.Lock()
	n.via = e.l
	n.mu.Unlock()
	n.evils = append(n.evils, e)
	return e
}

// end stops lying, and serving at all.
func (e *evil) end() {
	e.l.Close()
	e.srv.Close()
	e.mu.Lock()
	client, server := e.client, e.server
	e.mu.Unlock()
	if client != nil {
		client.ws.Close()
		server.Close()
	}
}

func (e *evil) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	client, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	dial := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
		return e.listener.Load().Dial("10.0.0.66:1")
	}}
	server, _, err := dial.Dial(testURL, nil)
	if err != nil {
		client.Close()
		return
	}
	c := &evilConn{ws: client}
	e.mu.Lock()
	e.client, e.server = c, server
	e.opened++
	e.mu.Unlock()
	s := &evilConn{ws: server}
	var both sync.WaitGroup
	both.Go(func() { e.pass(client, s, &e.up, &e.sent) })
	both.Go(func() { e.pass(server, c, &e.down, &e.seen) })
	both.Wait()
}

// pass hands frames on, through the hook, until one side ends; then the other does, for the same reason.
func (e *evil) pass(from *websocket.Conn, to *evilConn, hook *func(frame) []frame, record *[]frame) {
	defer to.ws.Close()
	for {
		_, b, err := from.ReadMessage()
		if err != nil {
			if ce, ok := errors.AsType[*websocket.CloseError](err); ok {
				to.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(ce.Code, ce.Text), time.Now().Add(time.Second))
			}
			return
		}
		f := parseFrame(b)
		e.mu.Lock()
		*record = append(*record, f)
		edit := *hook
		e.mu.Unlock()
		out := []frame{f}
		if edit != nil {
			out = edit(f)
		}
		for _, f := range out {
			to.write(f)
		}
	}
}

// lies sets what the daemon gets.
func (e *evil) lies(down func(f frame) []frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

// say sends the daemon a frame of the evil broker's own.
func (e *evil) say(f frame) {
	e.mu.Lock()
	c := e.client
	e.mu.Unlock()
	c.write(f)
	synctest.Wait()
}

// pushed returns the pushes that the broker sent so far.
func (e *evil) pushed() (pushes []frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.seen {
		if f.is(protocol.TypePush) {
			pushes = append(pushes, f)
		}
	}
	return pushes
}

// uttered returns the frames of a type that the daemon sent so far.
func (e *evil) uttered(typ string) (frames []frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.sent {
		if f.is(typ) {
			frames = append(frames, f)
		}
	}
	return frames
}

// besieged is a story in which an evil broker stands before bob.
func besieged(t *testing.T, f func(w *world, e *evil)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		w.bob, w.cathy = w.admitted("bob"), w.admitted("cathy")
		e := w.bob.corrupt()
		for _, n := range w.nodes {
			n.start()
			synctest.Wait()
		}
		f(w, e)
	})
}

// wantAlarm fails unless the newest message of the node is an alarm without a body, and says what about.
func (n *node) wantAlarm(about string) {
	n.Helper()
	synctest.Wait()
	all := n.messages(nil)
	if len(all) == 0 {
		n.Fatalf("%s noticed nothing", n.name)
	}
	got := all[len(all)-1]
	if got.Alarm == "" || got.Body != "" || got.From.Trust != protocol.TrustAlarm || !strings.Contains(got.Alarm, about) {
		n.Errorf("%s noticed %q (body %q, trust %s), want an alarm about %q", n.name, got.Alarm, got.Body, got.From.Trust, about)
	}
}

// twin is −A: another key with which the same boxes open.
func twin(k crypto.PublicKey) crypto.PublicKey {
	k[31] ^= 0x80
	return k
}

// forge seals an envelope as an attacker who has some keys makes it, to a node, with any header: our own code would refuse to
// seal most of these.
func (n *node) forge(to *node, from *crypto.PrivateKey, fields ...any) frame {
	n.Helper()
	return n.forgeBody(to, from, "forged", fields...)
}

// forgeBody is forge with a body.
func (n *node) forgeBody(to *node, from *crypto.PrivateKey, text string, fields ...any) frame {
	n.Helper()
	id := protocol.NewClientID()
	digest := to.m.trust.View().Digest()
	h := frame{
		"id": id, "mesh": string(n.charter.Mesh()), "from": from.Public().String(), "member": from.Public().String(), "to": to.m.self.String(),
		"prio": protocol.PriorityNext, "ts": time.Now().UnixMilli(), "ep": "00112233aabbccdd", "seq": 1, "log": hex.EncodeToString(digest[:]),
	}.with(fields...)
	header, err := json.Marshal(h)
	if err != nil {
		n.Fatal(err)
	}
	body := []byte(text)
	sig := from.Sign(protocol.EncodeBlock("msg", header, body))
	plain := binary.BigEndian.AppendUint32(append([]byte("\x00cm2"), sig[:]...), uint32(len(header)))
	plain = append(append(plain, header...), body...)
	shared, err := from.Shared(to.m.self)
	if err != nil {
		n.Fatal(err)
	}
	nonce := crypto.NewNonce()
	return frameOf(protocol.Push{
		Tag: protocol.Tag{Type: protocol.TypePush}, MessageID: "m" + id, MeshID: string(n.charter.Mesh()), SenderPubkey: from.Public().String(),
		Priority: protocol.PriorityNext, Nonce: base64Text(nonce[:]), Ciphertext: base64Text(crypto.Seal(nil, plain, &nonce, &shared)),
		CreatedAt: time.Now().UTC().Format(time.RFC3339),
	})
}
