package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// magic begins every block. Its last byte keeps a block from being the prefix of any text.
const magic = "claudemesh3\x00"

// EncodeBlock encodes fields under a context, which names what they mean. It is the one encoding of everything that is
// signed or hashed, and two different calls never give the same bytes:
//
//	"claudemesh3" 00 ‖ u8 len(ctx) ‖ ctx ‖ u16be n ‖ n × (u32be len ‖ bytes)
//
// A context has at most 255 bytes, and there are at most 65,535 fields.
func EncodeBlock(ctx string, fields ...[]byte) []byte {
	size := len(magic) + 1 + len(ctx) + 2
	for _, f := range fields {
		size += 4 + len(f)
	}
	return appendBlock(make([]byte, 0, size), ctx, fields...)
}

func appendBlock(b []byte, ctx string, fields ...[]byte) []byte {
	if len(ctx) > 255 || len(fields) > 65535 {
		panic("protocol: block with a context or a number of fields that does not fit")
	}
	b = append(b, magic...)
	b = append(b, byte(len(ctx)))
	b = append(b, ctx...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = appendItem(b, f)
	}
	return b
}

// DecodeBlock is the opposite of EncodeBlock: EncodeBlock(ctx, fields...) followed by rest is b. It knows no context and no
// rule. The fields and rest alias b. Errors are *Error of CodeBadStatement.
func DecodeBlock(b []byte) (ctx string, fields [][]byte, rest []byte, err error) {
	body, ok := strings.CutPrefix(string(b[:min(len(b), len(magic)+1)]), magic)
	if !ok || body == "" {
		return "", nil, nil, Refuse(CodeBadStatement, "not a claudemesh statement")
	}
	n := int(body[0])
	b = b[len(magic)+1:]
	if len(b) < n+2 {
		return "", nil, nil, errCut()
	}
	ctx, b = string(b[:n]), b[n:]
	count := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if len(b) < 4*count { // before room is made for what a few bytes promise
		return "", nil, nil, errCut()
	}
	fields = make([][]byte, count)
	for i := range fields {
		if fields[i], b, ok = cutItem(b); !ok {
			return "", nil, nil, errCut()
		}
	}
	return ctx, fields, b, nil
}

func errCut() *Error { return Refuse(CodeBadStatement, "the statement is cut off") }

// appendItem appends u32be len ‖ item, the form of a field and of an item in a list.
func appendItem(dst, item []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(item)))
	return append(dst, item...)
}

// cutItem takes one item off the front of b.
func cutItem(b []byte) (item, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	if uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// base64URL is base64url without padding (RFC 4648 section 5) in which every value has one spelling.
var base64URL = base64.RawURLEncoding.Strict()

// decodeBase64URL is base64URL.DecodeString, except that it refuses the line breaks which that skips.
func decodeBase64URL(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64URL.DecodeString(s)
	return b, err == nil
}
