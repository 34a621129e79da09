package bench

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// helloTimeout bounds the opening of one connection, under any load.
const helloTimeout = 60 * time.Second

// link is one open connection. One goroutine reads, another one writes.
type link struct {
	ws     *websocket.Conn
	gather *gatherer
}

// gatherer is a net.Conn that writes when it is told to: one system call for many frames.
type gatherer struct {
	net.Conn
	mu  sync.Mutex
	on  bool
	buf []byte
}

func (g *gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.on {
		return g.Conn.Write(p)
	}
	g.buf = append(g.buf, p...)
	return len(p), nil
}

func (g *gatherer) waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.buf)
}

// flush is called by the writer only.
func (g *gatherer) flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.buf)
	if g.buf = g.buf[:0]; cap(g.buf) > keepBuffer {
		g.buf = nil
	}
	return err
}

const (
	keepBuffer = 256 << 10 // a larger buffer is not used again
	flushAt    = 64 << 10
)

// dial opens a connection and says hello as p. Buffers are small for those who only wait.
func dial(ctx context.Context, url string, p *person, receipts bool, readBuffer int) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	l := &link{}
	d := websocket.Dialer{
		ReadBufferSize: readBuffer, WriteBufferSize: min(readBuffer, 4<<10), WriteBufferPool: writeBuffers(readBuffer),
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			l.gather = &gatherer{Conn: conn}
			return l.gather, err
		},
	}
	var err error
	if l.ws, _, err = d.DialContext(ctx, url, nil); err != nil {
		return nil, err
	}
	l.ws.SetReadDeadline(time.Now().Add(helloTimeout))
	if err := l.hello(url, p, receipts); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: hello: %w", p.name, err), l.ws.Close())
	}
	l.ws.SetReadDeadline(time.Time{})
	l.gather.on = true
	return l, nil
}

var sharedWriteBuffers sync.Pool

// writeBuffers lets idle connections share what they write with.
func writeBuffers(readBuffer int) websocket.BufferPool {
	if readBuffer < 4<<10 {
		return &sharedWriteBuffers
	}
	return nil
}

// hello does the opening of a control connection.
func (l *link) hello(url string, p *person, receipts bool) error {
	err := l.ws.WriteJSON(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge}, MeshID: string(p.mesh)})
	if err != nil {
		return err
	}
	var challenge protocol.Challenge
	if err := l.read(protocol.TypeChallenge, &challenge); err != nil {
		return err
	}
	nonce, err := hex.DecodeString(challenge.Nonce)
	if err != nil || len(nonce) != 32 {
		return fmt.Errorf("a nonce of %d digits", len(challenge.Nonce))
	}
	now := time.Now()
	auth, err := protocol.Sign(&protocol.HelloAuth{
		Mesh: p.mesh, Member: p.key.Public(), Host: protocol.BrokerHost(url), Nonce: [32]byte(nonce), At: now.UnixMilli(), Instance: p.instance,
	}, p.key)
	if err != nil {
		return err
	}
	session, err := protocol.Sign(&protocol.Session{
		Mesh: p.mesh, Member: p.key.Public(), Session: p.key.Public(), Label: "bench", Issued: now.UnixMilli(),
		Expires: now.Add(protocol.SessionLifetime).UnixMilli(),
	}, p.key, p.key)
	if err != nil {
		return err
	}
	hello := protocol.Hello{
		Tag: protocol.Tag{Type: protocol.TypeHello}, MeshID: string(p.mesh), SessionID: "bench",
		ProtocolVersion: protocol.Version, Capabilities: []string{protocol.CapTrust, protocol.CapEnvelope2},
		Auth: auth.Text(), Session: session.Text(),
	}
	if receipts {
		hello.Capabilities = protocol.Capabilities()
	}
	if err := l.ws.WriteJSON(hello); err != nil {
		return err
	}
	return l.read(protocol.TypeHelloAck, &protocol.HelloAck{})
}

// read reads the next frame, which must be of that type.
func (l *link) read(typ string, v any) error {
	_, b, err := l.ws.ReadMessage()
	if err != nil {
		return err
	}
	var tag protocol.Tag
	if err := json.Unmarshal(b, &tag); err != nil {
		return err
	}
	if tag.Type == protocol.TypeError {
		var e protocol.ErrorFrame
		if err := json.Unmarshal(b, &e); err != nil {
			return err
		}
		return protocol.Refuse(e.Code, "%s", e.Message)
	}
	if tag.Type != typ {
		return fmt.Errorf("a %s frame, not %s", tag.Type, typ)
	}
	return json.Unmarshal(b, v)
}

// next reads one message into buf.
func (l *link) next(buf []byte) ([]byte, error) {
	_, r, err := l.ws.NextReader()
	if err != nil {
		return buf, err
	}
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// idle reads and answers pings until the connection ends.
func (l *link) idle() {
	l.gather.on = false
	for {
		if _, _, err := l.ws.NextReader(); err != nil {
			return
		}
	}
}

// idlePeople are members of meshes of ten.
const idleMesh = 10

func idlePeople(n int) (people []*person, meshes [][]string, err error) {
	for len(people) < n {
		group := make([]*person, min(idleMesh, n-len(people)))
		for i := range group {
			group[i] = &person{name: "idle", key: crypto.GenerateKey(), instance: [8]byte(crypto.RandomBytes(8))}
		}
		charter, certs, err := found(group)
		if err != nil {
			return nil, nil, err
		}
		people, meshes = append(people, group...), append(meshes, append([]string{charter.Text()}, certs...))
	}
	return people, meshes, nil
}
