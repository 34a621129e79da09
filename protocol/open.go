package protocol

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/crypto"
)

// The checks of a message, in their order. The first that fails ends it.
const (
	CheckForm     = 1 // sizes, strict base64
	CheckSender   = 2 // the named sender is a key that can seal
	CheckBox      = 3 // wrap and box open with a key of ours
	CheckEnvelope = 4 // label, framing, signature, header
	CheckBinding  = 5 // what is signed fits the box, the mesh and what the frame says
	CheckAttested = 6 // the member stands behind the key
	CheckMember   = 7 // the mesh stands behind the member
	CheckAge      = 8 // not older than SealedMaxAge, and its time within MessageSpan of ours
)

// AlarmError says that a message is not what it claims to be. It is kept as an alarm, without a body. CodeOf gives CodeAlarm.
type AlarmError struct {
	Check  int    // which of CheckForm … CheckAge failed
	Reason string // for people
	Sender crypto.PublicKey
	Header *Header // with CheckAge: proved to be Sender's; else nil
}

func (e *AlarmError) Error() string {
	if e.Sender.IsZero() {
		return "message of an unknown sender: " + e.Reason
	}
	return fmt.Sprintf("message that claims to be from %s: %s", e.Sender.Short(), e.Reason)
}

// Unwrap returns the *Error with CodeAlarm.
func (e *AlarmError) Unwrap() error { return Refuse(CodeAlarm, "%s", e.Reason) }

// ErrHeld reports a message in order up to its sender, for whom no certificate is at hand (yet). It is a *HeldError.
var ErrHeld = errors.New("no certificate of the sender is at hand")

// HeldError is ErrHeld with the proved header: the member in it signed the message, but who he is nobody said.
type HeldError struct{ Header *Header }

func (e *HeldError) Error() string {
	return fmt.Sprintf("message from %s: %v", e.Header.Member.Short(), ErrHeld)
}

// Unwrap returns ErrHeld.
func (e *HeldError) Unwrap() error { return ErrHeld }

// ExpiredError reports a proved message that is older than SealedMaxAge. Its sender gets a sealed receipt ReceiptRefused.
// CodeOf gives CodeExpired.
type ExpiredError struct{ Header *Header }

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("message from %s: sealed on %s, which is too long ago", e.Header.Member.Short(),
		TimeOf(e.Header.TS).Format(time.DateOnly))
}

// Unwrap returns the *Error with CodeExpired.
func (e *ExpiredError) Unwrap() error { return Refuse(CodeExpired, "%s", e.Error()) }

// Incoming is what a frame says of a message. Nothing in it is believed: what is stated must be what is signed.
type Incoming struct {
	Sender, SenderMember string // hex; Sender is needed to open the box
	Target, Priority     string
	Nonce, Ciphertext    string // base64
	Key                  string // our wrap, base64; empty for a direct message
	ClientID             string
	ReplyTo, Topic       string
}

// Incoming returns what the push says.
func (p *Push) Incoming() Incoming {
	return Incoming{
		Sender: p.SenderPubkey, SenderMember: p.SenderMemberPubkey, Target: p.TargetSpec, Priority: p.Priority,
		Nonce: p.Nonce, Ciphertext: p.Ciphertext, Key: p.Key, ClientID: p.ClientMessageID, ReplyTo: p.ReplyToID, Topic: p.Topic,
	}
}

// Incoming returns what a card or a proof says.
func (s *Sealed) Incoming() Incoming {
	return Incoming{Sender: s.Sender, Nonce: s.Nonce, Ciphertext: s.Ciphertext, Key: s.Key}
}

// Opener opens what comes for one member of one mesh. It holds what is known at the moment; one may serve many messages.
type Opener struct {
	Mesh     MeshID
	View     *View
	Now      time.Time
	Member   crypto.PublicKey   // our member key: direct messages and all wraps
	Sessions []crypto.PublicKey // our other keys, ended sessions' too: direct messages

	// Shared is crypto.PrivateKey.Shared of our key own, cached. It returns crypto.ErrKey for a peer that is no key.
	Shared func(own, peer crypto.PublicKey) (crypto.Key, error)
	// Invited tells whether a valid invite and enrol stand for a member without certificate, and by which name. May be nil.
	Invited func(member crypto.PublicKey) (name string, ok bool)
	// Attested saves verifying the attestation of a session with each of its messages. May be nil.
	Attested *Attested
}

// Open returns a message that is proved to be its sender's and for us. Errors: *AlarmError, *HeldError (ErrHeld),
// *ExpiredError, or what Shared returned, which says nothing of the message. Replay and numbers are the caller's.
func (o *Opener) Open(in Incoming) (*Message, error) {
	s := &opening{Opener: o, in: in}
	for _, c := range [...]struct {
		number int
		check  func(*opening) error
	}{
		{CheckForm, (*opening).decode}, {CheckSender, (*opening).findSender}, {CheckBox, (*opening).openBox},
		{CheckEnvelope, (*opening).readEnvelope}, {CheckBinding, (*opening).bind}, {CheckAttested, (*opening).attest},
		// Before CheckMember: what waits for a certificate must come to an end as well.
		{CheckAge, (*opening).span}, {CheckMember, (*opening).believe}, {CheckAge, (*opening).age},
	} {
		err := c.check(s)
		if f, ok := errors.AsType[failure](err); ok {
			return nil, s.alarm(c.number, f)
		}
		if err != nil {
			return nil, err
		}
	}
	return &s.msg, nil
}

func (s *opening) alarm(check int, why failure) *AlarmError {
	a := &AlarmError{Check: check, Reason: string(why), Sender: s.sender}
	if check == CheckAge {
		a.Header = s.msg.header
	}
	return a
}

// failure is the reason for an alarm.
type failure string

func (f failure) Error() string { return string(f) }

// opening is one message on its way through the checks.
type opening struct {
	*Opener
	in Incoming

	nonce      crypto.Nonce // after decode
	ciphertext []byte
	wrap       []byte // nil for a direct message
	sender     crypto.PublicKey
	plain      []byte  // after openBox
	msg        Message // filled as it is proved
}

func (s *opening) decode() error {
	// The claimed sender is read first so that an alarm can name him; that it is a key is the next check's.
	s.sender, _ = crypto.ParsePublicKey(s.in.Sender)
	nonce, ok := decodeBase64(s.in.Nonce, crypto.NonceSize, crypto.NonceSize)
	if !ok {
		return failure("the nonce is not 24 bytes in base64")
	}
	s.nonce = crypto.Nonce(nonce)
	if s.ciphertext, ok = decodeBase64(s.in.Ciphertext, crypto.Overhead, MaxPlaintext+crypto.Overhead); !ok {
		return failure("the ciphertext is not base64 of a possible size")
	}
	if s.in.Key != "" {
		if s.wrap, ok = decodeBase64(s.in.Key, wrapSize, wrapSize); !ok {
			return failure("the wrap is not 116 bytes in base64")
		}
	}
	return nil
}

// decodeBase64 reads canonical base64 of min to max bytes.
func decodeBase64(s string, min, max int) ([]byte, bool) {
	if len(s) > base64.StdEncoding.EncodedLen(max) {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	// The decoder skips line ends: only the length shows them.
	if err != nil || len(s) != base64.StdEncoding.EncodedLen(len(b)) || len(b) < min || len(b) > max {
		return nil, false
	}
	return b, true
}

func (s *opening) findSender() error {
	if s.sender.IsZero() {
		return failure("the sender is not a key")
	}
	_, err := s.shared(s.Member)
	return err
}

func (s *opening) shared(own crypto.PublicKey) (*crypto.Key, error) {
	k, err := s.Shared(own, s.sender)
	if errors.Is(err, crypto.ErrKey) {
		return nil, failure("the sender is not a key that can seal")
	}
	if err != nil {
		return nil, fmt.Errorf("key of the boxes from %s: %w", s.sender.Short(), err)
	}
	return &k, nil
}

func (s *opening) openBox() error {
	if s.wrap != nil {
		return s.openGroup()
	}
	own := append([]crypto.PublicKey{s.Member}, s.Sessions...)
	if k, err := crypto.ParsePublicKey(s.in.Target); err == nil {
		if i := slices.Index(own, k); i > 0 {
			own[0], own[i] = own[i], own[0] // most likely, and only a hint
		}
	}
	for _, k := range own {
		shared, err := s.shared(k)
		if err != nil {
			return err
		}
		if s.plain, err = crypto.Open(nil, s.ciphertext, &s.nonce, shared); err == nil {
			s.msg.opened = k
			return nil
		}
	}
	return failure("the box opens with none of our keys")
}

func (s *opening) openGroup() error {
	shared, err := s.shared(s.Member)
	if err != nil {
		return err
	}
	k, hash, seq, err := openWrap(s.wrap, shared)
	if err != nil {
		return failure(err.Error())
	}
	defer clear(k[:])
	if hash != crypto.Hash(s.nonce[:], s.ciphertext) {
		return failure("the wrap belongs to another message")
	}
	if s.plain, err = crypto.Open(nil, s.ciphertext, &s.nonce, &k); err != nil {
		return failure("the message does not open with the key in the wrap")
	}
	s.msg.opened, s.msg.seq, s.msg.group = s.Member, seq, true
	return nil
}

func (s *opening) readEnvelope() error {
	sig, hdr, body, err := splitEnvelope(s.plain)
	if err != nil {
		return failure(err.Error())
	}
	if !crypto.Verify(s.sender, EncodeBlock("msg", hdr, body), sig) {
		return failure("the signature is not the sender's")
	}
	h, err := DecodeHeader(hdr)
	if err != nil {
		return failure(err.Error())
	}
	if !utf8.Valid(body) {
		return failure("the body is not UTF-8")
	}
	s.msg.header, s.msg.rawHeader, s.msg.body = h, hdr, body
	return nil
}

func (s *opening) bind() error {
	h := s.msg.header
	target, direct := h.Target()
	switch {
	case h.From != s.sender:
		return failure("it is signed as from another key")
	case h.Mesh != s.Mesh:
		return failure("it is of another mesh")
	case direct == s.msg.group:
		return failure("a direct message and a group message are confused")
	case direct && target != s.msg.opened:
		return failure("it is for another key")
	case s.msg.group && (s.msg.seq == 0) != (h.Kind == KindCard):
		return failure("the number in the wrap does not fit the kind")
	}
	for _, f := range [...]struct{ name, stated, signed string }{
		{"id", s.in.ClientID, h.ID},
		{"member", s.in.SenderMember, h.Member.String()},
		{"target", s.in.Target, h.To},
		{"priority", s.in.Priority, h.Prio},
		{"topic", s.in.Topic, h.Topic},
		{"message that it replies to", s.in.ReplyTo, h.ReplyTo},
	} {
		if f.stated != "" && f.stated != f.signed {
			return failure("its " + f.name + " was changed on the way")
		}
	}
	if direct {
		s.msg.seq = h.Seq
	}
	return nil
}

// attest shows that the member stands behind the key that sealed.
func (s *opening) attest() error {
	h := s.msg.header
	if h.From == h.Member {
		if h.Att != "" {
			return failure("a member key with an attestation")
		}
		return nil
	}
	if h.Att == "" {
		return failure("no attestation of the session")
	}
	att, err := s.Attested.parse(s.Mesh, h.Att)
	if err != nil {
		return failure("the attestation of the session: " + err.Error())
	}
	var issued, expires int64
	switch b := att.Body.(type) {
	case *Session:
		if b.Member != h.Member || b.Session != h.From {
			return failure("the attestation is for another session or member")
		}
		issued, expires, s.msg.label = b.Issued, b.Expires, b.Label
	case *APIKey:
		if b.Member != h.Member || b.Key != h.From {
			return failure("the attestation is for another API key or member")
		}
		if !slices.Contains(b.Caps, "send") {
			return failure("the API key may not send")
		}
		if len(b.Topics) != 0 && !slices.Contains(b.Topics, h.Topic) {
			return failure("the API key may not send to this topic")
		}
		issued, expires, s.msg.label = b.Issued, b.Expires, b.Label
	default:
		return failure("the attestation is not for a session or API key")
	}
	if h.TS < issued || expires != 0 && h.TS > expires+SessionGrace.Milliseconds() {
		return failure("it was not sealed in the time of its attestation")
	}
	return nil
}

// believe shows that the mesh stands behind the member, now.
func (s *opening) believe() error {
	h := s.msg.header
	if _, ok := s.View.RevokedOf(h.Member, h.From); ok {
		return failure("its sender was removed from the mesh")
	}
	if m, ok := s.View.Member(h.Member); ok {
		s.msg.trust, s.msg.name = TrustVerified, m.Name
		return nil
	}
	if s.Invited != nil {
		if name, ok := s.Invited(h.Member); ok {
			s.msg.trust, s.msg.name = TrustInvited, name
			return nil
		}
	}
	return &HeldError{Header: h}
}

// span holds the message's time against our clock. A time beyond MessageSpan has no honest explanation:
// a broker keeps no message for so long, and lets nobody in whose clock is off by more than a minute.
func (s *opening) span() error {
	at := time.UnixMilli(s.msg.header.TS)
	if at.Before(s.Now.Add(-MessageSpan)) || at.After(s.Now.Add(MessageSpan)) {
		return failure(fmt.Sprintf("its time is %s, more than %d days from now",
			at.UTC().Format(time.DateOnly), MessageSpan/(24*time.Hour)))
	}
	return nil
}

func (s *opening) age() error {
	if s.msg.header.TS < s.Now.Add(-SealedMaxAge).UnixMilli() {
		return &ExpiredError{Header: s.msg.header}
	}
	return nil
}
