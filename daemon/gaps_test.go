package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Only what the user was told of is listed, together for all streams of a member, and filled holes are gone.
func TestGaps(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	create(t, home, b, "acme", "alice")
	d := startDaemon(t, home)
	d.wantState("acme", protocol.ConnOpen)
	bob, cathy := crypto.GenerateKey().Public(), crypto.GenerateKey().Public()
	mesh := d.meshes()[0]
	old, now := time.Now().Add(-time.Hour).Truncate(time.Millisecond), time.Now()
	rows := map[string]arrivals{
		"n": {Base: 1, High: 9, Member: bob, Holes: []hole{{First: 2, Last: 3, Since: now.UnixMilli(), Told: true}}},
		"l": {Base: 1, High: 9, Member: bob, Holes: []hole{{First: 4, Last: 4, Since: old.UnixMilli(), Told: true}, {First: 6, Last: 8, Since: now.UnixMilli()}}},
		"x": {Base: 1, High: 9, Member: cathy},
	}
	err := mesh.env.db.Update(func(tx *store.Tx) error {
		for prio, a := range rows {
			if err := table.PutJSON(tx, table.Numbers, table.Key(mesh.meshID, []byte("i"+prio)), &a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	gaps, err := d.Gaps(context.Background(), "acme")
	if err != nil || len(gaps) != 1 {
		t.Fatalf("gaps %+v, %v", gaps, err)
	}
	if g := gaps[0]; g.Mesh != "acme" || g.Pubkey != bob.String() || g.Missing != 3 || !g.Since.Equal(old) {
		t.Errorf("%+v", g)
	}
	if _, err := d.Gaps(context.Background(), "nosuch"); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("gaps of an unknown mesh: %v", err)
	}
}

func TestCheckStore(t *testing.T) {
	home := newHome(t)
	if err := table.Check(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a store: %v", err)
	}
	db, err := table.Open(home.DBFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Check(home); !errors.Is(err, store.ErrLocked) {
		t.Errorf("of an open store: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(home.DBFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Check(home); err != nil {
		t.Errorf("of a sound store: %v", err)
	}
	if after, err := os.ReadFile(home.DBFile()); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the check changed the store: %v", err)
	}
	if err := os.WriteFile(home.DBFile(), bytes.Repeat([]byte("herring "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := table.Check(home); err == nil || errors.Is(err, store.ErrLocked) {
		t.Errorf("of junk: %v", err)
	}
}
