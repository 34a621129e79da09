package inbox

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// sealedText is a message of alice's to bob, as an inbox stores it.
func sealedText(t *testing.T, text string) []byte {
	t.Helper()
	owner, bob := crypto.GenerateKey(), crypto.GenerateKey()
	charter, err := protocol.Sign(&protocol.Charter{Owner: owner.Public(), Created: 1, Slug: "acme"}, owner)
	if err != nil {
		t.Fatal(err)
	}
	alice := crypto.GenerateKey()
	cert, err := protocol.Sign(&protocol.Cert{Mesh: charter.Mesh(), Issuer: owner.Public(), Member: alice.Public(), Name: "alice", Role: protocol.RoleMember, Issued: 2}, owner)
	if err != nil {
		t.Fatal(err)
	}
	set := protocol.NewSet(charter, protocol.Pins{})
	if _, err := set.Add(cert); err != nil {
		t.Fatal(err)
	}
	shared, err := alice.Shared(bob.Public())
	if err != nil {
		t.Fatal(err)
	}
	h := &protocol.Header{
		ID: protocol.NewClientID(), Mesh: charter.Mesh(), From: alice.Public(), Member: alice.Public(), To: bob.Public().String(), Prio: protocol.PriorityNext,
		TS: time.Now().UnixMilli(), Ep: "00000000000000ab", Seq: 1, Log: set.View().Digest(),
	}
	nonce, box, err := protocol.SealDirect(h, []byte(text), alice, &shared)
	if err != nil {
		t.Fatal(err)
	}
	opener := &protocol.Opener{
		Mesh: charter.Mesh(), View: set.View(), Now: time.Now(), Member: bob.Public(),
		Shared: func(_, peer crypto.PublicKey) (crypto.Key, error) { return bob.Shared(peer) },
	}
	b64 := base64.StdEncoding.EncodeToString
	sealed := protocol.Sealed{Sender: alice.Public().String(), Nonce: b64(nonce), Ciphertext: b64(box)}
	msg, err := opener.Open(sealed.Incoming())
	if err != nil {
		t.Fatal(err)
	}
	b, err := msg.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A stranger filled bob's inbox with 1,500 messages of 60 KB. Bob lists all of it, page by page, in
// the memory of a page.
func TestLargeInboxIsListedInLittleMemory(t *testing.T) {
	const messages, size = 1500, 60_000
	stored := sealedText(t, strings.Repeat("x", size))
	db, err := table.Open(t.TempDir() + "/daemon.db")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := NewMailbox(db, time.Now, slog.New(slog.DiscardHandler), func(*store.Tx, protocol.MeshID, []byte) error { return nil })
	for from := 0; from < messages; from += 100 {
		err := db.Update(func(tx *store.Tx) error {
			for i := from; i < from+100; i++ {
				if _, err := b.Add(tx, &Row{MessageID: fmt.Sprintf("message-%06d", i+1), ID: fmt.Sprintf("id-%06d", i+1), Message: stored, Received: 1}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	other, err := b.Page(protocol.InboxQuery{Mesh: "another", All: true}, nil) // what is passed over is bounded, too
	if err != nil || len(other.Messages) != 0 || other.Next == 0 {
		t.Errorf("another mesh: %d messages, next %d, %v", len(other.Messages), other.Next, err)
	}
	before, most, total, pages := held(), uint64(0), 0, 0
	for q := (protocol.InboxQuery{All: true, Limit: 1 << 30}); ; pages++ {
		page, err := b.Page(q, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := 0
		for _, m := range page.Messages {
			text += len(m.Body)
		}
		if text > pageBytes+size {
			t.Fatalf("a page has %d bytes of text", text)
		}
		if total == 0 && text < size {
			t.Fatalf("the first page has %d bytes of text: %+v", text, page.Messages[0].Alarm)
		}
		if now := held(); now > before {
			most = max(most, now-before)
		}
		runtime.KeepAlive(page)
		total += len(page.Messages)
		if q.Before = page.Next; q.Before == 0 {
			break
		}
	}
	if total != messages {
		t.Errorf("%d of %d messages in %d pages", total, messages, pages)
	}
	if most > 8<<20 {
		t.Errorf("a page takes %d MiB", most>>20)
	}
}

// Whatever stands in the place of a row, reading it ends with a row or an error.
func FuzzRow(f *testing.F) {
	for _, s := range []string{"", "\x00\x00\x00", "\x00\x00\x00\x02{}", "\x00\x00\x00\x02{}text", "\xff\xff\xff\xff{}", "\x00\x00\x00\x01{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := ParseRow(b)
		if (row == nil) == (err == nil) {
			t.Errorf("%v, %v", row, err)
		}
	})
}
