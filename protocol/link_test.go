package protocol

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

func sampleLink(t testing.TB) (string, *Statement) {
	t.Helper()
	invite := samplesStatement(t, KindInvite)
	return MakeLink(invite, seeded(9).Seed()), invite
}

func TestLink(t *testing.T) {
	s, invite := sampleLink(t)
	if len(s) > 500 {
		t.Errorf("a link has %d characters", len(s))
	}
	link, err := ParseLink(s)
	if err != nil {
		t.Fatal(err)
	}
	if link.Invite.ID != invite.ID || link.Inv != link.Invite.Body || link.Key.Public() != link.Inv.Link {
		t.Errorf("%+v", link.Inv)
	}
}

// linkOf makes a link of these fields, good or not.
func linkOf(ctx string, fields ...[]byte) string {
	return LinkPrefix + base64URL.EncodeToString(EncodeBlock(ctx, fields...))
}

func TestMangledLinks(t *testing.T) {
	s, invite := sampleLink(t)
	seed := seeded(9).Seed()
	other := seeded(8).Seed()
	unsigned := slices.Clone(invite.Raw())
	unsigned[len(unsigned)-1] ^= 1
	for name, c := range map[string]struct {
		link string
		code Code
	}{
		"nothing":           {"", CodeInvalid},
		"blanks":            {" \n", CodeInvalid},
		"prefix alone":      {LinkPrefix, CodeInvalid},
		"another scheme":    {strings.Replace(s, "ic://", "https://", 1), CodeInvalid},
		"no prefix":         {strings.TrimPrefix(s, LinkPrefix), CodeInvalid},
		"standard base64":   {strings.NewReplacer("-", "+", "_", "/").Replace(s), CodeInvalid},
		"trailing bits":     {s[:len(s)-1] + "l", CodeInvalid},
		"another context":   {linkOf("invite", invite.Raw(), seed[:]), CodeInvalid},
		"one field":         {linkOf("link", invite.Raw()), CodeInvalid},
		"three fields":      {linkOf("link", invite.Raw(), seed[:], nil), CodeInvalid},
		"a short seed":      {linkOf("link", invite.Raw(), seed[:31]), CodeInvalid},
		"another seed":      {linkOf("link", invite.Raw(), other[:]), CodeInvalid},
		"a bad signature":   {linkOf("link", unsigned, seed[:]), CodeInvalid},
		"another statement": {linkOf("link", samplesStatement(t, KindCert).Raw(), seed[:]), CodeInvalid},
		"no statement":      {linkOf("link", nil, seed[:]), CodeInvalid},
		"far too long":      {LinkPrefix + strings.Repeat("A", 1<<20), CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			link, err := ParseLink(c.link)
			wantCode(t, err, c.code)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Hint == "" || link != nil {
				t.Errorf("%v, %+v: want an error that says what to do", link, err)
			}
		})
	}
	for n := range s {
		link, err := ParseLink(s[:n])
		if wantCode(t, err, CodeInvalid); link != nil {
			t.Fatalf("a link cut to %d characters is taken", n)
		}
	}
	for i := len(LinkPrefix); i < len(s); i++ { // no character may be another
		bent := []byte(s)
		if bent[i] = 'A'; s[i] == 'A' {
			bent[i] = 'B'
		}
		if _, err := ParseLink(string(bent)); err == nil {
			t.Fatalf("a link with another character %d is taken", i)
		}
	}
}

// Links of the original claudemesh, in every form that people paste, are named as what they are.
func TestOriginalLinks(t *testing.T) {
	for _, link := range []string{
		LinkPrefix + "eyJ2IjoxfQ", "eyJ2IjoxfQ", "https://claudemesh.com/join/eyJ2IjoxfQ", "https://www.claudemesh.com/en/join/eyJ2IjoxfQ",
		"https://claudemesh.com/i/abc12345", "claudemesh.com/i/abc12345", "claudemesh://i/abc12345", "claudemesh://join/eyJ2IjoxfQ",
		"hi bob, join us: <https://claudemesh.com/i/abc12345>\n", "claudemesh join https://claudemesh.com/i/abc12345",
	} {
		_, err := ParseLink(link)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeNotSupported || !strings.Contains(e.Message, "original claudemesh") || !strings.Contains(e.Hint, "claudemesh invite") {
			t.Errorf("%q: %v, want a refusal that names the original claudemesh and what helps", link, err)
		}
	}
	for _, link := range []string{"https://claudemesh.com/pricing", "https://claudemesh.example.com/i/abc", "hello", "eyJhbGciOiJIUzI1NiJ9.e30.x"} {
		_, err := ParseLink(link)
		wantCode(t, err, CodeInvalid)
	}
}

func TestLinkErrorsKeepTheSecret(t *testing.T) {
	_, invite := sampleLink(t)
	other := seeded(8).Seed()
	bad := linkOf("link", invite.Raw(), other[:])
	_, err := ParseLink(bad)
	e, _ := errors.AsType[*Error](err)
	if strings.Contains(e.Message+e.Hint, bad[len(bad)-20:]) {
		t.Errorf("%q repeats the link", e.Message)
	}
}

func TestMakeLinkOfSomethingElse(t *testing.T) {
	for name, f := range map[string]func(){
		"another kind": func() { MakeLink(samplesStatement(t, KindCert), [crypto.SeedSize]byte{}) },
		"another seed": func() { MakeLink(samplesStatement(t, KindInvite), seeded(8).Seed()) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// Nothing is a link of alice's but what she signed, with its own seed.
func FuzzParseLink(f *testing.F) {
	genuine, invite := sampleLink(f)
	for _, s := range []string{genuine, genuine[:100], LinkPrefix + "eyJ", linkOf("link", invite.Raw())} {
		f.Add(s, uint16(0), byte(0))
	}
	f.Add(genuine, uint16(300), byte(1))
	f.Fuzz(func(t *testing.T, s string, at uint16, by byte) {
		s = string(flip([]byte(s), at, by))
		link, err := ParseLink(s)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Hint == "" {
				t.Errorf("%v is no help", err)
			}
			return
		}
		again, err := ParseLink(MakeLink(link.Invite, link.Key.Seed()))
		if err != nil || again.Invite.ID != link.Invite.ID {
			t.Errorf("made again: %v", err)
		}
		if link.Inv.Issuer == invite.Signer() && link.Invite.ID != invite.ID || link.Key.Public() != link.Inv.Link {
			t.Fatalf("a link that alice never made: %+v", link.Inv)
		}
	})
}
