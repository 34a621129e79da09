package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/claudemesh/claudemesh/protocol"
)

// tap is a TCP proxy that records what passes: what the broker, and anybody on the wire, can see.
type tap struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   map[net.Conn]bool
	streams []*bytes.Buffer // one for each direction of each connection
}

func newTap(target string) (*tap, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{ln: ln, target: target, conns: make(map[net.Conn]bool)}
	t.wg.Go(t.accept)
	return t, nil
}

func (t *tap) addr() string { return t.ln.Addr().String() }

// close ends all connections and returns when nothing is copied any more.
func (t *tap) close() {
	t.mu.Lock()
	t.closed = true
	for c := range t.conns {
		c.Close()
	}
	t.mu.Unlock()
	t.ln.Close()
	t.wg.Wait()
}

func (t *tap) accept() {
	for {
		client, err := t.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", t.target)
		if err != nil {
			client.Close()
			continue
		}
		if !t.hold(client, server) {
			return
		}
		t.wg.Go(func() { t.copy(server, client) })
		t.wg.Go(func() { t.copy(client, server) })
	}
}

// hold takes connections in, unless the tap is closed.
func (t *tap) hold(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		if t.closed {
			c.Close()
			continue
		}
		t.conns[c] = true
	}
	return !t.closed
}

// copy moves one direction and records it; the end of one ends both.
func (t *tap) copy(to, from net.Conn) {
	stream := new(bytes.Buffer)
	t.mu.Lock()
	t.streams = append(t.streams, stream)
	t.mu.Unlock()
	_, _ = io.Copy(to, io.TeeReader(from, &lockedWriter{mu: &t.mu, w: stream}))
	to.Close()
	from.Close()
	t.mu.Lock()
	delete(t.conns, from)
	t.mu.Unlock()
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// texts returns every recorded stream as it was on the wire, and its WebSocket messages unmasked.
func (t *tap) texts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, s := range t.streams {
		out = append(out, s.String())
		if m := messages(s.Bytes()); len(m) > 0 {
			out = append(out, strings.Join(m, "\n"))
		}
	}
	return out
}

func (t *tap) contains(text string) bool {
	for _, s := range t.texts() {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}

// sealed returns the ciphertext of the send frame with that id.
func (t *tap) sealed(id string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.streams {
		for _, m := range messages(s.Bytes()) {
			var f protocol.Send
			if json.Unmarshal([]byte(m), &f) == nil && f.Type == protocol.TypeSend && f.ID == id {
				return f.Ciphertext, true
			}
		}
	}
	return "", false
}

// messages decodes the WebSocket messages of one direction (RFC 6455 section 5.2), behind the HTTP head. An incomplete end
// is left out.
func messages(stream []byte) []string {
	_, b, ok := bytes.Cut(stream, []byte("\r\n\r\n"))
	if !ok {
		return nil
	}
	var out []string
	var message []byte
	for {
		opcode, final, payload, rest, ok := wsFrame(b)
		if !ok {
			return out
		}
		b = rest
		if opcode >= 8 {
			continue // ping, pong, close
		}
		if message = append(message, payload...); final {
			out = append(out, string(message))
			message = nil
		}
	}
}

// wsFrame takes one frame off b and unmasks its payload.
func wsFrame(b []byte) (opcode byte, final bool, payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, false, nil, nil, false
	}
	opcode, final = b[0]&0x0f, b[0]&0x80 != 0
	masked, n, at := b[1]&0x80 != 0, int(b[1]&0x7f), 2
	for extra := map[int]int{126: 2, 127: 8}[n]; extra > 0; extra-- {
		if at == 2 {
			n = 0
		}
		if len(b) <= at || n > protocol.MaxFrame {
			return 0, false, nil, nil, false
		}
		n, at = n<<8|int(b[at]), at+1
	}
	var mask [4]byte
	if masked {
		if len(b) < at+4 {
			return 0, false, nil, nil, false
		}
		mask, at = [4]byte(b[at:at+4]), at+4
	}
	if len(b) < at+n {
		return 0, false, nil, nil, false
	}
	payload = bytes.Clone(b[at : at+n])
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return opcode, final, payload, b[at+n:], true
}
