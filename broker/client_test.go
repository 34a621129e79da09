package broker

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/pipetest"
	"github.com/claudemesh/claudemesh/protocol"
)

// client is one connection of a person's, as a daemon would have it.
type client struct {
	*person
	own     *crypto.PrivateKey // key of the connection
	control bool
	ws      *websocket.Conn
	pipe    *pipetest.Conn
	ack     protocol.HelloAck
	reqs    int
	lastID  string // of the last Send

	writeMu sync.Mutex

	mu      sync.Mutex
	frames  []frame
	closed  error
	changed chan struct{}
}

type frame struct {
	typ string
	raw []byte
}

// dial opens a connection that has not said hello.
func (p *person) dial() *client {
	p.w.Helper()
	c := &client{person: p, changed: make(chan struct{})}
	d := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) {
		pipe, err := p.w.listener.Dial(p.addr)
		c.pipe = pipe
		return pipe, err
	}}
	ws, resp, err := d.Dial("ws://"+testHost+"/ws", nil)
	if err != nil {
		p.w.Fatalf("%s: dial: %v (%v)", p.name, err, resp)
	}
	c.ws = ws
	go c.read()
	return c
}

func (c *client) read() {
	for {
		_, b, err := c.ws.ReadMessage()
		c.mu.Lock()
		if err != nil {
			c.closed = err
		} else {
			var tag protocol.Tag
			json.Unmarshal(b, &tag)
			c.frames = append(c.frames, frame{tag.Type, b})
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// connect opens the control connection of p.
func (p *person) connect() *client {
	p.w.Helper()
	c := p.dial()
	c.hello(c.helloFor(p.key, "control"))
	return c
}

// enter reads from now on, and says hello.
func (c *client) enter() *client {
	c.w.Helper()
	go c.read()
	c.hello(c.helloFor(c.key, "control"))
	return c
}

// session opens the connection of one of p's sessions.
func (p *person) session(label string) *client {
	p.w.Helper()
	c := p.dial()
	c.hello(c.helloFor(p.sessionKey(label), label))
	return c
}

func (c *client) challenge() [32]byte {
	c.w.Helper()
	c.write(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(c.w.mesh)})
	var ch protocol.Challenge
	c.wantFrame(protocol.TypeChallenge, &ch)
	b, err := hex.DecodeString(ch.Nonce)
	if err != nil {
		c.w.Fatal(err)
	}
	return [32]byte(b)
}

// helloFor makes the hello with which key would connect, for the connection's own challenge.
func (c *client) helloFor(key *crypto.PrivateKey, label string) protocol.Hello {
	c.w.Helper()
	auth := protocol.HelloAuth{
		Mesh: c.w.mesh, Member: c.key.Public(), Host: testHost, Nonce: c.challenge(), At: time.Now().UnixMilli(), Instance: c.instance,
	}
	return c.helloWith(auth, key, label)
}

func (c *client) helloWith(auth protocol.HelloAuth, key *crypto.PrivateKey, label string) protocol.Hello {
	c.w.Helper()
	h := protocol.Hello{
		Tag: protocol.Tag{Type: protocol.TypeHello, ReqID: "hello"}, MeshID: string(c.w.mesh), Session: c.sessionStatement(key, label).Text(),
		SessionID: label, ProtocolVersion: protocol.Version, Capabilities: protocol.Capabilities(),
	}
	c.own, c.control = key, key == c.key
	signers := []*crypto.PrivateKey{c.key}
	if !c.control {
		h.Type = protocol.TypeSessionHello
		auth.Session, signers = key.Public(), append(signers, key)
	}
	h.Auth = c.w.sign(&auth, signers...).Text()
	return h
}

// hello says hello and wants to be let in.
func (c *client) hello(h protocol.Hello) {
	c.w.Helper()
	c.write(h)
	c.wantFrame(protocol.TypeHelloAck, &c.ack)
}

func (c *client) write(v any) {
	c.w.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		c.w.Fatal(err)
	}
	c.writeRaw(b)
}

func (c *client) writeRaw(b []byte) {
	c.w.Helper()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.ws.WriteMessage(websocket.TextMessage, b); err != nil {
		c.w.Fatalf("%s: write: %v", c.name, err)
	}
}

// patience is how long a test waits for what must come; in a bubble it is no time.
const patience = 10 * time.Second

// take waits for the first frame of that type which matches, and takes it out.
func (c *client) take(typ string, match func(raw []byte) bool) []byte {
	c.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		i := slices.IndexFunc(c.frames, func(f frame) bool { return f.typ == typ && match(f.raw) })
		if i >= 0 {
			raw := c.frames[i].raw
			c.frames = slices.Delete(c.frames, i, i+1)
			c.mu.Unlock()
			return raw
		}
		changed, closed, have := c.changed, c.closed, c.frames
		c.mu.Unlock()
		if closed != nil {
			c.w.Fatalf("%s: wants a %s, is closed: %v; has %s", c.name, typ, closed, types(have))
		}
		select {
		case <-changed:
		case <-timer.C:
			c.w.Fatalf("%s: wants a %s, has %s", c.name, typ, types(have))
		}
	}
}

func types(frames []frame) (s string) {
	for _, f := range frames {
		s += string(f.raw) + "\n"
	}
	return s
}

func (c *client) wantFrame(typ string, v any) {
	c.w.Helper()
	raw := c.take(typ, func([]byte) bool { return true })
	if err := json.Unmarshal(raw, v); err != nil {
		c.w.Fatal(err)
	}
}

// wantNone wants nothing of that type to be there once everybody is idle.
func (c *client) wantNone(typ string) {
	c.w.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.typ == typ {
			c.w.Fatalf("%s: has an unexpected %s", c.name, f.raw)
		}
	}
}

// request sends v, whose tag is set here, and decodes the one answer into reply.
func (c *client) request(v any, typ string, reply any) {
	c.w.Helper()
	c.reqs++
	id := "q" + strconv.Itoa(c.reqs)
	b, err := json.Marshal(v)
	if err != nil {
		c.w.Fatal(err)
	}
	var fields map[string]any
	json.Unmarshal(b, &fields)
	fields["_reqId"] = id
	c.write(fields)
	raw := c.take(typ, func(raw []byte) bool {
		var tag protocol.Tag
		json.Unmarshal(raw, &tag)
		return tag.ReqID == id
	})
	if err := json.Unmarshal(raw, reply); err != nil {
		c.w.Fatal(err)
	}
}

// wantRefused sends v and wants an error of that code.
func (c *client) wantRefused(v any, code protocol.Code) protocol.ErrorFrame {
	c.w.Helper()
	var e protocol.ErrorFrame
	c.request(v, protocol.TypeError, &e)
	if e.Code != code {
		c.w.Fatalf("%s: refused as %s (%s), want %s", c.name, e.Code, e.Message, code)
	}
	return e
}

// wantClose wants the broker to end the connection with that code.
func (c *client) wantClose(code int) {
	c.w.Helper()
	timer := time.NewTimer(3 * time.Minute)
	defer timer.Stop()
	for {
		c.mu.Lock()
		closed, changed := c.closed, c.changed
		c.mu.Unlock()
		if closed != nil {
			if ce, ok := errors.AsType[*websocket.CloseError](closed); !ok || ce.Code != code {
				c.w.Fatalf("%s: closed with %v, want %d", c.name, closed, code)
			}
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			c.w.Fatalf("%s: still open", c.name)
		}
	}
}

// thaw reads on.
func (c *client) thaw() {
	c.pipe.Thaw()
	synctest.Wait()
}

// leave closes in order; lose breaks the connection.
func (c *client) leave() { c.leaveSaying("") }

func (c *client) leaveSaying(text string) {
	c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, text), time.Now().Add(time.Second))
	synctest.Wait()
	c.pipe.Close()
	synctest.Wait()
}

func (c *client) lose() {
	c.pipe.Close()
	synctest.Wait()
}

// seal makes a direct message from the connection's key to key.
func (c *client) seal(to crypto.PublicKey, prio, text string) protocol.Send {
	c.w.Helper()
	h := protocol.Header{
		ID: protocol.NewClientID(), Mesh: c.w.mesh, From: c.own.Public(), Member: c.key.Public(), To: to.String(), Prio: prio,
		TS: time.Now().UnixMilli(), Ep: "0011223344556677", Seq: 1, Log: c.w.view().Digest(),
	}
	if !c.control {
		h.Att = c.sessionStatement(c.own, "s").Text()
	}
	shared, err := c.own.Shared(to)
	if err != nil {
		c.w.Fatal(err)
	}
	nonce, ciphertext, err := protocol.SealDirect(&h, []byte(text), c.own, &shared)
	if err != nil {
		c.w.Fatal(err)
	}
	return protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: h.ID, TargetSpec: h.To, Priority: prio,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
	}
}

// sealGroup makes a message for the members named.
func (c *client) sealGroup(target, text string, to ...*person) protocol.Send {
	c.w.Helper()
	h := protocol.Header{
		ID: protocol.NewClientID(), Mesh: c.w.mesh, From: c.own.Public(), Member: c.key.Public(), To: target, Prio: protocol.PriorityNext,
		TS: time.Now().UnixMilli(), Ep: "0011223344556677", Log: c.w.view().Digest(),
	}
	g, err := protocol.SealGroup(&h, []byte(text), c.own)
	if err != nil {
		c.w.Fatal(err)
	}
	s := protocol.Send{
		Tag: protocol.Tag{Type: protocol.TypeSend}, ID: h.ID, TargetSpec: h.To, Priority: h.Prio,
		Nonce: base64.StdEncoding.EncodeToString(g.Nonce), Ciphertext: base64.StdEncoding.EncodeToString(g.Ciphertext),
		Keys: make(map[string]string),
	}
	for _, p := range to {
		shared, err := c.own.Shared(p.key.Public())
		if err != nil {
			c.w.Fatal(err)
		}
		s.Keys[p.key.Public().String()] = base64.StdEncoding.EncodeToString(g.Wrap(1, &shared))
	}
	return s
}

// submit sends s and returns the ack, whatever it says.
func (c *client) submit(s protocol.Send) protocol.Ack {
	c.w.Helper()
	c.write(s)
	var ack protocol.Ack
	raw := c.take(protocol.TypeAck, func(raw []byte) bool {
		json.Unmarshal(raw, &ack)
		return ack.ID == s.ID
	})
	ack = protocol.Ack{}
	json.Unmarshal(raw, &ack)
	return ack
}

// wantQueued sends s and wants it to be queued.
func (c *client) wantQueued(s protocol.Send) string {
	c.w.Helper()
	ack := c.submit(s)
	if !ack.Queued || ack.MessageID == "" {
		c.w.Fatalf("%s: not queued: %+v", c.name, ack)
	}
	return ack.MessageID
}

// wantNotQueued sends s and wants it to be refused.
func (c *client) wantNotQueued(s protocol.Send, code protocol.Code) protocol.Ack {
	c.w.Helper()
	ack := c.submit(s)
	if ack.Queued || ack.Code != code {
		c.w.Fatalf("%s: ack %+v, want %s", c.name, ack, code)
	}
	return ack
}

// Send sends text to the member key of p.
func (c *client) Send(p *person, text string) protocol.Send {
	c.w.Helper()
	s := c.seal(p.key.Public(), protocol.PriorityNext, text)
	c.wantQueued(s)
	c.lastID = s.ID
	return s
}

// freeze stops reading the socket, as a suspended laptop does.
func (c *client) freeze() {
	synctest.Wait()
	c.pipe.Freeze()
	synctest.Wait()
}

// open opens a push as its recipient.
func (c *client) open(p *protocol.Push) *protocol.Message {
	c.w.Helper()
	o := protocol.Opener{Mesh: c.w.mesh, View: c.w.view(), Now: time.Now(), Member: c.key.Public()}
	keys := map[crypto.PublicKey]*crypto.PrivateKey{c.key.Public(): c.key}
	for _, k := range c.sessions {
		keys[k.Public()] = k
		o.Sessions = append(o.Sessions, k.Public())
	}
	o.Shared = func(own, peer crypto.PublicKey) (crypto.Key, error) { return keys[own].Shared(peer) }
	o.Invited = func(member crypto.PublicKey) (string, bool) { return "somebody", true }
	m, err := o.Open(p.Incoming())
	if err != nil {
		c.w.Fatalf("%s: open: %v", c.name, err)
	}
	return m
}

func decodePush(w *world, raw []byte) (p protocol.Push) {
	w.Helper()
	if err := json.Unmarshal(raw, &p); err != nil {
		w.Fatal(err)
	}
	return p
}

// Get wants the next push to say text, and returns it without acknowledging it.
func (c *client) Get(text string) protocol.Push {
	c.w.Helper()
	var p protocol.Push
	c.wantFrame(protocol.TypePush, &p)
	if got, _ := c.open(&p).Text(); got != text {
		c.w.Fatalf("%s: got %q, want %q", c.name, got, text)
	}
	return p
}

// Want is Get, and acknowledges with a proof.
func (c *client) Want(text string) protocol.Push {
	c.w.Helper()
	p := c.Get(text)
	c.Ack(p)
	return p
}

// Ack acknowledges a push with a proof.
func (c *client) Ack(p protocol.Push) {
	c.w.Helper()
	c.write(protocol.ClientAck{
		Tag: protocol.Tag{Type: protocol.TypeClientAck}, ClientMessageID: p.ClientMessageID, BrokerMessageID: p.MessageID,
		Proof: c.proof(p, protocol.StateDelivered),
	})
}

// proof seals a receipt to the sender of p.
func (c *client) proof(p protocol.Push, state protocol.State) *protocol.Sealed {
	c.w.Helper()
	body, err := protocol.EncodeReceipts([]protocol.ReceiptBody{{ID: p.ClientMessageID, State: state, At: time.Now().UnixMilli()}})
	if err != nil {
		c.w.Fatal(err)
	}
	sender, err := crypto.ParsePublicKey(p.SenderPubkey)
	if err != nil {
		c.w.Fatal(err)
	}
	h := protocol.Header{
		ID: protocol.NewClientID(), Mesh: c.w.mesh, From: c.key.Public(), Member: c.key.Public(), To: sender.String(),
		Prio: protocol.PriorityLow, TS: time.Now().UnixMilli(), Ep: "0011223344556677", Log: c.w.view().Digest(), Kind: protocol.KindReceipt,
	}
	shared, err := c.key.Shared(sender)
	if err != nil {
		c.w.Fatal(err)
	}
	nonce, ciphertext, err := protocol.SealDirect(&h, body, c.key, &shared)
	if err != nil {
		c.w.Fatal(err)
	}
	return &protocol.Sealed{
		Sender: c.key.Public().String(), Nonce: base64.StdEncoding.EncodeToString(nonce),
		Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
	}
}

// WantReceipt wants a receipt of that state for s, with or without proof, and acknowledges it.
func (c *client) WantReceipt(s protocol.Send, state protocol.State, proved bool) protocol.Receipt {
	c.w.Helper()
	var r protocol.Receipt
	c.wantFrame(protocol.TypeReceipt, &r)
	if r.ClientMessageID != s.ID || r.State != string(state) || (r.Proof != nil) != proved {
		c.w.Fatalf("%s: receipt %+v, want %s of %s", c.name, r, state, s.ID)
	}
	if proved {
		o := protocol.Opener{Mesh: c.w.mesh, View: c.w.view(), Now: time.Now(), Member: c.own.Public()}
		o.Shared = func(_, peer crypto.PublicKey) (crypto.Key, error) { return c.own.Shared(peer) }
		m, err := o.Open(r.Proof.Incoming())
		if err != nil {
			c.w.Fatalf("%s: open proof: %v", c.name, err)
		}
		if got, err := m.Receipts(); err != nil || len(got) != 1 || got[0].ID != s.ID {
			c.w.Fatalf("%s: proof says %v, %v", c.name, got, err)
		}
	}
	c.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: r.ReceiptID})
	return r
}
