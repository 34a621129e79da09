package protocol

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// samplePush returns a push and what encoding/json is to read from it. text stands where a peer's text may.
func samplePush(text string) (PushView, Push) {
	key, b64 := strings.Repeat("ab", 32), strings.Repeat("A", 32)
	v := PushView{
		MessageID: []byte("m1"), MeshID: []byte("mesh"), SenderPubkey: []byte(key), SenderMemberPubkey: []byte(key),
		SenderName: []byte(text), TargetSpec: []byte(text), Priority: []byte("now"), Nonce: []byte(b64), Ciphertext: []byte(b64),
		Key: []byte(wrapSample), CreatedAt: 1_700_000_000_007, ClientMessageID: []byte(text), ReplyToID: []byte(text),
		Topic: []byte(text),
	}
	p := Push{
		Tag: Tag{Type: TypePush}, MessageID: "m1", MeshID: "mesh", SenderPubkey: key, SenderMemberPubkey: key, SenderName: text,
		TargetSpec: text, Priority: "now", Nonce: b64, Ciphertext: b64, Key: wrapSample, CreatedAt: "2023-11-14T22:13:20.007Z",
		ClientMessageID: text, ReplyToID: text, Topic: text,
	}
	return v, p
}

// read returns what encoding/json reads from frame.
func read[T any](t *testing.T, frame []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(frame, &v); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	return v
}

func TestAppendPush(t *testing.T) {
	for _, text := range []string{"alice", "", `a","x":"y`, "\\", "\x00\n\u2028<>&", "日本"} {
		v, want := samplePush(text)
		if got := read[Push](t, AppendPush(nil, &v)); got != want {
			t.Errorf("%q: got %+v\nwant %+v", text, got, want)
		}
	}
	v := PushView{}
	if got := read[Push](t, AppendPush(nil, &v)); got != (Push{Tag: Tag{Type: TypePush}, CreatedAt: "1970-01-01T00:00:00.000Z"}) {
		t.Errorf("empty: got %+v", got)
	}
}

func TestAppendAck(t *testing.T) {
	for _, reqID := range []string{"", "r1", `"`} {
		got := read[Ack](t, AppendAck(nil, []byte(reqID), []byte("id"), []byte("m1")))
		if want := (Ack{Tag: Tag{Type: TypeAck, ReqID: reqID}, ID: "id", MessageID: "m1", Queued: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	// The original wants the id even where it is empty.
	if got := string(AppendAck([]byte("x"), nil, nil, nil)); got != `x{"type":"ack","id":"","messageId":"","queued":true}` {
		t.Errorf("got %s", got)
	}
}

func TestAppendReceipt(t *testing.T) {
	key, b64 := strings.Repeat("ab", 32), strings.Repeat("A", 32)
	for _, proof := range []*SealedView{
		nil, {Nonce: []byte(b64), Ciphertext: []byte(b64)},
		{Sender: []byte(key), Nonce: []byte(b64), Ciphertext: []byte(b64), Key: []byte(wrapSample)},
	} {
		got := read[Receipt](t, AppendReceipt(nil, &ReceiptView{
			ReceiptID: []byte("r"), MessageID: []byte("m"), ClientMessageID: []byte("c"), Recipient: []byte(key),
			State: []byte("expired"), Reason: []byte(`too "old"`), At: -7, Proof: proof,
		}))
		want := Receipt{
			Tag: Tag{Type: TypeReceipt}, ReceiptID: "r", MessageID: "m", ClientMessageID: "c", Recipient: key,
			State: "expired", Reason: `too "old"`, At: -7,
		}
		var gotProof, wantProof Sealed
		if got.Proof != nil {
			gotProof, got.Proof = *got.Proof, nil
		}
		if proof != nil {
			wantProof = Sealed{
				Sender: string(proof.Sender), Nonce: string(proof.Nonce), Ciphertext: string(proof.Ciphertext), Key: string(proof.Key),
			}
		}
		if got != want || gotProof != wantProof {
			t.Errorf("got %+v with %+v\nwant %+v with %+v", got, gotProof, want, wantProof)
		}
	}
}

// What SplitSend takes, AppendPush passes on as it was.
func TestSplitThenAppend(t *testing.T) {
	frame := marshal(t, sampleSend())
	s, err := SplitSend(frame)
	if err != nil {
		t.Fatal(err)
	}
	v := PushView{TargetSpec: s.TargetSpec, Priority: s.Priority, Nonce: s.Nonce, Ciphertext: s.Ciphertext, ClientMessageID: s.ID}
	got, want := read[Push](t, AppendPush(nil, &v)), sampleSend()
	if got.TargetSpec != want.TargetSpec || got.Nonce != want.Nonce || got.Ciphertext != want.Ciphertext || got.ClientMessageID != want.ID {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAppendCostsNoAllocation(t *testing.T) {
	v, _ := samplePush("alice")
	r := ReceiptView{State: []byte("delivered"), Proof: &SealedView{Nonce: v.Nonce, Ciphertext: v.Ciphertext}}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		buf = AppendPush(buf[:0], &v)
		buf = AppendAck(buf, v.MessageID, v.ClientMessageID, v.MessageID)
		buf = AppendReceipt(buf, &r)
	}); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}

func FuzzAppendPush(f *testing.F) {
	f.Add("alice")
	f.Add("\",\"type\":\"x\xff\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		v, want := samplePush(string([]rune(text))) // each byte that is not UTF-8 becomes U+FFFD, as in encoding/json
		v.SenderName = []byte(text)
		got := read[Push](t, AppendPush(nil, &v))
		if got != want {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

func BenchmarkAppendPush(b *testing.B) {
	v, _ := samplePush("alice")
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendPush(buf[:0], &v)
	}
}

func TestAppendTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	times := []int64{0, -1, -1000, -1001, 999, 1000, 253402300799999, 253402300800000, math.MaxInt64 / 1_000_000}
	for range 1000 {
		times = append(times, random.Int64N(1<<42)-1<<40)
	}
	for _, ms := range times {
		for range 2 { // the second one from memory
			want := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
			if got := string(appendTime([]byte("x"), ms)); got != "x"+want {
				t.Fatalf("%d: %s, want %s", ms, got, want)
			}
		}
	}
}
