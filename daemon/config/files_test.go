package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

func skipModes(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps access lists instead of modes")
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %04o, want %04o", filepath.Base(path), got, want)
	}
}

func TestEverythingIsPrivate(t *testing.T) {
	skipModes(t)
	home := newHome(t)
	mustUpdate(t, home, func(c *Config) { c.Add(membership("acme", 1)) })
	key := crypto.GenerateKey()
	if _, err := home.SaveOwnerKey("acme", meshID(1), key, nil); err != nil {
		t.Fatal(err)
	}
	if err := home.SavePending(key.Public(), &Pending{Key: key, Name: "alice", Enrol: "x"}); err != nil {
		t.Fatal(err)
	}
	wantMode(t, home.Dir(), 0o700)
	entries, err := os.ReadDir(home.Dir())
	if err != nil || len(entries) < 4 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		wantMode(t, filepath.Join(home.Dir(), e.Name()), 0o600)
	}
}

func TestOpenHomeClosesItsOwnDirectoryOnly(t *testing.T) {
	skipModes(t)
	dir := t.TempDir()
	ours, other := filepath.Join(dir, "ours"), filepath.Join(dir, "other")
	for path, name := range map[string]string{ours: configName, other: "letters.txt"} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenHome(ours); err != nil {
		t.Error(err)
	}
	wantMode(t, ours, 0o700)
	if _, err := OpenHome(other); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a directory of other things: %v", err)
	}
	wantMode(t, other, 0o755)
}

func TestRefusesFilesThatOthersMayRead(t *testing.T) {
	skipModes(t)
	home := newHome(t)
	mustUpdate(t, home, func(c *Config) { c.Add(membership("acme", 1)) })
	key := crypto.GenerateKey()
	owner, err := home.SaveOwnerKey("acme", meshID(1), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{home.ConfigFile(), owner} {
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := home.Load(); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("config.json of mode 0644: %v", err)
	}
	if _, err := ReadOwnerKey(owner); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("owner key of mode 0644: %v", err)
	}
}

func TestWriteFileFollowsLinksAndClearsLeftovers(t *testing.T) {
	home := newHome(t)
	real := filepath.Join(t.TempDir(), "real.json")
	if err := os.WriteFile(real, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, home.ConfigFile()); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(real+".tmp", []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustUpdate(t, home, func(c *Config) { c.DisplayName = "alice" })
	if info, err := os.Lstat(home.ConfigFile()); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v %v", info, err)
	}
	wantMode(t, real, 0o600)
	if _, err := os.Stat(real + ".tmp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a leftover stays: %v", err)
	}
}

func TestOwnerKey(t *testing.T) {
	home := newHome(t)
	first, second := crypto.GenerateKey(), crypto.GenerateKey()
	p1, err1 := home.SaveOwnerKey("acme", meshID(1), first, nil)
	p2, err2 := home.SaveOwnerKey("acme", meshID(2), second, nil)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if p1 == p2 {
		t.Fatal("the second key overwrote the first")
	}
	for n, want := range map[int]*crypto.PrivateKey{1: first, 2: second} {
		got, err := home.OwnerKey(meshID(n))
		if err != nil || got.Key.Hex() != want.Hex() {
			t.Errorf("owner key of mesh %d: %v", n, err)
		}
	}
	if _, err := home.OwnerKey(meshID(3)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	text := "mesh " + string(meshID(4)) + "\nkey " + strings.Replace(first.Hex(), "a", "A", 1) + "\n"
	broken := filepath.Join(home.Dir(), "broken.key")
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOwnerKey(broken); err == nil || strings.Contains(err.Error(), first.Hex()[:20]) {
		t.Errorf("broken owner key: %v", err)
	}
}

func TestPending(t *testing.T) {
	home := newHome(t)
	link, other, key := crypto.GenerateKey().Public(), crypto.GenerateKey().Public(), crypto.GenerateKey()
	if err := home.SavePending(link, &Pending{Key: key, Name: "bob", Enrol: "ZW5y"}); err != nil {
		t.Fatal(err)
	}
	got, err := home.LoadPending(link)
	if err != nil || got == nil || got.Key.Hex() != key.Hex() || got.Name != "bob" || got.Enrol != "ZW5y" {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if got, err := home.LoadPending(other); got != nil || err != nil {
		t.Errorf("another link's: %+v, %v", got, err)
	}
	if err := errors.Join(home.DropPending(link), home.DropPending(link)); err != nil {
		t.Error(err)
	}
	if got, err := home.LoadPending(link); got != nil || err != nil {
		t.Errorf("after the drop: %+v, %v", got, err)
	}
}

func TestTryLock(t *testing.T) {
	home := newHome(t)
	lock, err := home.Lock("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := home.TryLock("x"); !errors.Is(err, ErrLocked) {
		t.Errorf("second holder: %v", err)
	}
	lock.Unlock()
	again, err := home.TryLock("x")
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}
