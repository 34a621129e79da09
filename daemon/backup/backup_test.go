package backup

import (
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// New rows come behind those of the backup, however many there were, and a file whose numbers nobody can have reached is refused.
func TestRestoredRowsAreNumberedOn(t *testing.T) {
	db, err := table.Open(filepath.Join(t.TempDir(), "daemon.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	row := func(n uint64) *archive {
		return &archive{Buckets: map[string][]record{table.Outbox: {{K: binary.BigEndian.AppendUint64([]byte("mesh"), n)}}}}
	}
	var next uint64
	err = db.Update(func(tx *store.Tx) (err error) {
		if err = row(maxRows).continueNumbers(tx); err == nil {
			next, err = tx.NextSequence(table.Outbox)
		}
		return err
	})
	if err != nil || next != maxRows+1 {
		t.Errorf("behind row %d comes %d, %v", maxRows, next, err)
	}
	if err := db.Update(row(maxRows + 1).continueNumbers); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("more rows than anybody has: %v", err)
	}
}

func FuzzParseArchive(f *testing.F) {
	good, err := json.Marshal(&archive{Version: 1, Config: []byte("{}"), Owner: map[string][]byte{"owner-a.key": nil}, Buckets: map[string][]record{table.Trust: {{K: []byte("k")}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"owner":{"../../x":""}}`))
	f.Add([]byte(`{"version":1,"buckets":{"state":[{"k":"AA=="}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseArchive(b)
		if err != nil {
			return
		}
		for name := range a.Owner {
			if !ownerKeyName.MatchString(name) {
				t.Fatalf("file %q", name)
			}
		}
		for bucket := range a.Buckets {
			if !slices.Contains(backedUp, bucket) {
				t.Fatalf("bucket %q", bucket)
			}
		}
	})
}
