package protocol

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

var wrapSample = strings.Repeat("A", wrapText-1) + "="

// sampleSend is a send of alice's to bob, or with keys to him and cathy.
func sampleSend(keys ...string) Send {
	s := Send{
		Tag: Tag{Type: TypeSend, ReqID: "r1"}, ID: "a-message-of-letters", TargetSpec: strings.Repeat("ab", 32), Priority: PriorityNext,
		Nonce: strings.Repeat("A", 32), Ciphertext: strings.Repeat("Zm9v", 100), Kind: "receipt", Sender: strings.Repeat("cd", 32),
	}
	if len(keys) > 0 {
		s.TargetSpec, s.Keys = "@backend", make(map[string]string)
	}
	for _, k := range keys {
		s.Keys[k] = wrapSample
	}
	return s
}

func marshal(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// wantSame fails unless encoding/json reads from frame what the view holds.
func wantSame(t *testing.T, frame []byte, v *SendView) {
	t.Helper()
	var want Send
	if err := json.Unmarshal(frame, &want); err != nil {
		t.Fatalf("%s is taken, but encoding/json says: %v", frame, err)
	}
	for _, f := range []struct {
		name string
		got  []byte
		want string
	}{
		{"type", []byte("send"), want.Type}, {"_reqId", v.ReqID, want.ReqID}, {"id", v.ID, want.ID},
		{"client_message_id", v.ClientMessageID, want.ClientMessageID}, {"targetSpec", v.TargetSpec, want.TargetSpec},
		{"priority", v.Priority, want.Priority}, {"nonce", v.Nonce, want.Nonce}, {"ciphertext", v.Ciphertext, want.Ciphertext},
		{"sender", v.Sender, want.Sender}, {"kind", v.Kind, want.Kind},
	} {
		if string(f.got) != f.want {
			t.Fatalf("%s in %s: got %q, want %q", f.name, frame, f.got, f.want)
		}
	}
	n := 0
	for member, wrap := range v.Wraps() {
		if want.Keys[string(member)] != string(wrap) {
			t.Fatalf("key of %s in %s: got %q", member, frame, wrap)
		}
		n++
	}
	if n != v.NumWraps() || n != len(want.Keys) {
		t.Fatalf("got %d keys and NumWraps %d, want %d", n, v.NumWraps(), len(want.Keys))
	}
}

func TestSplitSend(t *testing.T) {
	alice, bob := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	for _, s := range []Send{sampleSend(), sampleSend(alice), sampleSend(bob, alice)} {
		frame := marshal(t, s)
		v, err := SplitSend(frame)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, frame, &v)
		if v.NumWraps() != len(s.Keys) {
			t.Errorf("got %d wraps, want %d", v.NumWraps(), len(s.Keys))
		}
	}
	for _, ok := range []string{
		` { "type" : "send" , "targetSpec":"*","priority":"low","nonce":"","ciphertext":"" } ` + "\r\n",
		`{"x":[{},[],"\u00e9\"\\",-0.5e+3,true,null,{"a":{"type":"x"}}],"targetSpec":"@all","type":"send","priority":"now","nonce":"","ciphertext":"","keys":{}}`,
		`{"targetSpec":"#general","type":"send","priority":"now","nonce":"","ciphertext":"QQ==","replyToId":"x","x":"` + "\xff" + `"}`,
	} {
		v, err := SplitSend([]byte(ok))
		if err != nil {
			t.Fatalf("%s: %v", ok, err)
		}
		wantSame(t, []byte(ok), &v)
	}
}

func TestSplitSendRefuses(t *testing.T) {
	alice, bob := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	good := string(marshal(t, sampleSend(alice, bob)))
	for _, test := range []struct{ name, old, new string }{
		{"another type", `"send"`, `"push"`},
		{"type twice", `{"type"`, `{"type":"send","type"`},
		{"id twice", `"id"`, `"id":"x","id"`},
		{"folded name", `"id"`, `"ID":"x","id"`},
		{"folded name alone", `"priority"`, `"Priority"`},
		{"escaped name", `"id"`, `"\u0069d"`},
		{"name that folds to a known one", `"kind"`, `"` + "\u212aind" + `":"x","kind"`},
		{"name that is not ASCII", `"kind"`, `"é":1,"kind"`},
		{"escape in a value", `a-message`, `a\u002dmessage`},
		{"escaped slash", `Zm9v`, `Zm9\/`},
		{"quote in a value", `a-message`, `a\"message`},
		{"JSON in the target", `"@backend"`, `"@b\",\"x\":\""`},
		{"angle bracket in the target", `@backend`, `@b<c`},
		{"control character", `a-message`, "a\x01message"},
		{"number for a text", `"a-message-of-letters"`, `7`},
		{"null for a text", `"a-message-of-letters"`, `null`},
		{"list for a text", `"a-message-of-letters"`, `["x"]`},
		{"priority", `"next"`, `"soon"`},
		{"no priority", `"priority":"next",`, ``},
		{"no target", `"targetSpec":"@backend",`, ``},
		{"base64 without padding", `"ciphertext":"`, `"ciphertext":"A`},
		{"padding in the middle", `"ciphertext":"`, `"ciphertext":"AA==`},
		{"url alphabet", `"ciphertext":"`, `"ciphertext":"A-_A`},
		{"short sender", `"sender":"cd`, `"sender":"`},
		{"capital in the sender", `"sender":"cd`, `"sender":"CD`},
		{"keys is null", `"keys":{`, `"keys":null,"x":{`},
		{"keys is a list", `"keys":{`, `"keys":[],"x":{`},
		{"a key twice", `{"` + alice, `{"` + alice + `":"` + wrapSample + `","` + alice},
		{"keys out of order", `{"` + alice, `{"` + bob + `":"` + wrapSample + `","` + alice},
		{"a short key", alice, alice[1:]},
		{"a wrap of another size", alice + `":"AAAA`, alice + `":"`},
		{"a wrap that is no text", `"` + alice + `":"`, `"` + alice + `":1,"` + strings.Repeat("a2", 32) + `":"`},
		{"two frames", `{"type"`, `{}{"type"`},
		{"a comma at the end", `"kind":"receipt"}`, `"kind":"receipt",}`},
		{"something after it", `"kind":"receipt"}`, `"kind":"receipt"}x`},
		{"zero byte after it", `"kind":"receipt"}`, "\"kind\":\"receipt\"}\x00"},
		{"cut off", `"kind":"receipt"}`, `"kind":"receipt"`},
		{"number with a zero in front", `{"type"`, `{"x":01,"type"`},
		{"number without digits", `{"type"`, `{"x":-,"type"`},
		{"number without a fraction", `{"type"`, `{"x":1.,"type"`},
		{"number without an exponent", `{"type"`, `{"x":1e,"type"`},
		{"bad escape", `{"type"`, `{"x":"\x","type"`},
		{"bad code point", `{"type"`, `{"x":"\u00g0","type"`},
		{"code point of control characters", `{"type"`, "{\"x\":\"\\u\x10\x11\x12\x13\",\"type\""},
		{"line end in a text", `{"type"`, "{\"x\":\"\n\",\"type\""},
		{"nested too deep", `{"type"`, `{"x":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `,"type"`},
		{"crossed brackets", `{"type"`, `{"x":[{]},"type"`},
		{"bad word", `{"type"`, `{"x":nul,"type"`},
	} {
		if strings.Count(good, test.old) != 1 && test.old != "Zm9v" {
			t.Fatalf("%s: %q is not once in the frame", test.name, test.old)
		}
		frame := strings.Replace(good, test.old, test.new, 1)
		if _, err := SplitSend([]byte(frame)); CodeOf(err) != CodeBadFrame {
			t.Errorf("%s: got %v for %s", test.name, err, frame)
		}
	}
	for _, bad := range []string{"", " ", "{", "{}", "[]", `"send"`, "null", `{"type":"send"}`} {
		if _, err := SplitSend([]byte(bad)); CodeOf(err) != CodeBadFrame {
			t.Errorf("%q: got %v", bad, err)
		}
	}
	// Whoever is refused can be told which message it was.
	v, err := SplitSend([]byte(`{"type":"send","id":"x1","priority":7}`))
	if err == nil || string(v.ID) != "x1" {
		t.Errorf("got id %q, %v", v.ID, err)
	}
}

func TestSplitSendHasAtMostMaxKeys(t *testing.T) {
	keys := func(n int) []byte {
		s := sampleSend("")
		clear(s.Keys)
		for i := range n {
			s.Keys[fmt.Sprintf("%064x", i)] = wrapSample
		}
		return marshal(t, s)
	}
	if v, err := SplitSend(keys(MaxKeys)); err != nil || v.NumWraps() != MaxKeys {
		t.Errorf("got %d wraps, %v", v.NumWraps(), err)
	}
	if _, err := SplitSend(keys(MaxKeys + 1)); CodeOf(err) != CodeBadFrame {
		t.Errorf("one more: got %v", err)
	}
}

func wantSameAck(t *testing.T, frame []byte, v *ClientAckView) {
	t.Helper()
	var want ClientAck
	if err := json.Unmarshal(frame, &want); err != nil {
		t.Fatalf("%s is taken, but encoding/json says: %v", frame, err)
	}
	got := ClientAck{
		Tag:             Tag{Type: TypeClientAck, ReqID: string(v.ReqID)},
		ClientMessageID: string(v.ClientMessageID), BrokerMessageID: string(v.BrokerMessageID), State: string(v.State),
	}
	var gotProof, wantProof Sealed
	if v.HasProof {
		gotProof = Sealed{
			Sender: string(v.Proof.Sender), Nonce: string(v.Proof.Nonce), Ciphertext: string(v.Proof.Ciphertext), Key: string(v.Proof.Key),
		}
	}
	if want.Proof != nil {
		wantProof = *want.Proof
	}
	if gotProof != wantProof || v.HasProof != (want.Proof != nil) {
		t.Fatalf("proof in %s: got %+v", frame, gotProof)
	}
	want.Proof = nil
	if got != want {
		t.Fatalf("%s: got %+v, want %+v", frame, got, want)
	}
}

func TestSplitClientAck(t *testing.T) {
	proof := &Sealed{Sender: strings.Repeat("ab", 32), Nonce: strings.Repeat("A", 32), Ciphertext: "Zm9v"}
	withKey := &Sealed{Nonce: strings.Repeat("A", 32), Ciphertext: "Zm9v", Key: wrapSample}
	for _, a := range []ClientAck{
		{ClientMessageID: "c", BrokerMessageID: "b"},
		{ClientMessageID: "c", BrokerMessageID: "b", State: "refused", Proof: proof, Tag: Tag{ReqID: "1"}},
		{BrokerMessageID: "b", Proof: withKey},
	} {
		a.Type = TypeClientAck
		frame := marshal(t, a)
		v, err := SplitClientAck(frame)
		if err != nil {
			t.Fatal(err)
		}
		wantSameAck(t, frame, &v)
	}
	nonce := strings.Repeat("A", 32)
	for _, bad := range []string{
		"{}", `{"type":"send"}`, `{"type":"client_ack"}x`, `{"type":"client_ack","proof":null}`, `{"type":"client_ack","proof":{}}`,
		`{"type":"client_ack","proof":{"nonce":"` + nonce + `"}}`, `{"type":"client_ack","proof":{"nonce":"AAAA","ciphertext":""}}`,
		`{"type":"client_ack","proof":{"nonce":"` + nonce + `","ciphertext":"\u0041"}}`,
		`{"type":"client_ack","proof":{"nonce":"` + nonce + `","ciphertext":"","Ciphertext":"AAAA"}}`,
		`{"type":"client_ack","proof":{"nonce":"` + nonce + `","ciphertext":"","key":"AAAA"}}`,
		`{"type":"client_ack","proof":{"nonce":"` + nonce + `","ciphertext":"","sender":"ab"}}`,
		`{"type":"client_ack","clientMessageId":"a\"b"}`, `{"type":"client_ack","ClientMessageID":"a"}`,
	} {
		if _, err := SplitClientAck([]byte(bad)); CodeOf(err) != CodeBadFrame {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestFrameType(t *testing.T) {
	for frame, want := range map[string]string{
		`{"type":"send","x":`: "send", `{"x":{"type":"a"},"y":[1,"}"],"type":"hello"}`: "hello", `{"type":"get_state"}`: "get_state",
		"": "", "{}": "", `{"type":1}`: "", `{"type":""}`: "", `{"Type":"send"}`: "", `["type"]`: "", `{"type":"a b"}`: "",
		`{"type":"` + strings.Repeat("x", 65) + `"}`: "", `{"x":tru,"type":"send"}`: "",
	} {
		got, err := FrameType([]byte(frame))
		if got != want || (err == nil) != (want != "") || err != nil && CodeOf(err) != CodeBadFrame {
			t.Errorf("%s: got %q, %v, want %q", frame, got, err, want)
		}
	}
}

func TestSplitCostsNoAllocation(t *testing.T) {
	send := marshal(t, sampleSend(strings.Repeat("a1", 32), strings.Repeat("b2", 32)))
	ack := marshal(t, ClientAck{Tag: Tag{Type: TypeClientAck}, ClientMessageID: "c", Proof: &Sealed{Nonce: strings.Repeat("A", 32)}})
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		typ, _ := FrameType(send)
		v, err := SplitSend(send)
		if err != nil {
			t.Fatal(err)
		}
		for member, wrap := range v.Wraps() {
			sum += len(member) + len(wrap)
		}
		a, err := SplitClientAck(ack)
		if err != nil {
			t.Fatal(err)
		}
		sum += len(typ) + len(a.Proof.Nonce)
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(marshal(f, sampleSend()))
	f.Add(marshal(f, sampleSend(strings.Repeat("a1", 32), strings.Repeat("b2", 32))))
	f.Add(marshal(f, ClientAck{Tag: Tag{Type: TypeClientAck}, ClientMessageID: "c", Proof: &Sealed{Nonce: strings.Repeat("A", 32)}}))
	f.Add([]byte(`{"x":[{},[],"\u00e9\"\\",-0.5e+3,true,null],"targetSpec":"@all","type":"send","priority":"now","nonce":"","ciphertext":"","keys":{}}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		typ, typeErr := FrameType(frame)
		if v, err := SplitSend(frame); err == nil {
			wantSame(t, frame, &v)
			if typ != TypeSend || typeErr != nil {
				t.Fatalf("got type %q, %v", typ, typeErr)
			}
		}
		if v, err := SplitClientAck(frame); err == nil {
			wantSameAck(t, frame, &v)
			if typ != TypeClientAck || typeErr != nil {
				t.Fatalf("got type %q, %v", typ, typeErr)
			}
		}
	})
}

func FuzzSkip(f *testing.F) {
	f.Add([]byte(`[1.5e-7,"\u00e9",{"a":[true,false,null]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{b: b}
		ok := s.skip(0) && s.peek() == 0 && s.i == len(b)
		deep := bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxNesting
		if valid := json.Valid(b); ok != valid && !(deep && valid) {
			t.Fatalf("%q: got %v, encoding/json says %v", b, ok, valid)
		}
	})
}

func BenchmarkSplitSend(b *testing.B) {
	frame := marshal(b, sampleSend())
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := SplitSend(frame); err != nil {
			b.Fatal(err)
		}
	}
}
