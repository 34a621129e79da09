package store

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

func TestShrink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be renamed")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := Open(path, Options{Buckets: []string{"rows"}})
	if err != nil {
		t.Fatal(err)
	}
	row := make([]byte, 1<<20)
	keep := []byte("stays")
	err = db.Update(func(tx *Tx) error {
		for i := range 8 {
			if err := tx.Put("rows", []byte{byte(i)}, row); err != nil {
				return err
			}
		}
		return tx.Put("rows", keep, keep)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *Tx) error {
		for i := range 8 {
			if err := tx.Delete("rows", []byte{byte(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := db.Size()
	if err := os.WriteFile(path+".compact", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 4 { // others go on writing meanwhile
		writers.Go(func() {
			for j := range 50 {
				if err := db.Commit(func(tx *Tx) error { return tx.Put("rows", []byte{'w', byte(i), byte(j)}, keep) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := db.Shrink(); err != nil {
		t.Fatal(err)
	}
	writers.Wait()
	if err := db.Shrink(); err != nil { // again: the file has its old name
		t.Fatal(err)
	}
	if after, _ := db.Size(); after > before/4 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	if _, err := os.Stat(path + ".compact"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
	if _, err := Open(path, Options{Timeout: 1}); !errors.Is(err, ErrLocked) {
		t.Errorf("the new file is not locked: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db, err = Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	n := 0
	db.View(func(tx *Tx) error {
		for range tx.Scan("rows", nil, nil) {
			n++
		}
		return nil
	})
	if n != 1+4*50 {
		t.Errorf("%d rows, want %d", n, 1+4*50)
	}
}
