package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestHeaderIsStrict(t *testing.T) {
	v := readSealVectors(t)
	good, err := EncodeHeader(vectorHeader(t, v))
	if err != nil {
		t.Fatal(err)
	}
	key := to(seeded(2))
	for _, test := range []struct{ name, old, new string }{
		{"id twice", `{"id":`, `{"id":"0000000000000000000000000000000A","id":`},
		{"id twice, the second one escaped", `{"id":`, `{"\u0069d":"0000000000000000000000000000000A","id":`},
		{"folded name", `"prio"`, `"Prio"`},
		{"folded name beside the right one", `"prio"`, `"Prio":"now","prio"`},
		{"name with a long s", `"seq":1`, `"ſeq":1,"seq":1`},
		{"unknown name", `{"id":`, `{"x":1,"id":`},
		{"empty name", `{"id":`, `{"":1,"id":`},
		{"something after it", `"}`, `"} {}`},
		{"a comma after it", `"}`, `"},`},
		{"zero byte after it", `"}`, "\"}\x00"},
		{"a list", `{"id"`, `[{"id"`},
		{"no priority", `"prio":"next",`, ``},
		{"no log", `,"log":"` + v.LogDigest + `"`, ``},
		{"another priority", `"next"`, `"soon"`},
		{"empty priority", `"next"`, `""`},
		{"null priority", `"next"`, `null`},
		{"priority is a number", `"next"`, `1`},
		{"time is a text", `1700000000000`, `"1700000000000"`},
		{"time with exponent", `1700000000000`, `17e11`},
		{"time with a fraction", `1700000000000`, `1700000000000.0`},
		{"negative time", `1700000000000`, `-1700000000000`},
		{"time after the year 9999", `1700000000000`, `253402300800000`},
		{"time of 2⁵³−1", `1700000000000`, `9007199254740991`},
		{"time of 2⁵³", `1700000000000`, `9007199254740992`},
		{"seq of zero", `"seq":1`, `"seq":0`},
		{"seq of 2⁶⁴+1", `"seq":1`, `"seq":18446744073709551617`},
		{"no seq", `"seq":1,`, ``},
		{"capital in a key", key + `","member"`, strings.ToUpper(key) + `","member"`},
		{"short key", key + `","member"`, key[1:] + `","member"`},
		{"capital in to", to(seeded(3)), strings.ToUpper(to(seeded(3)))},
		{"target without a rule", `"` + to(seeded(3)), `"bob`},
		{"group of a wrong name", to(seeded(3)), `@Backend`},
		{"seq for a group", to(seeded(3)), `@backend`},
		{"epoch", `0011223344556677`, `001122334455667`},
		{"capital in the digest", v.LogDigest, strings.ToUpper(v.LogDigest)},
		{"mesh id", string(v.MeshID), string(v.MeshID[1:])},
		{"empty kind", `"ep"`, `"kind":"","ep"`},
		{"kind", `"ep"`, `"kind":"Text","ep"`},
		{"receipt with seq", `"ep"`, `"kind":"receipt","ep"`},
		{"card for one", `"ep"`, `"kind":"card","ep"`},
		{"att in another alphabet", `"ep"`, `"att":"a+b=","ep"`},
		{"meta is a text", `"ep"`, `"meta":"x","ep"`},
		{"meta is null", `"ep"`, `"meta":null,"ep"`},
		{"a number in meta that no float holds", `"ep"`, `"meta":{"a":1e400},"ep"`},
		{"twice in meta", `"ep"`, `"meta":{"a":1,"a":2},"ep"`},
		{"twice deep in meta", `"ep"`, `"meta":{"a":[{"b":1,"b":2}]},"ep"`},
		{"not UTF-8", `"ep"`, "\"meta\":{\"a\":\"\xff\"},\"ep\""},
		{"no comma", `","mesh"`, `" "mesh"`},
	} {
		if strings.Count(string(good), test.old) != 1 {
			t.Fatalf("%s: %q is not once in the header", test.name, test.old)
		}
		bad := strings.Replace(string(good), test.old, test.new, 1)
		if h, err := DecodeHeader([]byte(bad)); CodeOf(err) != CodeInvalid || h != nil {
			t.Errorf("%s: got %+v, %v, want it refused", test.name, h, err)
		}
	}
	for _, bad := range []string{"", "null", "{}", `"x"`, "1", strings.Repeat("[", 20000), strings.Repeat(" ", MaxHeader) + string(good)} {
		if _, err := DecodeHeader([]byte(bad)); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	group := vectorHeader(t, v)
	group.To, group.Seq = "*", 0
	good, err = EncodeHeader(group)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeHeader([]byte(strings.Replace(string(good), `"ep"`, `"seq":0,"ep"`, 1))); err == nil {
		t.Error("seq of zero for a group is taken")
	}
	// What JSON allows and the rules do not mention is taken.
	if _, err := DecodeHeader([]byte(strings.ReplaceAll(string(good), `,"`, " ,\n\t\""))); err != nil {
		t.Errorf("white space: %v", err)
	}
}

func TestHeaderRoundTrip(t *testing.T) {
	v := readSealVectors(t)
	plain, err := hex.DecodeString(v.Plain)
	if err != nil {
		t.Fatal(err)
	}
	_, fromVector, _, err := splitEnvelope(plain)
	if err != nil {
		t.Fatal(err)
	}
	full := vectorHeader(t, v)
	full.From, full.Att, full.Kind, full.ReplyTo = seeded(4).Public(), "YWJj", KindQuestion, "a-message-of-letters"
	full.Topic, full.Meta = "deploys/eu", []byte(`{"a":[1,{"b":null}]}`)
	group := vectorHeader(t, v)
	group.To, group.Seq = "#0123456789abcdefABCDEF", 0
	for _, h := range []*Header{vectorHeader(t, v), full, group} {
		b, err := EncodeHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeHeader(b)
		if err != nil || !reflect.DeepEqual(got, h) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, h)
		}
	}
	if b, _ := EncodeHeader(vectorHeader(t, v)); !bytes.Equal(b, fromVector) {
		t.Errorf("got %s\nwant %s", b, fromVector)
	}
}

func TestClientIDs(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		id := NewClientID()
		if !ValidClientID(id) || len(id) != 22 || seen[id] {
			t.Fatalf("%q is not a new id", id)
		}
		seen[id] = true
	}
	for id, want := range map[string]bool{
		strings.Repeat("x", 15): false, strings.Repeat("x", 16): true, strings.Repeat("_", 64): true, strings.Repeat("x", 65): false,
		"0123456789abcde.": false, "0123456789abcdeé": false,
	} {
		if ValidClientID(id) != want {
			t.Errorf("%q: got %v", id, !want)
		}
	}
}

// wantPlainReading has encoding/json read the header, too: who is stricter must not read something else.
func wantPlainReading(t *testing.T, h *Header, b []byte) {
	t.Helper()
	var plain map[string]json.RawMessage
	if err := json.Unmarshal(b, &plain); err != nil {
		t.Fatalf("decoded, but it is not JSON: %v", err)
	}
	for name, want := range map[string]any{
		"id": h.ID, "mesh": string(h.Mesh), "from": h.From.String(), "member": h.Member.String(), "to": h.To, "prio": h.Prio, "ep": h.Ep,
		"log": hex.EncodeToString(h.Log[:]), "att": h.Att, "kind": h.Kind, "reply_to": h.ReplyTo, "topic": h.Topic, "ts": uint64(h.TS), "seq": h.Seq,
	} {
		var text string
		var n uint64
		if raw := plain[name]; len(raw) > 0 {
			if err := errors.Join(json.Unmarshal(raw, map[bool]any{true: &text, false: &n}[raw[0] == '"'])); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if want != text && want != n {
			t.Fatalf("%s is %v, and encoding/json reads %s", name, want, plain[name])
		}
		delete(plain, name)
	}
	if !bytes.Equal(h.Meta, plain["meta"]) {
		t.Fatalf("meta is %s, and encoding/json reads %s", h.Meta, plain["meta"])
	}
	if delete(plain, "meta"); len(plain) != 0 {
		t.Fatalf("names that nobody knows: %v", plain)
	}
}

func FuzzDecodeHeader(f *testing.F) {
	l := newLetters(f)
	h := l.header(l.alice, to(l.bob))
	h.Meta = []byte(`{"a":{"b":[1,2,"c"]}}`)
	b, err := EncodeHeader(h)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(strings.Replace(string(b), `"id"`, `"\u0069d"`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHeader(b)
		if err != nil {
			return
		}
		wantPlainReading(t, h, b)
		if (h.Att == "") != (h.From == h.Member) {
			return // for Open to refuse
		}
		again, err := EncodeHeader(h)
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		if h2, err := DecodeHeader(again); err != nil || !reflect.DeepEqual(h, h2) {
			t.Fatalf("got %+v, %v, want %+v", h2, err, h)
		}
	})
}
