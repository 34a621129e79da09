package protocol

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// sealedAt is when everybody in these tests writes and reads.
var sealedAt = time.UnixMilli(1_700_000_000_000)

// letters is a mesh in which people write to each other. alice, bob and cathy are verified; dave came by a link and is
// invited; mallory has a key and nothing else.
type letters struct {
	tb      testing.TB
	mesh    MeshID
	charter *Statement
	certs   []*Statement

	owner, alice, bob, cathy, dave, mallory *crypto.PrivateKey

	aliceWeb, bobWeb *crypto.PrivateKey // sessions
	deploy           *crypto.PrivateKey // an API key of alice's
}

func newLetters(tb testing.TB) *letters {
	tb.Helper()
	key := func(b byte) *crypto.PrivateKey { return crypto.KeyFromSeed([32]byte{0: b, 31: 0x77}) }
	l := &letters{
		tb: tb, owner: key(1), alice: key(2), bob: key(3), cathy: key(4), dave: key(5), mallory: key(6),
		aliceWeb: key(7), bobWeb: key(8), deploy: key(9),
	}
	l.charter = l.sign(&Charter{Owner: l.owner.Public(), Created: 1_690_000_000, Slug: "letters"}, l.owner)
	l.mesh = l.charter.Mesh()
	for name, k := range map[string]*crypto.PrivateKey{"alice": l.alice, "bob": l.bob, "cathy": l.cathy} {
		l.certs = append(l.certs, l.sign(&Cert{
			Mesh: l.mesh, Issuer: l.owner.Public(), Member: k.Public(), Name: name, Role: RoleMember, Issued: 1_690_000_000,
		}, l.owner))
	}
	return l
}

func (l *letters) sign(b Body, keys ...*crypto.PrivateKey) *Statement {
	l.tb.Helper()
	s, err := Sign(b, keys...)
	if err != nil {
		l.tb.Fatal(err)
	}
	return s
}

// attest is member's statement for session, an hour old and good for eleven more; change may make it a worse one.
func (l *letters) attest(member, session *crypto.PrivateKey, change func(*Session)) string {
	l.tb.Helper()
	b := &Session{
		Mesh: l.mesh, Member: member.Public(), Session: session.Public(), Label: "web",
		Issued: sealedAt.Add(-time.Hour).UnixMilli(), Expires: sealedAt.Add(11 * time.Hour).UnixMilli(),
	}
	if change != nil {
		change(b)
	}
	return l.sign(b, member, session).Text()
}

// attestKey is alice's statement for her API key.
func (l *letters) attestKey(change func(*APIKey)) string {
	l.tb.Helper()
	b := &APIKey{
		Mesh: l.mesh, Member: l.alice.Public(), Key: l.deploy.Public(), Label: "ci", Caps: []string{"send"},
		Issued: sealedAt.Add(-time.Hour).UnixMilli(),
	}
	if change != nil {
		change(b)
	}
	return l.sign(b, l.alice, l.deploy).Text()
}

// header is that of a first message from a member key to a key, or to a group.
func (l *letters) header(from *crypto.PrivateKey, to string) *Header {
	h := &Header{
		ID: "a-message-of-letters", Mesh: l.mesh, From: from.Public(), Member: from.Public(), To: to, Prio: PriorityNext,
		TS: sealedAt.UnixMilli(), Ep: "0011223344556677",
	}
	if _, direct := h.Target(); direct {
		h.Seq = 1
	}
	return h
}

// fromSession is a header from alice's session.
func (l *letters) fromSession(to, att string) *Header {
	h := l.header(l.alice, to)
	h.From, h.Att = l.aliceWeb.Public(), att
	return h
}

func to(k *crypto.PrivateKey) string { return k.Public().String() }

func (l *letters) shared(own *crypto.PrivateKey, peer crypto.PublicKey) *crypto.Key {
	l.tb.Helper()
	k, err := own.Shared(peer)
	if err != nil {
		l.tb.Fatal(err)
	}
	return &k
}

// direct seals h and returns the push in which it arrives.
func (l *letters) direct(from *crypto.PrivateKey, h *Header, body string) *Push {
	l.tb.Helper()
	target, _ := h.Target()
	nonce, c, err := SealDirect(h, []byte(body), from, l.shared(from, target))
	if err != nil {
		l.tb.Fatal(err)
	}
	return push(h, nonce, c)
}

// group seals h once and returns a push for each recipient, numbered from 7.
func (l *letters) group(from *crypto.PrivateKey, h *Header, body string, recipients ...*crypto.PrivateKey) []*Push {
	l.tb.Helper()
	g, err := SealGroup(h, []byte(body), from)
	if err != nil {
		l.tb.Fatal(err)
	}
	pushes := make([]*Push, len(recipients))
	for i, r := range recipients {
		pushes[i] = push(h, g.Nonce, g.Ciphertext)
		pushes[i].Key = base64.StdEncoding.EncodeToString(g.Wrap(uint64(7+i), l.shared(from, r.Public())))
	}
	return pushes
}

// boxed puts plain into the box from one to another, as somebody does who does not use SealDirect.
func (l *letters) boxed(from, recipient *crypto.PrivateKey, h *Header, plain []byte) *Push {
	l.tb.Helper()
	n := crypto.NewNonce()
	return push(h, n[:], crypto.Seal(nil, plain, &n, l.shared(from, recipient.Public())))
}

// forged returns a plaintext signed by signer over any header.
func forged(signer *crypto.PrivateKey, hdr, body string) []byte {
	sig := signer.Sign(EncodeBlock("msg", []byte(hdr), []byte(body)))
	plain := append([]byte("\x00cm2"), sig[:]...)
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(hdr)))
	return append(append(plain, hdr...), body...)
}

// edited returns the JSON of h with one text replaced.
func (l *letters) edited(h *Header, old, new string) string {
	l.tb.Helper()
	b, err := EncodeHeader(h)
	if err != nil {
		l.tb.Fatal(err)
	}
	if strings.Count(string(b), old) != 1 {
		l.tb.Fatalf("%q is not once in %s", old, b)
	}
	return strings.Replace(string(b), old, new, 1)
}

// push is the frame in which an honest broker brings an envelope: it states everything that it may.
func push(h *Header, nonce, ciphertext []byte) *Push {
	return &Push{
		SenderPubkey: h.From.String(), SenderMemberPubkey: h.Member.String(), TargetSpec: h.To, Priority: h.Prio,
		Nonce: base64.StdEncoding.EncodeToString(nonce), Ciphertext: base64.StdEncoding.EncodeToString(ciphertext),
		ClientMessageID: h.ID, ReplyToID: h.ReplyTo, Topic: h.Topic,
	}
}

// reader returns somebody's opener. more is what he knows beside the certificates.
func (l *letters) reader(member *crypto.PrivateKey, sessions []*crypto.PrivateKey, more ...*Statement) *Opener {
	own := map[crypto.PublicKey]*crypto.SharedCache{member.Public(): crypto.NewSharedCache(member, 64)}
	o := &Opener{
		Mesh: l.mesh, View: NewView(l.charter, append(more, l.certs...), Pins{}), Now: sealedAt, Member: member.Public(),
		Shared: func(k, peer crypto.PublicKey) (crypto.Key, error) { return own[k].Shared(peer) },
		Invited: func(k crypto.PublicKey) (string, bool) {
			return "dave", k == l.dave.Public()
		},
	}
	for _, s := range sessions {
		own[s.Public()] = crypto.NewSharedCache(s, 64)
		o.Sessions = append(o.Sessions, s.Public())
	}
	return o
}

func (l *letters) bobReads(p *Push) (*Message, error) {
	return l.reader(l.bob, []*crypto.PrivateKey{l.bobWeb}).Open(p.Incoming())
}

func wantText(t *testing.T, m *Message, err error, text string, trust Trust) {
	t.Helper()
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	if got, gotTrust := m.Text(); got != text || gotTrust != trust {
		t.Fatalf("got %q (%s), want %q (%s)", got, gotTrust, text, trust)
	}
}

func wantAlarm(t *testing.T, m *Message, err error, check int, reason string) {
	t.Helper()
	alarm, ok := errors.AsType[*AlarmError](err)
	if !ok || m != nil {
		t.Fatalf("got message %v and error %v, want the alarm %q", m, err, reason)
	}
	if alarm.Check != check || !strings.Contains(alarm.Reason, reason) {
		t.Fatalf("got alarm %d %q, want %d %q", alarm.Check, alarm.Reason, check, reason)
	}
	if CodeOf(err) != CodeAlarm {
		t.Fatalf("got code %q, want alarm", CodeOf(err))
	}
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode64(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// encodeUnchecked writes a header that EncodeHeader may refuse for its att.
func encodeUnchecked(tb testing.TB, h *Header) []byte {
	tb.Helper()
	honest := *h
	honest.Member = h.From
	b, err := EncodeHeader(&honest)
	if err != nil {
		tb.Fatal(err)
	}
	return []byte(strings.Replace(string(b), `"member":"`+h.From.String(), `"member":"`+h.Member.String(), 1))
}
