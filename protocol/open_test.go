package protocol

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

func TestAliceWritesToBob(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, to(l.bob))
	h.ReplyTo, h.Topic, h.Meta = "the-message-before-it", "deploys/eu", []byte(`{"n":1}`)
	m, err := l.bobReads(l.direct(l.alice, h, "hello bob"))
	wantText(t, m, err, "hello bob", TrustVerified)
	if m.Name() != "alice" || m.From() != l.alice.Public() || m.Member() != l.alice.Public() || m.Label() != "" {
		t.Errorf("got %s (%s) of %s with label %q", m.Name(), m.From(), m.Member(), m.Label())
	}
	if m.ID() != h.ID || m.Seq() != 1 || m.Opened() != l.bob.Public() || m.Group() || m.Kind() != KindText {
		t.Errorf("got id %s, seq %d, opened %s, group %v, kind %q", m.ID(), m.Seq(), m.Opened(), m.Group(), m.Kind())
	}
	if got := m.Header(); got.ReplyTo != h.ReplyTo || got.Topic != h.Topic || string(got.Meta) != `{"n":1}` {
		t.Errorf("got header %+v", got)
	}
	if !m.SealedAt().Equal(sealedAt) {
		t.Errorf("got sealed at %v", m.SealedAt())
	}
}

func TestAliceWritesFromHerSessionToBobsSession(t *testing.T) {
	l := newLetters(t)
	h := l.fromSession(to(l.bobWeb), l.attest(l.alice, l.aliceWeb, nil))
	p := l.direct(l.aliceWeb, h, "")
	m, err := l.bobReads(p)
	wantText(t, m, err, "", TrustVerified)
	if m.From() != l.aliceWeb.Public() || m.Member() != l.alice.Public() || m.Label() != "web" || m.Name() != "alice" {
		t.Errorf("got %s, label %q, of %s", m.From(), m.Label(), m.Name())
	}
	if m.Opened() != l.bobWeb.Public() {
		t.Errorf("opened by %s, want the session's key", m.Opened())
	}

	// What the frame does not state is taken from the envelope.
	p.TargetSpec, p.SenderMemberPubkey, p.ClientMessageID, p.Priority = "", "", "", ""
	m, err = l.bobReads(p)
	wantText(t, m, err, "", TrustVerified)
	if m.Opened() != l.bobWeb.Public() {
		t.Errorf("opened by %s, want the session's key", m.Opened())
	}
}

func TestAliceWritesToAGroup(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, "@backend")
	pushes := l.group(l.alice, h, "hello all", l.bob, l.cathy)
	m, err := l.bobReads(pushes[0])
	wantText(t, m, err, "hello all", TrustVerified)
	if !m.Group() || m.Seq() != 7 || m.Opened() != l.bob.Public() {
		t.Errorf("got group %v, seq %d, opened %s", m.Group(), m.Seq(), m.Opened())
	}
	m, err = l.reader(l.cathy, nil).Open(pushes[1].Incoming())
	wantText(t, m, err, "hello all", TrustVerified)
	if m.Seq() != 8 {
		t.Errorf("got seq %d, want 8", m.Seq())
	}
}

func TestReflection(t *testing.T) {
	l := newLetters(t)
	p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "pay mallory")
	alice := l.reader(l.alice, []*crypto.PrivateKey{l.aliceWeb})

	p.SenderPubkey, p.SenderMemberPubkey = to(l.bob), to(l.bob)
	m, err := alice.Open(p.Incoming())
	wantAlarm(t, m, err, CheckEnvelope, "signature is not the sender's")

	p.SenderPubkey, p.SenderMemberPubkey = to(l.alice), to(l.alice)
	m, err = alice.Open(p.Incoming())
	wantAlarm(t, m, err, CheckBox, "none of our keys")
}

// Whoever has bob's key can make boxes that seem to come from alice. He cannot sign.
func TestMailToTheOwnerOfAStolenKey(t *testing.T) {
	l := newLetters(t)
	hdr, err := EncodeHeader(l.header(l.alice, to(l.bob)))
	if err != nil {
		t.Fatal(err)
	}
	p := l.boxed(l.bob, l.alice, l.header(l.alice, to(l.bob)), forged(l.bob, string(hdr), "it is me, alice"))
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckEnvelope, "signature is not the sender's")
}

func TestBrokerEditsWhatTheFrameStates(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, to(l.bob))
	h.ReplyTo, h.Topic = "the-message-before-it", "deploys"
	for reason, edit := range map[string]func(*Push){
		"its id was":                     func(p *Push) { p.ClientMessageID = "another-message-of-letters" },
		"its member was":                 func(p *Push) { p.SenderMemberPubkey = to(l.cathy) },
		"its target was":                 func(p *Push) { p.TargetSpec = to(l.bobWeb) },
		"its priority was":               func(p *Push) { p.Priority = PriorityNow },
		"its topic was":                  func(p *Push) { p.Topic = "salaries" },
		"message that it replies to was": func(p *Push) { p.ReplyToID = "some-other-message-id" },
	} {
		p := l.direct(l.alice, h, "hello bob")
		edit(p)
		m, err := l.bobReads(p)
		wantAlarm(t, m, err, CheckBinding, reason)
	}
	// What alice did not say nobody may add.
	p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello bob")
	p.Topic = "salaries"
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckBinding, "its topic was")
}

func TestReAddressed(t *testing.T) {
	l := newLetters(t)
	// alice seals to bob's member key what she addressed to his session: the box opens with another of his keys.
	hdr, err := EncodeHeader(l.header(l.alice, to(l.bobWeb)))
	if err != nil {
		t.Fatal(err)
	}
	p := l.boxed(l.alice, l.bob, l.header(l.alice, to(l.bobWeb)), forged(l.alice, string(hdr), "hello"))
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckBinding, "for another key")

	// cathy passes on to bob, in a box of her own, what alice wrote to her.
	h := l.header(l.alice, to(l.cathy))
	plain, err := signEnvelope(h, []byte("I will leave cathy the keys"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	p = l.boxed(l.cathy, l.bob, l.header(l.cathy, to(l.bob)), plain)
	m, err = l.bobReads(p)
	wantAlarm(t, m, err, CheckEnvelope, "signature is not the sender's")
}

func TestAnotherMesh(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, to(l.bob))
	h.Mesh = "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4T"
	m, err := l.bobReads(l.direct(l.alice, h, "hello"))
	wantAlarm(t, m, err, CheckBinding, "another mesh")
}

// A and −A convert to one x25519 key, so their boxes are the same.
func TestTwinKeys(t *testing.T) {
	l := newLetters(t)
	twin := func(k *crypto.PrivateKey) crypto.PublicKey {
		p := k.Public()
		p[31] ^= 0x80
		if !p.Valid() {
			t.Fatal("the twin is not a key")
		}
		return p
	}
	p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
	p.SenderPubkey, p.SenderMemberPubkey = twin(l.alice).String(), ""
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckEnvelope, "signature is not the sender's")

	p = l.direct(l.alice, l.header(l.alice, twin(l.bob).String()), "hello")
	m, err = l.bobReads(p)
	wantAlarm(t, m, err, CheckBinding, "for another key")
}

func TestForgedFrom(t *testing.T) {
	l := newLetters(t)
	hdr, err := EncodeHeader(l.header(l.alice, to(l.bob)))
	if err != nil {
		t.Fatal(err)
	}
	p := l.boxed(l.cathy, l.bob, l.header(l.cathy, to(l.bob)), forged(l.cathy, string(hdr), "it is me, alice"))
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckBinding, "signed as from another key")

	// cathy's key, alice's name: nobody attests it.
	h := l.header(l.cathy, to(l.bob))
	plain := forged(l.cathy, l.edited(h, `"member":"`+to(l.cathy), `"member":"`+to(l.alice)), "it is me, alice")
	p = l.boxed(l.cathy, l.bob, h, plain)
	p.SenderMemberPubkey = to(l.alice)
	m, err = l.bobReads(p)
	wantAlarm(t, m, err, CheckAttested, "no attestation")
}

func TestSwappedWraps(t *testing.T) {
	l := newLetters(t)
	first := l.group(l.alice, l.header(l.alice, "*"), "one", l.bob, l.cathy)
	second := l.group(l.alice, l.header(l.alice, "*"), "two", l.bob, l.cathy)

	p := *first[0]
	p.Key = first[1].Key
	m, err := l.bobReads(&p)
	wantAlarm(t, m, err, CheckBox, "the wrap does not open")

	p = *first[0]
	p.Key = second[0].Key
	m, err = l.bobReads(&p)
	wantAlarm(t, m, err, CheckBox, "belongs to another message")

	p = *first[0]
	p.Nonce, p.Ciphertext = second[0].Nonce, second[0].Ciphertext
	m, err = l.bobReads(&p)
	wantAlarm(t, m, err, CheckBox, "belongs to another message")
}

// bob has the key of alice's message and writes another one under it. With her wrap for cathy it must not open.
func TestRecipientReusesTheKey(t *testing.T) {
	l := newLetters(t)
	plain, err := signEnvelope(l.header(l.alice, "*"), []byte("one"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	k, n := crypto.NewKey(), crypto.NewNonce()
	wrap := newGroupSeal(plain, &k, &n).Wrap(1, l.shared(l.alice, l.cathy.Public()))

	n2 := crypto.NewNonce()
	p := push(l.header(l.alice, "*"), n2[:], crypto.Seal(nil, plain, &n2, &k))
	p.Key = encode64(wrap)
	m, err := l.reader(l.cathy, nil).Open(p.Incoming())
	wantAlarm(t, m, err, CheckBox, "belongs to another message")
}

func TestBoxesOfOneKindShownAsAnother(t *testing.T) {
	l := newLetters(t)
	shared := l.shared(l.alice, l.bob.Public())
	g := l.group(l.alice, l.header(l.alice, "*"), "one", l.bob)[0]

	// A boxed text of 76 bytes, in the place of a wrap.
	n := crypto.NewNonce()
	text := crypto.Seal(n[:], []byte(strings.Repeat("x", wrapPlain)), &n, shared)
	p := *g
	p.Key = encode64(text)
	m, err := l.bobReads(&p)
	wantAlarm(t, m, err, CheckBox, "the box is not a wrap")

	// A wrap, in the place of a direct message.
	p = *l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
	wrap := decode64(t, g.Key)
	p.Nonce, p.Ciphertext = encode64(wrap[:24]), encode64(wrap[24:])
	m, err = l.bobReads(&p)
	wantAlarm(t, m, err, CheckEnvelope, "no envelope")

	// Text without an envelope, from a certified key.
	p = *l.boxed(l.alice, l.bob, l.header(l.alice, to(l.bob)), []byte("hello bob"))
	m, err = l.bobReads(&p)
	wantAlarm(t, m, err, CheckEnvelope, "no envelope")

	// An envelope under another label.
	plain, err := signEnvelope(l.header(l.alice, to(l.bob)), []byte("hello"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	plain[3] = '3'
	p = *l.boxed(l.alice, l.bob, l.header(l.alice, to(l.bob)), plain)
	m, err = l.bobReads(&p)
	wantAlarm(t, m, err, CheckEnvelope, "no envelope")
}

func TestDirectAndGroupConfused(t *testing.T) {
	l := newLetters(t)
	// An envelope for a group, in a box for bob alone.
	plain, err := signEnvelope(l.header(l.alice, "*"), []byte("hello"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.bobReads(l.boxed(l.alice, l.bob, l.header(l.alice, "*"), plain))
	wantAlarm(t, m, err, CheckBinding, "confused")

	// An envelope for bob, sealed for a group.
	plain, err = signEnvelope(l.header(l.alice, to(l.bob)), []byte("hello"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	k, n := crypto.NewKey(), crypto.NewNonce()
	g := newGroupSeal(plain, &k, &n)
	p := push(l.header(l.alice, to(l.bob)), g.Nonce, g.Ciphertext)
	p.Key = encode64(g.Wrap(1, l.shared(l.alice, l.bob.Public())))
	m, err = l.bobReads(p)
	wantAlarm(t, m, err, CheckBinding, "confused")
}

func TestNumbersOfGroupsAreInTheWrap(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, "*")
	hdr := l.edited(h, `"ep":"0011223344556677"`, `"ep":"0011223344556677","seq":3`)
	k, n := crypto.NewKey(), crypto.NewNonce()
	g := newGroupSeal(forged(l.alice, hdr, "hello"), &k, &n)
	p := push(h, g.Nonce, g.Ciphertext)
	p.Key = encode64(g.Wrap(1, l.shared(l.alice, l.bob.Public())))
	m, err := l.bobReads(p)
	wantAlarm(t, m, err, CheckEnvelope, "seq is for numbered direct messages")

	sealed, err := SealGroup(h, []byte("hello"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	for seq, want := range map[uint64]struct {
		check  int
		reason string
	}{0: {CheckBinding, "number in the wrap"}, 1 << 53: {CheckBox, "number in the wrap is too large"}} {
		p = push(h, sealed.Nonce, sealed.Ciphertext)
		p.Key = encode64(sealed.Wrap(seq, l.shared(l.alice, l.bob.Public())))
		m, err = l.bobReads(p)
		wantAlarm(t, m, err, want.check, want.reason)
	}
}

func TestAttestations(t *testing.T) {
	l := newLetters(t)
	web := func(change func(*Session)) string { return l.attest(l.alice, l.aliceWeb, change) }
	ms := func(d time.Duration) int64 { return sealedAt.Add(d).UnixMilli() }
	for _, test := range []struct {
		name, att, reason string // no reason: it is taken
	}{
		{"fresh", web(nil), ""},
		{"issued now", web(func(s *Session) { s.Issued = ms(0) }), ""},
		{"issued later", web(func(s *Session) { s.Issued = ms(time.Millisecond) }), "time of its attestation"},
		{"within grace", web(func(s *Session) { s.Expires = ms(-5 * time.Minute) }), ""},
		{"expired", web(func(s *Session) { s.Expires = ms(-5*time.Minute - time.Millisecond) }), "time of its attestation"},
		{"another mesh", web(func(s *Session) { s.Mesh = "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4T" }), "attestation of the session"},
		{"another member", l.attest(l.cathy, l.aliceWeb, nil), "another session or member"},
		{"another session", l.attest(l.alice, l.bobWeb, nil), "another session or member"},
		{"an API key's", l.attestKey(nil), "another API key"},
		{"a cert", l.certs[0].Text(), "not for a session"},
		{"damaged", strings.TrimSuffix(web(nil), "A") + "B", "attestation of the session"},
	} {
		m, err := l.bobReads(l.direct(l.aliceWeb, l.fromSession(to(l.bob), test.att), "hello"))
		if test.reason == "" {
			wantText(t, m, err, "hello", TrustVerified)
			continue
		}
		t.Log(test.name)
		wantAlarm(t, m, err, CheckAttested, test.reason)
	}

	// A member key needs none, and has none.
	h := l.header(l.alice, to(l.bob))
	hdr := l.edited(h, `"ep":`, `"att":"`+web(nil)+`","ep":`)
	m, err := l.bobReads(l.boxed(l.alice, l.bob, h, forged(l.alice, hdr, "hello")))
	wantAlarm(t, m, err, CheckAttested, "member key with an attestation")
}

// bob's own session says that it speaks for alice.
func TestSessionOfAnotherMember(t *testing.T) {
	l := newLetters(t)
	h := l.header(l.alice, to(l.cathy))
	h.From, h.Att = l.bobWeb.Public(), l.attest(l.bob, l.bobWeb, nil)
	m, err := l.reader(l.cathy, nil).Open(l.direct(l.bobWeb, h, "it is me, alice").Incoming())
	wantAlarm(t, m, err, CheckAttested, "another session or member")
}

func TestAPIKeys(t *testing.T) {
	l := newLetters(t)
	ms := func(d time.Duration) int64 { return sealedAt.Add(d).UnixMilli() }
	for _, test := range []struct {
		topic  string
		change func(*APIKey)
		reason string
	}{
		{"", nil, ""},
		{"deploys", nil, ""},
		{"deploys", func(k *APIKey) { k.Topics = []string{"deploys"} }, ""},
		{"", func(k *APIKey) { k.Topics = []string{"deploys"} }, "not send to this topic"},
		{"salaries", func(k *APIKey) { k.Topics = []string{"deploys"} }, "not send to this topic"},
		{"", func(k *APIKey) { k.Caps = []string{"read"} }, "may not send"},
		{"", func(k *APIKey) { k.Expires = ms(-5 * time.Minute) }, ""},
		{"", func(k *APIKey) { k.Expires = ms(-5*time.Minute - 1) }, "time of its attestation"},
	} {
		h := l.header(l.alice, to(l.bob))
		h.From, h.Topic, h.Att = l.deploy.Public(), test.topic, l.attestKey(test.change)
		m, err := l.bobReads(l.direct(l.deploy, h, "deployed"))
		if test.reason == "" {
			wantText(t, m, err, "deployed", TrustVerified)
			if m.Label() != "ci" {
				t.Errorf("got label %q", m.Label())
			}
			continue
		}
		wantAlarm(t, m, err, CheckAttested, test.reason)
	}
}

func TestWhoStandsBehindTheMember(t *testing.T) {
	l := newLetters(t)
	m, err := l.bobReads(l.direct(l.dave, l.header(l.dave, to(l.bob)), "let me in"))
	wantText(t, m, err, "let me in", TrustInvited)
	if m.Name() != "dave" {
		t.Errorf("got name %q", m.Name())
	}

	p := l.direct(l.mallory, l.header(l.mallory, to(l.bob)), "let me in")
	m, err = l.bobReads(p)
	held, ok := errors.AsType[*HeldError](err)
	if m != nil || !ok || !errors.Is(err, ErrHeld) || held.Header.Member != l.mallory.Public() {
		t.Fatalf("got %v, %v, want it held", m, err)
	}
	o := l.reader(l.bob, nil)
	o.Invited = nil
	if _, err = o.Open(p.Incoming()); !errors.Is(err, ErrHeld) {
		t.Fatalf("got %v, want it held", err)
	}
}

func TestRevokedNow(t *testing.T) {
	l := newLetters(t)
	web := l.attest(l.alice, l.aliceWeb, nil)
	fromMember := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
	fromSession := l.direct(l.aliceWeb, l.fromSession(to(l.bob), web), "hello")
	revoke := func(by, key *crypto.PrivateKey) *Statement {
		return l.sign(&Revoke{Mesh: l.mesh, Issuer: by.Public(), Kind: RevokeKey, Target: key.Public(), At: 1}, by)
	}

	bob := l.reader(l.bob, nil, revoke(l.owner, l.alice))
	for _, p := range []*Push{fromMember, fromSession} {
		m, err := bob.Open(p.Incoming())
		wantAlarm(t, m, err, CheckMember, "removed from the mesh")
	}

	bob = l.reader(l.bob, nil, revoke(l.alice, l.aliceWeb))
	m, err := bob.Open(fromMember.Incoming())
	wantText(t, m, err, "hello", TrustVerified)
	m, err = bob.Open(fromSession.Incoming())
	wantAlarm(t, m, err, CheckMember, "removed from the mesh")

	// A link does not bring back who was removed.
	bob = l.reader(l.bob, nil, revoke(l.owner, l.dave))
	m, err = bob.Open(l.direct(l.dave, l.header(l.dave, to(l.bob)), "hello").Incoming())
	wantAlarm(t, m, err, CheckMember, "removed from the mesh")
}

func TestAge(t *testing.T) {
	l := newLetters(t)
	p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
	bob := l.reader(l.bob, nil)
	bob.Now = sealedAt.Add(SealedMaxAge)
	m, err := bob.Open(p.Incoming())
	wantText(t, m, err, "hello", TrustVerified)

	bob.Now = bob.Now.Add(time.Millisecond)
	m, err = bob.Open(p.Incoming())
	expired, ok := errors.AsType[*ExpiredError](err)
	if m != nil || !ok || CodeOf(err) != CodeExpired || expired.Header.ID != "a-message-of-letters" {
		t.Fatalf("got %v, %v, want it expired", m, err)
	}
}

// A time that no honest sender can have is an alarm, whoever the sender is: so what waits for a certificate does not wait for
// ever, and the sender, who is proved, can be told.
func TestTimesFarFromOurs(t *testing.T) {
	l := newLetters(t)
	for _, from := range []*crypto.PrivateKey{l.alice, l.dave, l.mallory} { // verified, invited, unknown
		for _, test := range []struct {
			off   time.Duration
			alarm bool
		}{
			{MessageSpan, false}, {MessageSpan + time.Millisecond, true}, {200 * 365 * 24 * time.Hour, true},
			{-MessageSpan, false}, {-MessageSpan - time.Millisecond, true}, {-50 * 365 * 24 * time.Hour, true},
		} {
			h := l.header(from, to(l.bob))
			h.TS = sealedAt.Add(test.off).UnixMilli()
			m, err := l.bobReads(l.direct(from, h, "hello"))
			if !test.alarm {
				if CodeOf(err) == CodeAlarm {
					t.Errorf("%s: %v", test.off, err)
				}
				continue
			}
			wantAlarm(t, m, err, CheckAge, "more than 30 days from now")
			if alarm, _ := errors.AsType[*AlarmError](err); alarm.Header == nil || alarm.Header.From != from.Public() {
				t.Errorf("%s: the alarm has header %+v", test.off, alarm.Header)
			}
		}
	}
}

func TestForm(t *testing.T) {
	l := newLetters(t)
	for _, test := range []struct {
		name string
		edit func(*Push)
	}{
		{"nonce of 23 bytes", func(p *Push) { p.Nonce = encode64(make([]byte, 23)) }},
		{"nonce without padding", func(p *Push) { p.Nonce = strings.TrimRight(encode64(make([]byte, 25)), "=") }},
		{"nonce absent", func(p *Push) { p.Nonce = "" }},
		{"line end in the nonce", func(p *Push) { p.Nonce = p.Nonce[:8] + "\n" + p.Nonce[8:] }},
		{"space in the ciphertext", func(p *Push) { p.Ciphertext += " " }},
		{"line end in the ciphertext", func(p *Push) { p.Ciphertext = p.Ciphertext[:8] + "\n" + p.Ciphertext[8:] }},
		{"url alphabet", func(p *Push) { p.Ciphertext = "-_-_" + p.Ciphertext }},
		{"bits after the end", func(p *Push) { p.Ciphertext = encode64(make([]byte, 16))[:21] + "B==" }},
		{"ciphertext absent", func(p *Push) { p.Ciphertext = "" }},
		{"ciphertext too long", func(p *Push) { p.Ciphertext = encode64(make([]byte, MaxPlaintext+crypto.Overhead+1)) }},
		{"wrap of 115 bytes", func(p *Push) { p.Key = encode64(make([]byte, 115)) }},
		{"wrap of 117 bytes", func(p *Push) { p.Key = encode64(make([]byte, 117)) }},
	} {
		p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
		test.edit(p)
		m, err := l.bobReads(p)
		t.Log(test.name)
		wantAlarm(t, m, err, CheckForm, "base64")
	}
}

func TestSender(t *testing.T) {
	l := newLetters(t)
	smallOrder := crypto.PublicKey{0: 1}
	for _, sender := range []string{"", "alice", strings.ToUpper(to(l.alice)), to(l.alice) + "0", smallOrder.String()} {
		p := l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello")
		p.SenderPubkey = sender
		m, err := l.bobReads(p)
		wantAlarm(t, m, err, CheckSender, "the sender is not a key")
	}
	// A key that we cannot use is our fault and no alarm.
	broken := errors.New("the disk is gone")
	o := l.reader(l.bob, nil)
	o.Shared = func(_, _ crypto.PublicKey) (crypto.Key, error) { return crypto.Key{}, broken }
	if _, err := o.Open(l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello").Incoming()); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the cause", err)
	}
}

// One message that is wrong in every way is made right check by check: each time the next one speaks.
func TestChecksInTheirOrder(t *testing.T) {
	l := newLetters(t)
	old := l.header(l.mallory, to(l.bobWeb))
	old.TS = sealedAt.Add(-SealedMaxAge - time.Hour).UnixMilli()
	hdr := func(change func(*Header)) string {
		h := *old
		change(&h)
		return string(encodeUnchecked(t, &h))
	}
	wrongMember := func(h *Header) { h.Member = l.alice.Public() }
	wrongMesh := func(h *Header) { h.Mesh = "0VJW4Te4PbxnMUrzthI6N0nwT3rVsN4T"; wrongMember(h) }
	revoked := l.sign(&Revoke{Mesh: l.mesh, Issuer: l.owner.Public(), Kind: RevokeKey, Target: l.mallory.Public(), At: 1}, l.owner)
	bob := l.reader(l.bob, []*crypto.PrivateKey{l.bobWeb}, revoked)
	sealed := func(plain []byte) Incoming {
		p := l.boxed(l.mallory, l.bobWeb, old, plain)
		p.SenderMemberPubkey = ""
		return p.Incoming()
	}

	in := sealed(forged(l.mallory, hdr(wrongMesh), "x"))
	in.Nonce, in.Sender, in.Ciphertext = "", "", encode64(make([]byte, 200))
	want := func(check int) {
		t.Helper()
		m, err := bob.Open(in)
		wantAlarm(t, m, err, check, "")
	}
	want(CheckForm)
	in.Nonce = encode64(make([]byte, 24))
	want(CheckSender)
	in.Sender = to(l.mallory)
	want(CheckBox)
	in = sealed(forged(l.cathy, hdr(wrongMesh), "x"))
	want(CheckEnvelope)
	in = sealed(forged(l.mallory, hdr(wrongMesh), "x"))
	want(CheckBinding)
	in = sealed(forged(l.mallory, hdr(wrongMember), "x"))
	want(CheckAttested)
	in = sealed(forged(l.mallory, hdr(func(h *Header) { h.TS = 1 }), "x"))
	want(CheckAge)
	in = sealed(forged(l.mallory, hdr(func(*Header) {}), "x"))
	want(CheckMember)
	bob = l.reader(l.bob, []*crypto.PrivateKey{l.bobWeb})
	if _, err := bob.Open(in); !errors.Is(err, ErrHeld) {
		t.Fatalf("got %v, want it held: nobody stands behind mallory", err)
	}
	bob.Invited = func(crypto.PublicKey) (string, bool) { return "mallory", true }
	if _, err := bob.Open(in); CodeOf(err) != CodeExpired {
		t.Fatalf("got %v, want it expired", err)
	}
}

func TestSealRefuses(t *testing.T) {
	l := newLetters(t)
	shared := l.shared(l.alice, l.bob.Public())
	seal := func(change func(*Header), body string) error {
		h := l.header(l.alice, to(l.bob))
		change(h)
		_, _, err := SealDirect(h, []byte(body), l.alice, shared)
		return err
	}
	for name, change := range map[string]func(*Header){
		"short id":              func(h *Header) { h.ID = "short" },
		"quote in the id":       func(h *Header) { h.ID = `"""""""""""""""""` },
		"no mesh":               func(h *Header) { h.Mesh = "" },
		"from another":          func(h *Header) { h.From = l.bob.Public() },
		"signed by another":     func(h *Header) { h.From, h.Member = l.bob.Public(), l.bob.Public() },
		"to a group":            func(h *Header) { h.To, h.Seq = "*", 0 },
		"no seq":                func(h *Header) { h.Seq = 0 },
		"seq of 2⁵³":            func(h *Header) { h.Seq = 1 << 53 },
		"receipt with seq":      func(h *Header) { h.Kind = KindReceipt },
		"ping with seq":         func(h *Header) { h.Kind = KindPing },
		"card for one":          func(h *Header) { h.Kind = KindCard },
		"no priority":           func(h *Header) { h.Prio = "" },
		"no time":               func(h *Header) { h.TS = 0 },
		"epoch":                 func(h *Header) { h.Ep = "00112233445566AA" },
		"kind":                  func(h *Header) { h.Kind = "A" },
		"reply_to":              func(h *Header) { h.ReplyTo = "x" },
		"topic":                 func(h *Header) { h.Topic = "A" },
		"meta is a list":        func(h *Header) { h.Meta = []byte("[]") },
		"meta twice":            func(h *Header) { h.Meta = []byte(`{"a":{"b":1,"b":2}}`) },
		"att of a member key":   func(h *Header) { h.Att = l.attest(l.alice, l.aliceWeb, nil) },
		"no att of another key": func(h *Header) { h.Member = l.bob.Public() },
	} {
		if err := seal(change, "hello"); CodeOf(err) != CodeInvalid {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	same := func(*Header) {}
	if err := seal(same, strings.Repeat("x", MaxBody)); err != nil {
		t.Errorf("longest body: %v", err)
	}
	if err := seal(same, strings.Repeat("x", MaxBody+1)); CodeOf(err) != CodePayloadTooLarge {
		t.Errorf("body too long: got %v", err)
	}
	if err := seal(same, "\xff"); CodeOf(err) != CodeInvalid {
		t.Errorf("not UTF-8: got %v", err)
	}
	if err := seal(func(h *Header) { h.Meta = []byte(`{"a":"` + strings.Repeat("x", MaxHeader) + `"}`) }, ""); CodeOf(err) != CodePayloadTooLarge {
		t.Errorf("header too long: got %v", err)
	}
	if _, err := SealGroup(l.header(l.alice, to(l.bob)), nil, l.alice); CodeOf(err) != CodeInvalid {
		t.Errorf("group of one key: got %v", err)
	}
	for _, nobody := range []string{"", "bob", "@", "@Backend", "#general", "**"} {
		if _, err := SealGroup(l.header(l.alice, nobody), nil, l.alice); CodeOf(err) != CodeInvalid {
			t.Errorf("to %q: got %v", nobody, err)
		}
	}
	for _, kind := range []string{KindReceipt, KindLog, KindPing} {
		h := l.header(l.alice, "*")
		h.Seq = 0
		h.Kind = kind
		if _, err := SealGroup(h, nil, l.alice); CodeOf(err) != CodeInvalid {
			t.Errorf("%s to all: got %v", kind, err)
		}
	}
}

// The largest envelope opens, and one whose lengths lie does not.
func TestEnvelopeLengths(t *testing.T) {
	l := newLetters(t)
	m, err := l.bobReads(l.direct(l.alice, l.header(l.alice, to(l.bob)), strings.Repeat("x", MaxBody)))
	wantText(t, m, err, strings.Repeat("x", MaxBody), TrustVerified)

	h := l.header(l.alice, to(l.bob))
	plain, err := signEnvelope(h, []byte("hello"), l.alice)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []byte{0x80, 0xff} {
		long := slices.Clone(plain)
		long[len(labelEnvelope)+crypto.SignatureSize] = n
		m, err = l.bobReads(l.boxed(l.alice, l.bob, h, long))
		wantAlarm(t, m, err, CheckEnvelope, "lengths")
	}
	m, err = l.bobReads(l.boxed(l.alice, l.bob, h, forged(l.alice, string(encodeUnchecked(t, h)), "\xff")))
	wantAlarm(t, m, err, CheckEnvelope, "not UTF-8")
	m, err = l.bobReads(l.boxed(l.alice, l.bob, h, forged(l.alice, string(encodeUnchecked(t, h)), strings.Repeat("x", MaxBody+1))))
	wantAlarm(t, m, err, CheckEnvelope, "lengths")
}
