package daemon

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/store"
)

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
