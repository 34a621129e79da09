package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
)

func TestBlock(t *testing.T) {
	got := EncodeBlock("ab", []byte("x"), nil)
	want := "claudemesh3\x00" + "\x02ab" + "\x00\x02" + "\x00\x00\x00\x01x" + "\x00\x00\x00\x00"
	if string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
	ctx, fields, rest, err := DecodeBlock(append(got, "rest"...))
	if ctx != "ab" || len(fields) != 2 || string(fields[0]) != "x" || len(fields[1]) != 0 || string(rest) != "rest" || err != nil {
		t.Errorf("%q %q %q %v", ctx, fields, rest, err)
	}
}

// What is cut anywhere is refused, and no two ways of dividing the same text into fields give the same block.
func TestBlockIsUnambiguous(t *testing.T) {
	whole := EncodeBlock("cert", []byte("alice"), []byte("admin"))
	for n := range whole {
		_, _, _, err := DecodeBlock(whole[:n])
		wantCode(t, err, CodeBadStatement)
	}
	seen := make(map[string]string)
	for _, parts := range [][]string{{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"a", "b", "c"}} {
		var fields [][]byte
		for _, p := range parts[1:] {
			fields = append(fields, []byte(p))
		}
		block := string(EncodeBlock(parts[0], fields...))
		if other, ok := seen[block]; ok {
			t.Errorf("%q and %s are one block", parts, other)
		}
		seen[block] = fmt.Sprintf("%q", parts)
	}
}

// A few bytes that promise many fields cost no memory.
func TestBlockPromises(t *testing.T) {
	b := append([]byte(magic), 0, 255, 255)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		DecodeBlock(b)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 256<<10 {
		t.Errorf("ten times %d bytes cost %d", len(b), after.TotalAlloc-before.TotalAlloc)
	}
	_, _, _, err := DecodeBlock(append(EncodeBlock("x", []byte("y"))[:15], 255, 255, 255, 255))
	wantCode(t, err, CodeBadStatement)
}

func TestBlockThatDoesNotFit(t *testing.T) {
	for name, f := range map[string]func(){
		"context": func() { EncodeBlock(string(make([]byte, 256))) },
		"fields":  func() { EncodeBlock("x", make([][]byte, 65536)...) },
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
	EncodeBlock(string(make([]byte, 255)), make([][]byte, 65535)...)
}

func FuzzDecodeBlock(f *testing.F) {
	f.Add(EncodeBlock("cert", []byte("alice"), nil))
	f.Add(append(EncodeBlock("", []byte("x")), 1, 2, 3))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, fields, rest, err := DecodeBlock(b)
		if err != nil {
			return
		}
		if again := append(EncodeBlock(ctx, fields...), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// flip changes one byte of b, as an attacker does who has something genuine: what is nearly signed is where a verifier errs.
func flip(b []byte, at uint16, by byte) []byte {
	if len(b) == 0 || by == 0 {
		return b
	}
	b = bytes.Clone(b)
	b[int(at)%len(b)] ^= by
	return b
}

// Nothing is a statement of somebody's but what he signed.
func FuzzParse(f *testing.F) {
	signed, people := make(map[ID]bool), make(map[crypto.PublicKey]bool)
	for _, c := range samples() {
		s := mustSign(f, c.body, c.keys...)
		signed[s.ID] = true
		for _, k := range c.keys {
			people[k.Public()] = true
		}
		f.Add(s.Raw(), uint16(0), byte(0))
		f.Add(s.Raw(), uint16(len(s.Raw())-1), byte(0x80))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint16, by byte) {
		for _, b := range [][]byte{b, flip(b, at, by)} {
			s, err := Parse(b)
			if err != nil {
				if code := CodeOf(err); code != CodeBadStatement && code != CodeBadSignature {
					t.Errorf("%v has the code %s", err, code)
				}
				continue
			}
			wantSameBytes(t, s, b)
			for _, k := range s.Body.signers() {
				if people[k] && !signed[s.ID] {
					t.Fatalf("%+v is believed, and %s never signed it", s.Body, k.Short())
				}
			}
		}
	})
}

// Behind the signatures: what passes the rules of its fields encodes to the same fields.
func FuzzFields(f *testing.F) {
	for _, c := range samples() {
		block, err := encodeBody(c.body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(block)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, fields, rest, err := DecodeBlock(b)
		kind, known := bodies[ctx]
		if err != nil || !known || len(fields) != kind.fields || len(rest) > 0 || len(b) > MaxStatement-128 {
			return
		}
		body := kind.empty()
		if decodeBody(body, fields, "") != nil {
			return
		}
		again, err := encodeBody(body)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%+v: %x became %x, %v", body, b, again, err)
		}
	})
}

func wantSameBytes(t *testing.T, s *Statement, b []byte) {
	block, err := encodeBody(s.Body)
	if err != nil || !bytes.HasPrefix(b, block) || !bytes.Equal(s.Raw(), b) {
		t.Errorf("%x became %x, %v", b, block, err)
	}
	if again, err := ParseText(s.Text()); err != nil || again.ID != s.ID {
		t.Errorf("its text: %v", err)
	}
}

func TestItems(t *testing.T) {
	long := binary.BigEndian.AppendUint32(nil, 1<<31)
	if _, _, ok := cutItem(append(long, 'x')); ok {
		t.Error("an item longer than all there is")
	}
	item, rest, ok := cutItem(appendItem(appendItem(nil, []byte("a")), []byte("b")))
	if string(item) != "a" || len(rest) != 5 || cap(item) != 1 || !ok {
		t.Errorf("%q %q %v", item, rest, ok)
	}
}
