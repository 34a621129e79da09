package protocol

import (
	"encoding/base64"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/crypto"
)

// What original clients write is no envelope: a box around the text, or, to many, the text itself in base64. A box proves
// that one of the two keys made it, clear text proves nothing. Both open as TrustUnverified.

// LegacyReplayMemory is how long a box of an original client is remembered: it bears no date that would end it.
const LegacyReplayMemory = 180 * 24 * 60 * 60 * 1000 // ms

// SealBare boxes text for an original client. Text that starts with a zero byte is refused: what we put into boxes with a
// zero byte is never bare. Errors are *Error with CodeInvalid or CodePayloadTooLarge.
func SealBare(text []byte, shared *crypto.Key) (nonce, ciphertext []byte, err error) {
	switch {
	case len(text) > MaxBody:
		return nil, nil, Refuse(CodePayloadTooLarge, "message of %d bytes, at most %d are possible", len(text), MaxBody)
	case !utf8.Valid(text):
		return nil, nil, Refuse(CodeInvalid, "the message is not UTF-8")
	case len(text) > 0 && text[0] == 0:
		return nil, nil, Refuse(CodeInvalid, "a message to an original client cannot start with a zero byte")
	}
	n := crypto.NewNonce()
	return n[:], crypto.Seal(nil, text, &n, shared), nil
}

// BareID names a bare message for the memory of repeats: nothing in it but these bytes is its own.
func BareID(sender crypto.PublicKey, nonce, ciphertext []byte) string {
	h := crypto.Hash(sender[:], nonce, ciphertext)
	return base64.RawURLEncoding.EncodeToString(h[:])
}

// Bare is what OpenBare found.
type Bare struct {
	Message *Message
	ID      string   // see BareID
	Content [32]byte // hash of nonce and ciphertext: tells one of our own boxes that comes back
}

// OpenBare opens what the key in.Sender of an original client wrote, which the caller has found to be uncertified: of the
// member and by the name that the caller says. nil, nil: it is an envelope, for Open. Errors: *AlarmError, or what Shared
// returned.
func (o *Opener) OpenBare(in Incoming, member crypto.PublicKey, name string) (*Bare, error) {
	s := &opening{Opener: o, in: in}
	many := in.Key == "" && validMany(in.Target)
	err := s.decodeBare(many)
	if err == nil && !many {
		if err = s.findSender(); err == nil {
			err = s.openBox()
		}
	}
	if f, ok := err.(failure); ok {
		return nil, &AlarmError{Check: CheckForm, Reason: string(f), Sender: s.sender}
	}
	if err != nil {
		return nil, err
	}
	if many {
		s.plain, s.msg.group, s.msg.opened = s.ciphertext, true, o.Member
	}
	if in.Key != "" || len(s.plain) > 0 && s.plain[0] == 0 {
		return nil, nil
	}
	if !utf8.Valid(s.plain) || len(s.plain) > MaxBody {
		return nil, &AlarmError{Check: CheckEnvelope, Reason: "it is neither an envelope nor text", Sender: s.sender}
	}
	return s.bare(member, name)
}

func validMany(target string) bool {
	return target == "*" || len(target) > 1 && target[0] == '@' && ValidGroup(target[1:])
}

// decodeBare is decode for text that may be clear.
func (s *opening) decodeBare(clear bool) error {
	if !clear {
		return s.decode()
	}
	s.sender, _ = crypto.ParsePublicKey(s.in.Sender)
	if s.sender.IsZero() {
		return failure("the sender is not a key")
	}
	nonce, ok := decodeBase64(s.in.Nonce, crypto.NonceSize, crypto.NonceSize)
	if !ok {
		return failure("the nonce is not 24 bytes in base64")
	}
	s.nonce = crypto.Nonce(nonce)
	if s.ciphertext, ok = decodeBase64(s.in.Ciphertext, 0, MaxBody); !ok {
		return failure("the text is not base64 of a possible size")
	}
	return nil
}

// bare makes the message. Its header is ours, for the inbox alone: no original client signs one.
func (s *opening) bare(member crypto.PublicKey, name string) (*Bare, error) {
	b := &Bare{Message: &s.msg, ID: BareID(s.sender, s.nonce[:], s.ciphertext), Content: crypto.Hash(s.nonce[:], s.ciphertext)}
	h := &Header{
		ID: b.ID, Mesh: s.Mesh, From: s.sender, Member: member, To: s.msg.opened.String(), Prio: s.in.Priority, TS: s.Now.UnixMilli(),
		Ep: "0000000000000000",
	}
	if s.msg.group {
		h.To = s.in.Target
	} else {
		h.Seq = 1
	}
	if s.sender != member { // no statement stands behind an original session: the broker says whose it is
		h.Member = s.sender
	}
	raw, err := EncodeHeader(h)
	if err != nil {
		return nil, &AlarmError{Check: CheckForm, Reason: "the frame is not of its shape", Sender: s.sender}
	}
	s.msg.header, s.msg.rawHeader, s.msg.body = h, raw, s.plain
	s.msg.trust, s.msg.name = TrustUnverified, name
	return b, nil
}
