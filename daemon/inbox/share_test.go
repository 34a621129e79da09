package inbox

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Every quota, met exactly and exceeded by one message or one byte.
func TestQuotasAtTheirEdge(t *testing.T) {
	db, err := table.Open(t.TempDir() + "/daemon.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mesh, alice := protocol.MeshID(strings.Repeat("m", 32)), crypto.GenerateKey().Public()
	q := DefaultQuotas()
	for _, test := range []struct {
		name  string
		key   []byte // that the message is for
		at    []byte // where it is counted what there is
		limit Share
		words string
	}{
		{"member", ShareKey(mesh, ClassMember, alice), ShareKey(mesh, ClassMember, alice), Share{UnseenMessages, UnseenBytes}, "of yours"},
		{"link", ShareKey(mesh, ClassLink, alice), ShareKey(mesh, ClassLink, alice), Share{LinkMessages, LinkBytes}, "by your link"},
		{"invited", ShareKey(mesh, ClassLink, alice), Together(ShareKey(mesh, ClassLink, alice)), Share{InvitedMessages, InvitedBytes}, "people who are not admitted"},
		{"unknown", ShareKey(mesh, ClassUnknown, alice), ShareKey(mesh, ClassUnknown, alice), Share{UnknownMessages, UnknownBytes}, "your certificate"},
		{"held", ShareKey(mesh, ClassUnknown, alice), Together(ShareKey(mesh, ClassUnknown, alice)), Share{HeldMessages, HeldBytes}, "people who are not admitted"},
		{"inbox", ShareKey(mesh, ClassMember, alice), everybody, Share{0, inboxBytes}, "the inbox is full"},
	} {
		const size = 5000
		try := func(there Share, want bool) {
			t.Helper()
			err := db.Update(func(tx *store.Tx) error {
				if err := putShare(tx, test.at, there); err != nil {
					return err
				}
				why := q.Full(tx, test.key, size)
				if (why == "") != want || !want && !strings.Contains(why, test.words) {
					t.Errorf("%s with %+v: %q", test.name, there, why)
				}
				return putShare(tx, test.at, Share{})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if test.limit.Messages > 0 {
			try(Share{test.limit.Messages - 1, 0}, true)
			try(Share{test.limit.Messages, 0}, false)
		}
		try(Share{0, test.limit.Bytes - size}, true)
		try(Share{0, test.limit.Bytes - size + 1}, false)
	}
}
