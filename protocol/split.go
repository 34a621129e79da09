package protocol

import (
	"bytes"
	"iter"
)

// The frames of which there are many (send, client_ack) are taken apart here without allocation and without copying.
// A frame is accepted only if encoding/json reads the same from it, and beyond that only if
//
//   - names are printable ASCII without escapes, and none is a known one in other letters, which encoding/json would take;
//   - no known name is there twice, and keys in send are in ascending order, so that none of them is;
//   - known values are texts of their own alphabet, without escapes, so that they can be passed on as they are;
//   - values that are read over are nested at most 32 deep.
//
// Everything else is refused as bad_frame.

// SendView is a send frame. Its fields alias the frame; what is absent is nil.
type SendView struct {
	ReqID           []byte
	ID              []byte
	ClientMessageID []byte
	TargetSpec      []byte // printable ASCII without space and " \ < > &; what it names is not checked
	Priority        []byte // now, next or low
	Nonce           []byte // base64, maybe empty
	Ciphertext      []byte // base64, maybe empty
	Sender          []byte // 64 hex digits
	Kind            []byte

	wraps    []byte // keys, the whole object
	numWraps int
}

// ClientAckView is a client_ack frame. Its fields alias the frame; what is absent is nil.
type ClientAckView struct {
	ReqID           []byte
	ClientMessageID []byte
	BrokerMessageID []byte
	State           []byte
	Proof           SealedView
	HasProof        bool
}

// SealedView is a Sealed. Its fields alias the frame; what is absent is nil.
type SealedView struct {
	Sender     []byte // 64 hex digits
	Nonce      []byte // base64
	Ciphertext []byte // base64
	Key        []byte // base64
}

const maxWireID = 128 // bytes of an id in a frame

// field is a known name in an object. A max of zero stands for an object of its own: keys or proof.
type field struct {
	name     string
	class    class
	min, max int // bytes
}

var sendFields = [...]field{
	{"type", wordClass, 1, 64}, {"_reqId", idClass, 0, maxWireID}, {"id", idClass, 0, maxWireID}, {"client_message_id", idClass, 0, maxWireID},
	{"targetSpec", targetClass, 1, 128}, {"priority", wordClass, 1, 8}, {"nonce", base64Class, 0, 64},
	{"ciphertext", base64Class, 0, MaxFrame}, {"sender", hexClass, 64, 64}, {"kind", wordClass, 1, 32},
	{"keys", 0, 0, 0},
}

var clientAckFields = [...]field{
	{"type", wordClass, 1, 64}, {"_reqId", idClass, 0, maxWireID}, {"clientMessageId", idClass, 0, maxWireID},
	{"brokerMessageId", idClass, 0, maxWireID}, {"state", wordClass, 1, 32}, {"proof", 0, 0, 0},
}

var sealedFields = [...]field{
	{"sender", hexClass, 64, 64}, {"nonce", base64Class, 32, 32}, {"ciphertext", base64Class, 0, MaxFrame},
	{"key", base64Class, wrapText, wrapText},
}

const wrapText = (wrapSize + 2) / 3 * 4 // digits of a wrap in base64

// SplitSend takes a send frame apart. On an error, an *Error with CodeBadFrame, the view holds what came before it.
func SplitSend(frame []byte) (SendView, error) {
	var f [len(sendFields)][]byte
	s := scanner{b: frame}
	err := s.object(sendFields[:], f[:])
	v := SendView{
		ReqID: f[1], ID: f[2], ClientMessageID: f[3], TargetSpec: f[4], Priority: f[5], Nonce: f[6], Ciphertext: f[7],
		Sender: f[8], Kind: f[9], wraps: f[10],
	}
	switch {
	case err != nil:
		return v, err
	case s.peek() != 0 || s.i < len(frame):
		return v, badFrame("more follows the frame")
	case string(f[0]) != TypeSend:
		return v, badFrame("not a send frame")
	case v.TargetSpec == nil || v.Nonce == nil || v.Ciphertext == nil:
		return v, badFrame("targetSpec, nonce or ciphertext is missing")
	case string(v.Priority) != PriorityNow && string(v.Priority) != PriorityNext && string(v.Priority) != PriorityLow:
		return v, badFrame("priority is not now, next or low")
	}
	if v.wraps != nil {
		w := scanner{b: v.wraps}
		if v.numWraps, err = w.countWraps(); err != nil {
			return v, err
		}
	}
	return v, nil
}

// SplitClientAck takes a client_ack frame apart. Errors are those of SplitSend.
func SplitClientAck(frame []byte) (ClientAckView, error) {
	var f [len(clientAckFields)][]byte
	s := scanner{b: frame}
	err := s.object(clientAckFields[:], f[:])
	v := ClientAckView{ReqID: f[1], ClientMessageID: f[2], BrokerMessageID: f[3], State: f[4], HasProof: f[5] != nil}
	switch {
	case err != nil:
		return v, err
	case s.peek() != 0 || s.i < len(frame):
		return v, badFrame("more follows the frame")
	case string(f[0]) != TypeClientAck:
		return v, badFrame("not a client_ack frame")
	}
	if v.HasProof {
		v.Proof, err = splitSealed(f[5])
	}
	return v, err
}

func splitSealed(object []byte) (SealedView, error) {
	var f [len(sealedFields)][]byte
	s := scanner{b: object}
	if err := s.object(sealedFields[:], f[:]); err != nil {
		return SealedView{}, err
	}
	v := SealedView{Sender: f[0], Nonce: f[1], Ciphertext: f[2], Key: f[3]}
	if v.Nonce == nil || v.Ciphertext == nil {
		return v, badFrame("proof without nonce or ciphertext")
	}
	return v, nil
}

// FrameType returns the frame's type: the text of the first "type" in it. What follows that is not looked at, so
// only who takes the frame apart learns whether it is one. Types of this package come without allocation.
func FrameType(frame []byte) (string, error) {
	const head = `{"type":"` // as all of ours begin
	if rest, ok := bytes.CutPrefix(frame, []byte(head)); ok {
		for _, known := range frameTypes[:2] {
			if len(rest) > len(known) && rest[len(known)] == '"' && string(rest[:len(known)]) == known {
				return known, nil
			}
		}
	}
	s := scanner{b: frame}
	if !s.is('{') {
		return "", badFrame("not a JSON object")
	}
	for {
		name, ok := s.text(nameClass)
		if !ok || !s.is(':') {
			return "", badFrame("no type")
		}
		if string(name) == "type" {
			t, ok := s.text(wordClass)
			if !ok || len(t) == 0 || len(t) > 64 {
				return "", badFrame("type is not a word")
			}
			for _, known := range frameTypes {
				if string(t) == known {
					return known, nil
				}
			}
			return string(t), nil
		}
		if !s.skip(0) || !s.is(',') {
			return "", badFrame("no type")
		}
	}
}

// frameTypes are the types that clients send, the frequent ones first.
var frameTypes = [...]string{
	TypeSend, TypeClientAck, TypeReceipt, TypeSetStatus, TypeSetCard, TypeListPeers, TypePublish, TypeLog, TypeListMembers,
	TypeMessageStatus, TypeHelloChallenge, TypeHello, TypeSessionHello, TypeOp,
}

// object takes a JSON object and sets values[i] to the value of fields[i]: the text between the quotes, or the whole of an
// object.
func (s *scanner) object(fields []field, values [][]byte) error {
	if !s.is('{') {
		return badFrame("not a JSON object")
	}
	if s.is('}') {
		return nil
	}
	for {
		name, ok := s.text(nameClass)
		if !ok || !s.is(':') {
			return badFrame("a name is not printable ASCII followed by a colon")
		}
		i, exact := find(fields, name)
		switch {
		case i < 0:
			if !s.skip(0) {
				return badFrame("a value that is not JSON, or nested too deep")
			}
		case !exact:
			return badFrame("%s is written with other capitals", fields[i].name)
		case values[i] != nil:
			return badFrame("%s is there twice", fields[i].name)
		default:
			if values[i] = s.value(&fields[i]); values[i] == nil {
				return badFrame("%s is not what it must be", fields[i].name)
			}
		}
		if s.is('}') {
			return nil
		}
		if !s.is(',') {
			return badFrame("not a JSON object")
		}
	}
}

// value takes the value of a known name. It returns nil for one that breaks its rule.
func (s *scanner) value(f *field) []byte {
	if f.max > 0 {
		v, ok := s.text(f.class)
		if !ok || len(v) < f.min || len(v) > f.max {
			return nil
		}
		return v // not nil: it is a part of the frame
	}
	if s.peek() != '{' {
		return nil
	}
	start := s.i
	if !s.skip(0) {
		return nil
	}
	return s.b[start:s.i:s.i]
}

// find returns the index of the field of that name, or of one that differs in capitals only, or -1.
func find(fields []field, name []byte) (i int, exact bool) {
	folded := -1
	for i := range fields {
		if len(fields[i].name) != len(name) {
			continue
		}
		if fields[i].name == string(name) {
			return i, true
		}
		if equalFold(fields[i].name, name) {
			folded = i
		}
	}
	return folded, false
}

// equalFold compares ASCII of one length without regard to capitals.
func equalFold(a string, b []byte) bool {
	for i := range b {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

// countWraps takes keys, a JSON object of its own, and returns how many there are.
func (s *scanner) countWraps() (int, error) {
	var last []byte
	s.is('{')
	if s.is('}') {
		return 0, nil
	}
	for n := 1; n <= MaxKeys; n++ {
		member, ok := s.text(hexClass)
		if !ok || len(member) != 64 || !s.is(':') {
			return 0, badFrame("a name in keys is not a key")
		}
		if wrap, ok := s.text(base64Class); !ok || len(wrap) != wrapText {
			return 0, badFrame("a value in keys is not a wrap")
		}
		if last != nil && bytes.Compare(last, member) >= 0 {
			return 0, badFrame("keys are not in ascending order")
		}
		last = member
		if s.is('}') {
			return n, nil
		}
		s.is(',')
	}
	return 0, badFrame("more than %d keys", MaxKeys)
}

// NumWraps returns how many wraps there are: zero for a direct message.
func (v *SendView) NumWraps() int { return v.numWraps }

// Wraps iterates over keys: member key (64 hex digits, ascending) and wrap (156 digits of base64).
func (v *SendView) Wraps() iter.Seq2[[]byte, []byte] {
	return func(yield func(member, wrap []byte) bool) {
		s := scanner{b: v.wraps}
		for range v.numWraps {
			s.i += bytes.IndexByte(s.b[s.i:], '"')
			member, _ := s.text(hexClass)
			s.is(':')
			wrap, _ := s.text(base64Class)
			if !yield(member, wrap) {
				return
			}
		}
	}
}

func badFrame(format string, args ...any) *Error { return Refuse(CodeBadFrame, format, args...) }
