package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
)

// Kinds of envelopes. Any other kind is kept and named, and never shown.
const (
	KindText     = ""         // a message
	KindQuestion = "question" // a message that waits for an answer
	KindReceipt  = "receipt"  // what became of messages; direct, without a number
	KindLog      = "log"      // statements of the mesh; direct, the number may be missing
	KindCard     = "card"     // what a session tells of itself; to a group, without a number
	KindAsk      = "ask"      // asks the memories of the mesh; never shown, the daemons answer
	KindBid      = "bid"      // offers an answer; direct
	KindFetch    = "fetch"    // asks for what was offered; direct
	KindAnswer   = "answer"   // answers a fetch; direct
	KindPing     = "ping"     // asks the recipient's daemon for a receipt; direct, without a number, kept by nobody
)

// MemoryKind reports whether kind is one of those with which daemons ask each other's memories.
func MemoryKind(kind string) bool {
	return kind == KindAsk || kind == KindBid || kind == KindFetch || kind == KindAnswer
}

// Header is the signed header of an envelope, JSON on the wire. What is empty or zero is absent there.
type Header struct {
	ID      string // [0-9A-Za-z_-]{16,64}, the sender's: the client id
	Mesh    MeshID
	From    crypto.PublicKey // seals and signs: session, API or member key
	Member  crypto.PublicKey // who answers for From
	To      string           // hex key, "*", "@group" or "#" and a topic's id
	Prio    string           // now, next or low
	TS      int64            // when it was sealed, Unix ms
	Ep      string           // 16 hex digits: the sender's numbers count from 1 in each epoch
	Seq     uint64           // the number, direct messages only: a group message has one in each wrap
	Log     [32]byte         // digest of the sender's log
	Att     string           // the `session` or `apikey` statement of From, base64url; absent iff From = Member
	Kind    string
	ReplyTo string          // ID of the message that this one answers
	Topic   string          // the topic's name
	Meta    json.RawMessage // a JSON object, for extensions
	Files   []FileRef
}

// Target is the key that a direct message is for. A group message has none.
func (h *Header) Target() (crypto.PublicKey, bool) {
	if len(h.To) != 2*crypto.KeySize {
		return crypto.PublicKey{}, false
	}
	k, err := crypto.ParsePublicKey(h.To)
	return k, err == nil
}

// NewClientID returns a random client id of 22 characters, the first a letter or digit: an id is typed as an argument, and must not look like a flag.
func NewClientID() string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
	b := crypto.RandomBytes(22)
	for i := range b {
		b[i] = alphabet[b[i]&63]
	}
	if b[0] == '_' || b[0] == '-' {
		b[0] = 'x'
	}
	return string(b)
}

// ValidClientID reports whether s is [0-9A-Za-z_-]{16,64}.
func ValidClientID(s string) bool {
	return len(s) >= 16 && len(s) <= 64 && only(s, isIDByte)
}

func isIDByte(c byte) bool {
	return lowerOrDigit(c) || c >= 'A' && c <= 'Z' || c == '_' || c == '-'
}

func isHexByte(c byte) bool { return digit(c) || c >= 'a' && c <= 'f' }

// EncodeHeader returns the bytes to be signed. Errors are *Error with CodeInvalid.
func EncodeHeader(h *Header) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, Refuse(CodeInvalid, "header of the message: %v", err)
	}
	if (h.Att == "") != (h.From == h.Member) {
		return nil, Refuse(CodeInvalid, "header of the message: att belongs to a key that is not the member's, and to no other")
	}
	b := make([]byte, 0, 512+len(h.Att)+len(h.Meta))
	b = append(b, `{"id":"`...)
	b = append(b, h.ID...)
	b = appendText(b, "mesh", string(h.Mesh))
	b = appendText(b, "from", h.From.String())
	b = appendText(b, "member", h.Member.String())
	b = appendText(b, "to", h.To)
	b = appendText(b, "prio", h.Prio)
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, h.TS, 10)
	b = append(b, `,"ep":"`...)
	b = append(b, h.Ep...)
	b = append(b, '"')
	if h.Seq != 0 {
		b = append(b, `,"seq":`...)
		b = strconv.AppendUint(b, h.Seq, 10)
	}
	b = append(b, `,"log":"`...)
	b = hex.AppendEncode(b, h.Log[:])
	for _, f := range [...][2]string{{"att", h.Att}, {"kind", h.Kind}, {"reply_to", h.ReplyTo}, {"topic", h.Topic}} {
		if f[1] != "" {
			b = appendText(b, f[0], f[1])
		}
	}
	b = append(b, '"')
	if len(h.Meta) != 0 {
		b = append(b, `,"meta":`...)
		b = append(b, h.Meta...)
	}
	if len(h.Files) != 0 {
		list, err := encodeFiles(h.Files)
		if err != nil {
			return nil, Refuse(CodeInvalid, "header of the message: files: %v", err)
		}
		b = append(b, `,"files":`...)
		b = append(b, list...)
	}
	b = append(b, '}')
	if len(b) > MaxHeader {
		return nil, Refuse(CodePayloadTooLarge, "header of the message: %d bytes, at most %d are possible", len(b), MaxHeader)
	}
	return b, nil
}

// appendText closes the text before it and appends a member whose value, checked by its rule, needs no escapes.
func appendText(b []byte, name, value string) []byte {
	b = append(b, `","`...)
	b = append(b, name...)
	b = append(b, `":"`...)
	return append(b, value...)
}

// DecodeHeader reads what EncodeHeader wrote: exact names, none twice, none unknown, nothing after it.
// Whether Att belongs there and proves anything is for Open. Errors are *Error with CodeInvalid.
func DecodeHeader(b []byte) (*Header, error) {
	if len(b) > MaxHeader {
		return nil, Refuse(CodeInvalid, "header is longer than %d bytes", MaxHeader)
	}
	h := new(Header)
	seen, err := readObject(b, h.decodeField)
	if err != nil {
		return nil, Refuse(CodeInvalid, "header: %v", err)
	}
	for _, name := range [...]string{"id", "mesh", "from", "member", "to", "prio", "ts", "ep", "log"} {
		if !seen.has(name) {
			return nil, Refuse(CodeInvalid, "header: %q is missing", name)
		}
	}
	if err := h.check(); err != nil {
		return nil, Refuse(CodeInvalid, "header: %v", err)
	}
	return h, nil
}

func (h *Header) decodeField(name string, v *valueReader) (err error) {
	switch name {
	case "ts":
		var n uint64
		n, err = v.integer()
		h.TS = int64(n)
		return err
	case "seq":
		h.Seq, err = v.integer()
		return err
	case "meta":
		raw, err := v.value()
		h.Meta = bytes.Clone(raw)
		return err
	case "files":
		raw, err := v.value()
		if err == nil {
			h.Files, err = decodeFiles(raw)
		}
		return err
	}
	s, err := v.text()
	if err != nil {
		return err
	}
	switch name {
	case "id":
		h.ID = s
	case "mesh":
		h.Mesh = MeshID(s)
	case "from":
		h.From, err = crypto.ParsePublicKey(s)
	case "member":
		h.Member, err = crypto.ParsePublicKey(s)
	case "to":
		h.To = s
	case "prio":
		h.Prio = s
	case "ep":
		h.Ep = s
	case "log":
		if len(s) != 64 || !only(s, isHexByte) {
			return errors.New("is not 64 hex digits")
		}
		_, err = hex.Decode(h.Log[:], []byte(s))
	case "att":
		h.Att = s
	case "kind":
		h.Kind = s
	case "reply_to":
		h.ReplyTo = s
	case "topic":
		h.Topic = s
	default:
		return errors.New("is not known")
	}
	return err
}

// check holds every field to its rule.
func (h *Header) check() error {
	_, direct := h.Target()
	switch {
	case !ValidClientID(h.ID):
		return errors.New("id is not 16 to 64 of [0-9A-Za-z_-]")
	case !h.Mesh.Valid():
		return errors.New("mesh is not a mesh id")
	case h.From.IsZero() || h.Member.IsZero():
		return errors.New("from and member are not both keys")
	case !direct && !validTarget(h.To):
		return errors.New("to is not a key, *, @group or #topic")
	case !ValidPriority(h.Prio):
		return errors.New("prio is not now, next or low")
	case h.TS <= 0 || h.TS > MaxMillis:
		return errors.New("ts is not a time")
	case len(h.Ep) != 16 || !only(h.Ep, isHexByte):
		return errors.New("ep is not 16 hex digits")
	case !only(h.Att, isIDByte):
		return errors.New("att is not base64url")
	case h.Kind != "" && !ValidFeature(h.Kind):
		return errors.New("kind is not 1 to 32 of [a-z0-9_]")
	case h.ReplyTo != "" && !ValidClientID(h.ReplyTo):
		return errors.New("reply_to is not an id")
	case h.Topic != "" && !ValidGroup(h.Topic):
		return errors.New("topic is not a name")
	}
	if err := h.checkNumber(direct); err != nil {
		return err
	}
	if err := h.checkFiles(); err != nil {
		return err
	}
	return h.checkMeta()
}

// checkNumber holds the kind, the kind of target and the number against each other.
func (h *Header) checkNumber(direct bool) error {
	switch {
	case h.Seq > maxInteger:
		return errors.New("seq is too large")
	case h.Kind == KindCard && direct:
		return errors.New("a card is not for one key")
	case (h.Kind == KindReceipt || h.Kind == KindLog || h.Kind == KindPing) && !direct:
		return fmt.Errorf("a %s is for one key", h.Kind)
	case h.Seq != 0 && (!direct || h.Kind == KindReceipt || h.Kind == KindPing):
		return errors.New("seq is for numbered direct messages only")
	case h.Seq == 0 && direct && h.Kind != KindReceipt && h.Kind != KindLog && h.Kind != KindPing:
		return errors.New("seq is missing")
	}
	return nil
}

func (h *Header) checkMeta() error {
	if len(h.Meta) == 0 {
		return nil
	}
	if _, err := readObject(h.Meta, func(_ string, v *valueReader) error { return v.skip() }); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	return nil
}

// validTarget reports whether to names many: everybody, a group or a topic.
func validTarget(to string) bool {
	if to == "*" {
		return true
	}
	if name, ok := strings.CutPrefix(to, "@"); ok {
		return ValidGroup(name)
	}
	id, ok := strings.CutPrefix(to, "#")
	return ok && ValidClientID(id)
}

// ValidPriority reports whether s is now, next or low.
func ValidPriority(s string) bool {
	return s == PriorityNow || s == PriorityNext || s == PriorityLow
}
