package broker

import (
	"bufio"
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// The usual frame of a client, whole, text or pong, and no longer than one system call reads, is taken where it lies. The WebSocket,
// which would copy it twice, gets what is not usual: what is long or in fragments, pings, closes, and whatever is wrong.

// nextUsual waits for the next frame and returns its opcode and payload if it is a usual one. The payload is good until the next
// read. Zero: the WebSocket has to read it. Errors are those of Read. It takes so little stack that a goroutine which does nothing
// else keeps the smallest one.
func (c *coalescer) nextUsual() (opcode int, payload []byte, err error) {
	if c.raw == nil {
		return 0, nil, nil
	}
	c.takeBack()
	for {
		opcode, start, end := usualFrame(c.ahead)
		if opcode == 0 {
			c.lendFrames()
			return 0, nil, nil
		}
		if end > 0 && end <= len(c.ahead) {
			payload = c.ahead[start:end:end]
			unmask(payload, c.ahead[start-4:start])
			c.ahead = c.ahead[end:]
			return opcode, payload, nil
		}
		if err := c.fillAhead(); err != nil {
			return 0, nil, err
		}
	}
}

// usualFrame reads the header of a client's frame (RFC 6455 section 5.2). The end is zero while the header is not whole, the opcode
// when the frame is not a usual one.
func usualFrame(b []byte) (opcode, start, end int) {
	if len(b) < 1 {
		return websocket.TextMessage, 0, 0
	}
	const final, masked = 0x80, 0x80
	switch b[0] {
	case final | websocket.TextMessage, final | websocket.PongMessage:
		opcode = int(b[0] & 0x0f)
	default:
		return 0, 0, 0
	}
	if len(b) < 2 {
		return opcode, 0, 0
	}
	n := int(b[1] & 0x7f)
	switch {
	case b[1]&masked == 0, n == 127, n == 126 && opcode == websocket.PongMessage:
		return 0, 0, 0
	case n == 126 && len(b) < 4:
		return opcode, 0, 0
	case n == 126:
		n, start = int(binary.BigEndian.Uint16(b[2:])), 2
	}
	if start += 2 + 4; start+n > readAhead {
		return 0, 0, 0
	}
	return opcode, start, start + n
}

// unmask takes the mask off (RFC 6455 section 5.3).
func unmask(b, mask []byte) {
	m := binary.LittleEndian.Uint32(mask)
	wide := uint64(m)<<32 | uint64(m)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^wide)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= mask[i%4]
	}
}

// empty reports whether nothing was read that is not taken yet, and gives the buffers back then, the WebSocket's too. Only the reader may call it, and where
// nothing can be read ahead it is false.
func (c *coalescer) empty() bool {
	if c.raw == nil || len(c.ahead) > 0 || c.frames.Buffered() > 0 {
		return false
	}
	if c.aheadBuf != nil {
		readAheads.Put(c.aheadBuf)
		c.ahead, c.aheadBuf = nil, nil
	}
	*c.frames = bufio.Reader{}
	return true
}

// lendFrames gives the WebSocket's reader the buffer that empty took.
func (c *coalescer) lendFrames() {
	if c.frames.Size() == 0 {
		*c.frames = *bufio.NewReaderSize(c, frameBuffer)
	}
}

// takeBack takes what the WebSocket read beyond its last frame.
func (c *coalescer) takeBack() {
	n := c.frames.Buffered()
	if n == 0 || n+len(c.ahead) > readAhead {
		return // too much: the WebSocket reads on
	}
	if c.aheadBuf == nil {
		c.aheadBuf = readAheads.Get().(*[readAhead]byte)
	}
	left := copy(c.aheadBuf[n:], c.ahead)
	c.frames.Read(c.aheadBuf[:n])
	c.ahead = c.aheadBuf[:n+left]
}
