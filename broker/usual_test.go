package broker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// clientFrame is a masked frame as a client sends it.
func clientFrame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := []byte{1, 2, 3, 4}
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// A usual frame is taken before the WebSocket sees it; anything else is left to it, byte for byte.
func TestUsualFrame(t *testing.T) {
	const text, pong = 0x80 | websocket.TextMessage, 0x80 | websocket.PongMessage
	long := bytes.Repeat([]byte("a"), readAhead)
	for _, c := range []struct {
		name   string
		bytes  []byte
		opcode int
		want   []byte
	}{
		{"a pong", clientFrame(pong, []byte("abcde")), websocket.PongMessage, []byte("abcde")},
		{"an empty one", clientFrame(pong, nil), websocket.PongMessage, nil},
		{"a text", clientFrame(text, []byte("{}")), websocket.TextMessage, []byte("{}")},
		{"an empty one", clientFrame(text, nil), websocket.TextMessage, nil},
		{"one of 126 bytes", clientFrame(text, long[:126]), websocket.TextMessage, long[:126]},
		{"the longest", clientFrame(text, long[:readAhead-8]), websocket.TextMessage, long[:readAhead-8]},
		{"a longer one", clientFrame(text, long[:readAhead-7])[:readAhead], 0, nil},
		{"of 64 KiB and more", clientFrame(text, make([]byte, 1<<16))[:readAhead], 0, nil},
		{"a ping", clientFrame(0x80|websocket.PingMessage, []byte("abcde")), 0, nil},
		{"a close", clientFrame(0x80|websocket.CloseMessage, nil), 0, nil},
		{"a binary", clientFrame(0x80|websocket.BinaryMessage, []byte("abcde")), 0, nil},
		{"a fragment", clientFrame(websocket.TextMessage, []byte("abcde")), 0, nil},
		{"a continuation", clientFrame(0x80, []byte("abcde")), 0, nil},
		{"with a reserved bit", clientFrame(text|0x40, []byte("abcde")), 0, nil},
		{"without a mask", []byte{text, 2, 'a', 'b'}, 0, nil},
		{"a pong longer than a control frame may be", clientFrame(pong, long[:126]), 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := &coalescer{raw: rawStandIn{}, frames: bufio.NewReader(nil), aheadBuf: new([readAhead]byte)}
			nc.ahead = nc.aheadBuf[:copy(nc.aheadBuf[:], c.bytes)]
			opcode, got, err := nc.nextUsual()
			if opcode != c.opcode || !bytes.Equal(got, c.want) || err != nil {
				t.Errorf("took %q of type %d, %v", got, opcode, err)
			}
			if opcode == 0 && !bytes.Equal(nc.ahead, c.bytes) || opcode != 0 && len(nc.ahead) > 0 {
				t.Errorf("%d bytes are left", len(nc.ahead))
			}
		})
	}
}

// What was read and not taken, here or by the WebSocket, keeps a connection from being parked.
func TestEmptyMeansNothingIsLeft(t *testing.T) {
	nc := &coalescer{raw: rawStandIn{}, frames: bufio.NewReader(strings.NewReader("a")), aheadBuf: new([readAhead]byte)}
	nc.ahead = nc.aheadBuf[:1]
	if nc.empty() {
		t.Error("a byte was read ahead")
	}
	nc.ahead = nil
	nc.frames.Peek(1)
	if nc.empty() {
		t.Error("the WebSocket has a byte")
	}
	nc.frames.Discard(1)
	if !nc.empty() || nc.aheadBuf != nil || nc.frames.Size() != 0 {
		t.Error("nothing is there, and a buffer is kept")
	}
	nc.lendFrames()
	if nc.frames.Size() != frameBuffer {
		t.Errorf("the WebSocket has a buffer of %d bytes", nc.frames.Size())
	}
}

// However a stream of frames is cut into packets, each comes once and whole, in order, by the one way or the other.
func TestFramesInAnyPackets(t *testing.T) {
	type upgraded struct {
		nc *coalescer
		ws *websocket.Conn
	}
	served := make(chan upgraded)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := &hijacker{ResponseWriter: w}
		ws, err := upgrader.Upgrade(h, r, nil)
		if err != nil {
			t.Error(err)
		}
		served <- upgraded{h.conn, ws}
	}))
	defer srv.Close()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		stream, want := anyFrames(r)
		client, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(srv.URL, "http"), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := <-served
		go func() {
			defer client.Close()
			for len(stream) > 0 {
				n := min(1+r.IntN([]int{3, 300, 30_000}[r.IntN(3)]), len(stream))
				if _, err := client.NetConn().Write(stream[:n]); err != nil {
					return
				}
				stream = stream[n:]
			}
		}()
		usual := 0
		for i, payload := range want {
			opcode, b, err := got.nc.nextUsual()
			if opcode == 0 && err == nil {
				_, b, err = got.ws.ReadMessage()
			} else {
				usual++
			}
			if err != nil || !bytes.Equal(b, payload) {
				t.Fatalf("seed %d, frame %d of %d bytes: got %d bytes, %v", seed, i, len(payload), len(b), err)
			}
		}
		if _, _, err := got.nc.nextUsual(); err != io.EOF {
			t.Errorf("behind the last frame: %v", err)
		}
		if usual < len(want)/2 {
			t.Errorf("seed %d: only %d of %d frames took the short way", seed, usual, len(want))
		}
		got.ws.Close()
	}
}

// anyFrames is a stream of frames of all lengths, some in two fragments, and their payloads.
func anyFrames(r *rand.Rand) (stream []byte, payloads [][]byte) {
	lengths := []int{0, 20, 120, 126, 250, 700, 4000, readAhead - 8, readAhead, 70_000}
	for range 300 {
		payload := make([]byte, lengths[min(r.IntN(40), r.IntN(10))])
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
		if n := len(payload) / 2; n > 0 && r.IntN(20) == 0 {
			stream = append(stream, clientFrame(websocket.TextMessage, payload[:n])...)
			stream = append(stream, clientFrame(0x80, payload[n:])...)
		} else {
			stream = append(stream, clientFrame(0x80|websocket.TextMessage, payload)...)
		}
		payloads = append(payloads, payload)
	}
	return stream, payloads
}

// rawStandIn is a socket that nobody reads from.
type rawStandIn struct{}

func (rawStandIn) Control(func(uintptr)) error    { return nil }
func (rawStandIn) Read(func(uintptr) bool) error  { return nil }
func (rawStandIn) Write(func(uintptr) bool) error { return nil }
