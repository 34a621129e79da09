package protocol

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
)

// opened returns what bob opened of a message of alice's.
func (l *letters) opened(t *testing.T, kind, body string) *Message {
	t.Helper()
	h := l.header(l.alice, to(l.bob))
	if h.Kind = kind; kind == KindReceipt || kind == KindPing {
		h.Seq = 0
	}
	var p *Push
	if kind == KindCard {
		h.To, h.Seq = "*", 0
		g, err := SealGroup(h, []byte(body), l.alice)
		if err != nil {
			t.Fatal(err)
		}
		p = push(h, g.Nonce, g.Ciphertext)
		p.Key = encode64(g.Wrap(0, l.shared(l.alice, l.bob.Public())))
	} else {
		p = l.direct(l.alice, h, body)
	}
	m, err := l.bobReads(p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOnlyTextHasText(t *testing.T) {
	l := newLetters(t)
	for kind, want := range map[string]string{
		KindText: "hello", KindQuestion: "hello", KindReceipt: "", KindLog: "", KindCard: "", KindPing: "", "of_tomorrow": "",
	} {
		m := l.opened(t, kind, "hello")
		if text, trust := m.Text(); text != want || trust != TrustVerified || m.Kind() != kind {
			t.Errorf("kind %q: got %q (%s), want %q", kind, text, trust, want)
		}
		_, receipts := m.Receipts()
		_, log := m.LogStatements()
		_, card := m.Card()
		for of, err := range map[string]error{KindReceipt: receipts, KindLog: log, KindCard: card} {
			if err == nil {
				t.Errorf("kind %q: %q is taken for a %s", kind, "hello", of)
			}
			if fits := !strings.Contains(err.Error(), "is not a"); fits != (kind == of) {
				t.Errorf("kind %q read as %s: %v", kind, of, err)
			}
		}
	}
}

func TestReceipts(t *testing.T) {
	l := newLetters(t)
	want := []ReceiptBody{
		{ID: "a-message-of-letters", State: StateShown, At: 1, Rung: "channel"},
		{ID: "the-message-after-it", State: StateRefused, At: 1_700_000_000_000, Reason: "too <old>"},
	}
	body, err := EncodeReceipts(want)
	if err != nil {
		t.Fatal(err)
	}
	m := l.opened(t, KindReceipt, string(body))
	if got, err := m.Receipts(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if m.Seq() != 0 {
		t.Errorf("a receipt has number %d", m.Seq())
	}
	// The sender's own Receipts may be of a later version.
	m = l.opened(t, KindReceipt, `[{"id":"a-message-of-letters","state":"read","at":5,"mood":{"x":[]}}]`)
	if got, err := m.Receipts(); err != nil || len(got) != 1 || got[0].State != StateRead {
		t.Errorf("got %+v, %v", got, err)
	}
	// One that is not in order costs the others nothing.
	good := `{"id":"a-message-of-letters","state":"read","at":1}`
	for _, bad := range []string{`[1]`, `{"at":253402300800000}`, `{"at":9007199254740991}`, `{"state":"archived"}`} {
		bad = strings.Replace(bad, "{", `{"id":"the-message-after-it","state":"read",`, 1)
		bad = strings.Replace(bad, `"state":"read","state"`, `"state"`, 1)
		got, err := l.opened(t, KindReceipt, "["+good+","+bad+","+good+"]").Receipts()
		if CodeOf(err) != CodeInvalid || len(got) != 2 || got[1].ID != "a-message-of-letters" {
			t.Errorf("%s: got %+v, %v", bad, got, err)
		}
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", "[1]", `[{}]`, `[{"id":"a-message-of-letters","state":"read"}]`,
		`[{"id":"a-message-of-letters","state":"queued","at":1}]`, `[{"id":"short","state":"read","at":1}]`,
		`[{"ID":"a-message-of-letters","state":"read","at":1}]`, `[{"id":"a-message-of-letters","state":"read","at":-1}]`,
		`[{"id":"a-message-of-letters","state":"read","state":"shown","at":1}]`,
		`[{"id":"a-message-of-letters","state":"shown","at":1,"rung":"` + strings.Repeat("x", 201) + `"}]`,
		`[{"id":"a-message-of-letters","state":"read","at":1,"reason":"` + strings.Repeat("x", 201) + `"}]`,
		"[" + strings.Repeat(`{"id":"a-message-of-letters","state":"read","at":1},`, 256) + `{"id":"a-message-of-letters","state":"read","at":1}]`,
	} {
		if got, err := l.opened(t, KindReceipt, bad).Receipts(); CodeOf(err) != CodeInvalid || len(got) != 0 {
			t.Errorf("%.60q: got %+v, %v", bad, got, err)
		}
	}
	for _, bad := range [][]ReceiptBody{nil, {{}}, {{ID: "a-message-of-letters", State: StateRead, At: MaxMillis + 1}}, {{ID: "a-message-of-letters", State: StateAccepted, At: 1}}, make([]ReceiptBody, 257)} {
		if _, err := EncodeReceipts(bad); CodeOf(err) != CodeInvalid {
			t.Errorf("%d receipts are written: %v", len(bad), err)
		}
	}
	full := make([]ReceiptBody, maxReceipts)
	for i := range full {
		full[i] = ReceiptBody{ID: "a-message-of-letters", State: StateRead, At: 1, Reason: strings.Repeat("\x01", maxReasonBytes)}
	}
	if _, err := EncodeReceipts(full); CodeOf(err) != CodeInvalid {
		t.Errorf("receipts that fill more than a body: %v", err)
	}
}

func TestLogs(t *testing.T) {
	l := newLetters(t)
	small := l.certs[0]
	huge := func(n int) *Statement {
		keep := make([]ID, n)
		for i := range keep {
			keep[i] = ID(crypto.Hash([]byte(fmt.Sprint(i))))
		}
		return l.sign(&Revoke{Mesh: l.mesh, Issuer: l.owner.Public(), Kind: RevokeKey, Target: l.dave.Public(), Keep: keep, At: 1}, l.owner)
	}
	tooLong, long := huge(1700), huge(1355) // the second one fills a body alone
	// Hand-overs in their order, admins, removals, members: nothing rests on what comes after it.
	first := l.sign(&OwnerChange{Mesh: l.mesh, By: l.owner.Public(), N: 1, New: l.dave.Public()}, l.owner)
	second := l.sign(&OwnerChange{Mesh: l.mesh, By: l.dave.Public(), N: 2, New: l.mallory.Public()}, l.dave)
	admin := l.sign(&Cert{l.mesh, l.owner.Public(), l.bob.Public(), "bob", RoleAdmin, 1}, l.owner)
	bodies := EncodeLog([]*Statement{small, tooLong, second, long, small, admin, first, small})
	if len(bodies) != 3 {
		t.Fatalf("got %d bodies, want 3", len(bodies))
	}
	var got []ID
	for _, b := range bodies {
		if len(b) > MaxBody {
			t.Fatalf("a body of %d bytes", len(b))
		}
		statements, err := l.opened(t, KindLog, string(b)).LogStatements()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			got = append(got, s.ID)
		}
	}
	if want := []ID{first.ID, second.ID, admin.ID, long.ID, small.ID, small.ID, small.ID}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if EncodeLog(nil) != nil {
		t.Error("nothing to say, and it is said")
	}
	// What cannot be read does not hide what can.
	m := l.opened(t, KindLog, `["","bm90aGluZw","`+small.Text()+`"]`)
	if s, err := m.LogStatements(); err != nil || len(s) != 1 || s[0].ID != small.ID {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestCards(t *testing.T) {
	l := newLetters(t)
	want := &Card{Summary: "fixing <the> build", Cwd: "/src", Host: "box", Model: "opus", Title: "t", SessionID: "s"}
	body, err := EncodeCard(want)
	if err != nil {
		t.Fatal(err)
	}
	m := l.opened(t, KindCard, string(body))
	if got, err := m.Card(); err != nil || *got != *want {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := l.opened(t, KindCard, `{"later":{"a":1},"host":"box"}`).Card(); err != nil || got.Host != "box" {
		t.Errorf("got %+v, %v", got, err)
	}
	long := strings.Repeat("x", maxCardBytes)
	for _, bad := range []string{"", "[]", `{"host":1}`, `{"host":"a","host":"b"}`, `{"summary":"` + long + `"}`} {
		if got, err := l.opened(t, KindCard, bad).Card(); CodeOf(err) != CodeInvalid {
			t.Errorf("%.40q: got %+v, %v", bad, got, err)
		}
	}
	if _, err := EncodeCard(&Card{Summary: long}); CodeOf(err) != CodePayloadTooLarge {
		t.Errorf("a card that is too long is written: %v", err)
	}
}

func TestMessageOnDisk(t *testing.T) {
	l := newLetters(t)
	h := l.fromSession("@backend", l.attest(l.alice, l.aliceWeb, nil))
	h.Meta = []byte(`{"a": 1}`)
	fromGroup, err := l.bobReads(l.group(l.aliceWeb, h, "hello all", l.bob)[0])
	if err != nil {
		t.Fatal(err)
	}
	invited, err := l.bobReads(l.direct(l.dave, l.header(l.dave, to(l.bob)), "let me in"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Message{fromGroup, invited, l.opened(t, "of_tomorrow", "kept"), l.opened(t, KindText, "")} {
		row, err := m.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var got Message
		if err := got.UnmarshalBinary(row); err != nil {
			t.Fatal(err)
		}
		clear(row) // nothing of it is kept
		again, err := got.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		want, _ := m.MarshalBinary()
		if !bytes.Equal(again, want) || !reflect.DeepEqual(got.Header(), m.Header()) {
			t.Errorf("got %+v, want %+v", got, m)
		}
		text, trust := got.Text()
		wantText, wantTrust := m.Text()
		if text != wantText || trust != wantTrust || got.Name() != m.Name() || got.Label() != m.Label() ||
			got.Seq() != m.Seq() || got.Group() != m.Group() || got.Opened() != m.Opened() {
			t.Errorf("got %+v, want %+v", got, m)
		}
		want[5] = 2 // neither direct nor group
		if err := new(Message).UnmarshalBinary(want); err == nil {
			t.Error("a damaged row is taken")
		}
		want[5] = boolByte(m.Group())
		// A damaged row is refused or is another message; it never panics.
		for n := range want {
			if err := new(Message).UnmarshalBinary(want[:n]); err == nil && n < len(want)-len(m.body) {
				t.Fatalf("a row cut at %d of %d is taken", n, len(want))
			}
		}
	}
	if _, err := new(Message).MarshalBinary(); err == nil {
		t.Error("a message that nobody opened is stored")
	}
}

func FuzzUnmarshalMessage(f *testing.F) {
	l := newLetters(f)
	m, err := l.bobReads(l.direct(l.alice, l.header(l.alice, to(l.bob)), "hello"))
	if err != nil {
		f.Fatal(err)
	}
	row, err := m.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, row []byte) {
		var m Message
		if m.UnmarshalBinary(row) != nil {
			return
		}
		if again, err := m.MarshalBinary(); err != nil || !bytes.Equal(again, row) {
			t.Fatalf("got %x, %v, want %x", again, err, row)
		}
	})
}

// Whatever alice signs and seals, and whatever the broker writes beside it, Open says something; and it is hers only if she
// signed it. The key of a box can make boxes of either side, so plain is as somebody makes it who has that key and not alice's.
func FuzzOpen(f *testing.F) {
	l := newLetters(f)
	hdr, err := EncodeHeader(l.header(l.alice, to(l.bob)))
	if err != nil {
		f.Fatal(err)
	}
	genuine := forged(l.alice, string(hdr), "hello")
	f.Add(genuine, uint16(0), byte(0), string(hdr), "", "", "")
	f.Add(genuine, uint16(len(genuine)-1), byte(1), string(hdr), "next", "", to(l.bob))
	f.Add([]byte("\x00cm2"), uint16(0), byte(0), "{}", "now", "AAAA", to(l.bob))
	bob := l.reader(l.bob, []*crypto.PrivateKey{l.bobWeb})
	f.Fuzz(func(t *testing.T, plain []byte, at uint16, by byte, signed, priority, key, target string) {
		l := *l
		l.tb = t
		for _, plain := range [][]byte{flip(plain, at, by), forged(l.alice, signed, "hello")} {
			p := l.boxed(l.alice, l.bob, l.header(l.alice, to(l.bob)), plain)
			p.Priority, p.Key, p.TargetSpec = priority, key, target
			m, err := bob.Open(p.Incoming())
			if (m == nil) == (err == nil) {
				t.Fatalf("got %v and %v", m, err)
			}
			if err != nil {
				continue
			}
			if h := string(m.rawHeader); string(m.body) != "hello" || h != signed && h != string(hdr) {
				t.Fatalf("opened what alice did not sign: %s, %q", m.rawHeader, m.body)
			}
			h := m.Header()
			if h.From != l.alice.Public() || h.To != to(l.bob) || priority != "" && priority != h.Prio || target != "" && target != h.To || key != "" {
				t.Fatalf("opened as %+v, beside %q, %q, %q", h, priority, key, target)
			}
		}
	})
}

// One byte of anything in an honest frame is changed, and one text is put in the place of another: what opens says what was
// said, to whom it was said.
func FuzzOpenEdited(f *testing.F) {
	l := newLetters(f)
	bob, mail := bobsMail(l)
	kinds := slices.Sorted(maps.Keys(mail))
	for i := range kinds {
		for field := range byte(9) {
			f.Add(byte(i), field, uint16(5), byte(0), "")
			f.Add(byte(i), field, uint16(40), byte(1), "now")
		}
	}
	honest := make(map[string]*Message)
	for kind, in := range mail {
		m, err := bob.Open(in)
		if err != nil {
			f.Fatal(err)
		}
		honest[kind] = m
	}
	f.Fuzz(func(t *testing.T, kind, field byte, at uint16, by byte, text string) {
		name := kinds[int(kind)%len(kinds)]
		in, want := mail[name], honest[name]
		stated := []*string{&in.Sender, &in.SenderMember, &in.Target, &in.Priority, &in.Nonce, &in.Ciphertext, &in.Key, &in.ClientID, &in.Topic}
		edited := stated[int(field)%len(stated)]
		if by == 0 {
			*edited = text
		}
		*edited = string(flip([]byte(*edited), at, by))
		m, err := bob.Open(in)
		if err != nil {
			return
		}
		if !bytes.Equal(m.rawHeader, want.rawHeader) || !bytes.Equal(m.body, want.body) || m.Seq() != want.Seq() || m.Name() != want.Name() ||
			m.Label() != want.Label() || m.Trust() != want.Trust() || m.Opened() != want.Opened() || m.Group() != want.Group() {
			t.Fatalf("%s: opened as %+v", name, m)
		}
		for _, s := range [][2]string{{in.Target, m.header.To}, {in.Priority, m.header.Prio}, {in.ClientID, m.header.ID}, {in.Topic, m.header.Topic},
			{in.SenderMember, m.header.Member.String()}, {in.Sender, m.header.From.String()}} {
			if s[0] != "" && s[0] != s[1] {
				t.Fatalf("%s: opened beside %q, signed is %q", name, s[0], s[1])
			}
		}
	})
}

func BenchmarkSealDirect(b *testing.B) {
	l := newLetters(b)
	h, body := l.header(l.alice, to(l.bob)), bytes.Repeat([]byte("x"), 1024)
	shared := l.shared(l.alice, l.bob.Public())
	for b.Loop() {
		if _, _, err := SealDirect(h, body, l.alice, shared); err != nil {
			b.Fatal(err)
		}
	}
}

// bobsMail is what bob opens, and who reads: from a member's key, from a session, and for a group.
func bobsMail(l *letters) (bob *Opener, mail map[string]Incoming) {
	body := strings.Repeat("x", 1024)
	bob = l.reader(l.bob, nil)
	bob.Attested = new(Attested)
	return bob, map[string]Incoming{
		"member":  l.direct(l.alice, l.header(l.alice, to(l.bob)), body).Incoming(),
		"session": l.direct(l.aliceWeb, l.fromSession(to(l.bob), l.attest(l.alice, l.aliceWeb, nil)), body).Incoming(),
		"group":   l.group(l.alice, l.header(l.alice, "*"), body, l.bob)[0].Incoming(),
	}
}

// The machine's speed changes with what else it does. What is Open's own is the ratio of its best time to that of the one
// signature that it cannot do without.
func BenchmarkOpen(b *testing.B) {
	l := newLetters(b)
	bob, mail := bobsMail(l)
	signed := bytes.Repeat([]byte("x"), 1600) // a block of such a message
	sig := l.alice.Sign(signed)
	for name, in := range mail {
		b.Run(name, func(b *testing.B) {
			open, verify := time.Hour, time.Hour
			for b.Loop() {
				start := time.Now()
				if _, err := bob.Open(in); err != nil {
					b.Fatal(err)
				}
				open = min(open, time.Since(start))
			}
			for range 1000 {
				start := time.Now()
				crypto.Verify(l.alice.Public(), signed, sig)
				verify = min(verify, time.Since(start))
			}
			b.ReportMetric(float64(open)/float64(verify), "verify/op")
			b.ReportMetric(float64(open), "best-ns/op")
		})
	}
}

// Opening is for every message: it allocates a piece for what it keeps of one, and not for each name in it.
func TestOpenAllocates(t *testing.T) {
	l := newLetters(t)
	bob, mail := bobsMail(l)
	for name, in := range mail {
		n := testing.AllocsPerRun(100, func() {
			if _, err := bob.Open(in); err != nil {
				t.Fatal(err)
			}
		})
		if n > 30 { // 14 to 20, and with libsodium six more for its copies
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A first message to 500 people: every shared key is derived.
func BenchmarkSealGroup500Cold(b *testing.B) {
	l := newLetters(b)
	h, body := l.header(l.alice, "*"), bytes.Repeat([]byte("x"), 1024)
	peers := make([]crypto.PublicKey, 500)
	for i := range peers {
		peers[i] = crypto.GenerateKey().Public()
	}
	for b.Loop() {
		g, err := SealGroup(h, body, l.alice)
		if err != nil {
			b.Fatal(err)
		}
		keys := crypto.NewSharedCache(l.alice, len(peers))
		for i, p := range peers {
			shared, err := keys.Shared(p)
			if err != nil {
				b.Fatal(err)
			}
			g.Wrap(uint64(i+1), &shared)
		}
	}
}

func BenchmarkSealGroup500(b *testing.B) {
	l := newLetters(b)
	h, body := l.header(l.alice, "*"), bytes.Repeat([]byte("x"), 1024)
	shared := l.shared(l.alice, l.bob.Public())
	for b.Loop() {
		g, err := SealGroup(h, body, l.alice)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 500 {
			g.Wrap(uint64(i+1), shared)
		}
	}
}
