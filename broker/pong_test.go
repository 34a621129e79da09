package broker

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/gorilla/websocket"
)

// A pong that stands alone is taken before the WebSocket sees it; anything else is left to it, byte for byte.
func TestTakePong(t *testing.T) {
	frame := func(op, second byte, payload string) []byte {
		mask := []byte{1, 2, 3, 4}
		b := append([]byte{0x80 | op, second}, mask...)
		for i, c := range []byte(payload) {
			b = append(b, c^mask[i%4])
		}
		return b
	}
	alone := frame(websocket.PongMessage, 0x80|5, "abcde")
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
		taken bool
	}{
		{"a pong", alone, "abcde", true},
		{"an empty one", frame(websocket.PongMessage, 0x80, ""), "", true},
		{"half of one", alone[:len(alone)-1], "", false},
		{"one before another frame", append(bytes.Clone(alone), 0x81), "", false},
		{"a ping", frame(websocket.PingMessage, 0x80|5, "abcde"), "", false},
		{"without a mask", []byte{0x80 | websocket.PongMessage, 5, 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'}, "", false},
		{"longer than a control frame may be", frame(websocket.PongMessage, 0x80|126, ""), "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := &coalescer{raw: rawStandIn{}, frames: bufio.NewReader(nil), aheadBuf: new([readAhead]byte)}
			nc.ahead = nc.aheadBuf[:copy(nc.aheadBuf[:], c.bytes)]
			got, ok := nc.takePong()
			if ok != c.taken || string(got) != c.want {
				t.Errorf("took %q, %v", got, ok)
			}
			if left := string(nc.ahead); !ok && left != string(c.bytes) || ok && left != "" {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// rawStandIn is a socket that nobody reads from.
type rawStandIn struct{}

func (rawStandIn) Control(func(uintptr)) error    { return nil }
func (rawStandIn) Read(func(uintptr) bool) error  { return nil }
func (rawStandIn) Write(func(uintptr) bool) error { return nil }
