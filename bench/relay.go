package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// relay is the floor: it answers and forwards the frames of a run, believes everybody, keeps nothing and forgets whoever
// leaves.
type relay struct {
	mu    sync.Mutex
	conns map[string]*relayConn // by hex key
}

type relayConn struct {
	link
	key  string
	wake chan struct{}
	done chan struct{}

	mu   sync.Mutex
	out  []byte
	ends []int
}

// ServeRelay serves the floor on l until ctx ends.
func ServeRelay(ctx context.Context, l net.Listener) error {
	r := &relay{conns: make(map[string]*relayConn)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", r.serve)
	mux.HandleFunc("POST /api/v1/meshes", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(protocol.CreateReply{OK: true}) // no mesh is needed here
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stopped()
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func (r *relay) serve(w http.ResponseWriter, req *http.Request) {
	up := websocket.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: 4 << 10}
	c := &relayConn{wake: make(chan struct{}, 1), done: make(chan struct{})}
	var err error
	if c.ws, err = up.Upgrade(&relayWriter{w, c}, req, nil); err != nil {
		return
	}
	c.gather.on = true
	defer c.ws.Close()
	go c.writeLoop() // ends with done
	defer close(c.done)
	var buf []byte
	for {
		if buf, err = c.next(buf); err != nil {
			break
		}
		r.handle(c, buf)
	}
	r.mu.Lock()
	delete(r.conns, c.key)
	r.mu.Unlock()
}

// handle answers and forwards one frame.
func (r *relay) handle(c *relayConn, frame []byte) {
	typ, _ := protocol.FrameType(frame)
	switch typ {
	case protocol.TypeSend:
		if v, err := protocol.SplitSend(frame); err == nil {
			r.send(c, &v)
		}
	case protocol.TypeClientAck:
		_, _ = protocol.SplitClientAck(frame) // costs what it costs the broker
	case protocol.TypeHelloChallenge:
		c.reply(protocol.Challenge{Tag: protocol.Tag{Type: protocol.TypeChallenge}, Nonce: noNonce})
	case protocol.TypeHello:
		if key, ok := memberOf(frame); ok {
			r.mu.Lock()
			c.key, r.conns[key] = key, c
			r.mu.Unlock()
			c.reply(protocol.HelloAck{Tag: protocol.Tag{Type: protocol.TypeHelloAck}})
		}
	}
}

// memberOf returns whose hello the frame is.
func memberOf(frame []byte) (key string, ok bool) {
	var h protocol.Hello
	if json.Unmarshal(frame, &h) != nil {
		return "", false
	}
	st, err := protocol.ParseText(h.Auth)
	if err != nil {
		return "", false
	}
	auth, ok := st.Body.(*protocol.HelloAuth)
	if !ok {
		return "", false
	}
	return auth.Member.String(), true
}

const noNonce = "0000000000000000000000000000000000000000000000000000000000000000"

// send acknowledges a message and pushes it.
func (r *relay) send(c *relayConn, v *protocol.SendView) {
	c.enqueue(func(b []byte) []byte { return protocol.AppendAck(b, nil, v.ID, v.ID) })
	p := protocol.PushView{
		MessageID: v.ID, MeshID: []byte(noNonce[:32]), SenderPubkey: []byte(c.key), SenderMemberPubkey: []byte(c.key), SenderName: []byte("peer"),
		TargetSpec: v.TargetSpec, Priority: v.Priority, Nonce: v.Nonce, Ciphertext: v.Ciphertext, CreatedAt: time.Now().UnixMilli(),
		ClientMessageID: v.ID,
	}
	if v.NumWraps() == 0 {
		r.push(string(v.TargetSpec), &p)
		return
	}
	for member, wrap := range v.Wraps() {
		p.Key = wrap
		r.push(string(member), &p)
	}
}

func (r *relay) push(key string, p *protocol.PushView) {
	r.mu.Lock()
	to := r.conns[key]
	r.mu.Unlock()
	if to != nil {
		to.enqueue(func(b []byte) []byte { return protocol.AppendPush(b, p) })
	}
}

func (c *relayConn) reply(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("bench: a frame that has no JSON: " + err.Error())
	}
	c.enqueue(func(dst []byte) []byte { return append(dst, b...) })
}

func (c *relayConn) enqueue(f func([]byte) []byte) {
	c.mu.Lock()
	c.out = f(c.out)
	c.ends = append(c.ends, len(c.out))
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *relayConn) writeLoop() {
	var out []byte
	var ends []int
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		out, c.out = c.out, out[:0]
		ends, c.ends = c.ends, ends[:0]
		c.mu.Unlock()
		from := 0
		for _, end := range ends {
			if c.write(out[from:end]) != nil {
				return
			}
			from = end
		}
		if c.gather.flush() != nil {
			return
		}
	}
}

// relayWriter gives the upgrader a gatherer.
type relayWriter struct {
	http.ResponseWriter
	c *relayConn
}

// Hijack implements http.Hijacker.
func (w *relayWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.c.gather = &gatherer{Conn: conn}
	return w.c.gather, rw, nil
}
