package queue

import (
	"bytes"
	"errors"
	"testing"

	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/store/storetest"
)

// FuzzRecord has any payload decoded: what is accepted encodes to the same
// bytes.
func FuzzRecord(f *testing.F) {
	group := Message{
		To: []Recipient{alice, bob}, Headers: [][]byte{[]byte("for alice"), nil}, Body: []byte("body"),
		Class: Low, Expires: 12345,
	}
	whole := appendPut(nil, &group)
	ack := encodeAck(bob, Next, 77)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(bytes.Clone(whole), 0))
	f.Add(ack[:])
	f.Add([]byte{kindProbe})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parsePut(b); err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("put: %v, want ErrCorrupt", err)
			}
		} else if again := appendPut(nil, &m); !bytes.Equal(again[1:], b[1:]) {
			t.Errorf("put %x encodes to %x", b, again)
		}
		if to, class, lsn, err := parseAck(b); err == nil {
			if again := encodeAck(to, class, lsn); !bytes.Equal(again[1:], b[1:]) {
				t.Errorf("ack %x encodes to %x", b, again)
			}
		}
		if h, err := parseRowHeader(b); err == nil {
			if again := appendRowHeader(nil, h); !bytes.Equal(again[:16], b[:16]) {
				t.Errorf("row header %x encodes to %x", b, again)
			}
		}
	})
}

func TestReplayRefusesUnknownRecords(t *testing.T) {
	for _, test := range []struct {
		payload []byte
		want    error
	}{
		{[]byte{99}, store.ErrNewer}, {nil, store.ErrCorrupt}, {[]byte{kindPut}, store.ErrCorrupt}, {[]byte{kindAck}, store.ErrCorrupt},
	} {
		disk := storetest.NewDisk()
		j, err := store.OpenJournal("/journal", store.JournalOptions{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		j.AppendLazy(test.payload)
		j.Close()
		db, err := store.Open(t.TempDir()+"/broker.db", store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(db, "/journal", Options{FS: disk}); !errors.Is(err, test.want) {
			t.Errorf("record %x: %v, want %v", test.payload, err, test.want)
		}
		db.Close()
	}
}
