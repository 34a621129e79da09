//go:build !windows

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Whoever has a directory, somebody else is refused, and so is who would make one among its owner's files.
func TestHomeOfAnotherUser(t *testing.T) {
	home, me := t.TempDir(), os.Geteuid()
	missing := filepath.Join(home, "not", "there")
	for _, dir := range []string{home, missing} {
		if err := checkHomeOwner(dir, me); err != nil {
			t.Errorf("own %s: %v", dir, err)
		}
	}
	wantForbidden(t, checkHomeOwner(home, me+1), "belongs to", "you are")
	if me != 0 { // what would be made in root's own directories is nobody's business
		wantForbidden(t, checkHomeOwner(missing, me+1), "is not there yet", "belongs to", "you are")
	}
	t.Setenv(EnvOtherHome, "1")
	if err := checkHomeOwner(home, me+1); err != nil {
		t.Errorf("meant so: %v", err)
	}
}

func wantForbidden(t *testing.T, err error, words ...string) {
	t.Helper()
	if protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("error %v", err)
		return
	}
	if e := err.(*protocol.Error); e.Hint == "" {
		t.Errorf("no hint: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
}

// Root in alice's home, by sudo with HOME kept; and alice in one that root has made.
func TestRootsAndUsersHomes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	const alice, bob = 12345, 12346
	hers := t.TempDir()
	if err := os.Chown(hers, alice, alice); err != nil {
		t.Fatal(err)
	}
	roots, left := t.TempDir(), filepath.Join(hers, "left")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	inHers, inRoots := filepath.Join(hers, ".claudemesh"), filepath.Join(roots, ".claudemesh")
	for _, c := range []struct {
		dir  string
		uid  int
		hint string // of the refusal; "": it is allowed
	}{
		{hers, alice, ""}, {inHers, alice, ""}, {roots, 0, ""}, {inRoots, 0, ""},
		{inRoots, alice, ""}, // the system lets her, or not
		{hers, 0, "sudo -u '#12345' -H"}, {inHers, 0, "sudo -H"}, {hers, 0, "--allow-other-home"},
		{left, alice, "sudo chown -R 12345 " + left}, {hers, bob, EnvDir}, {inHers, bob, EnvDir},
		{roots, alice, EnvDir}, {"/etc", alice, EnvDir}, // no hint gives the system's files away
	} {
		err := checkHomeOwner(c.dir, c.uid)
		if c.hint == "" {
			if err != nil {
				t.Errorf("user %d in %s: %v", c.uid, c.dir, err)
			}
			continue
		}
		wantForbidden(t, err)
		if e, ok := err.(*protocol.Error); ok && !strings.Contains(e.Hint, c.hint) {
			t.Errorf("user %d in %s: hint %q", c.uid, c.dir, e.Hint)
		}
	}
	_, err := OpenHome(inHers)
	wantForbidden(t, err)
	if _, err := os.Stat(inHers); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	if err := CheckDataOwner(hers); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a broker's data: %v", err)
	}
}

// An owner key that cannot be read is not one that is elsewhere: what depends on it must not go on as if.
func TestUnreadableOwnerKeyIsNotAbsent(t *testing.T) {
	home := newHome(t)
	mesh := protocol.MeshID(strings.Repeat("a", 32))
	if _, err := home.OwnerKey(mesh); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if err := os.Mkdir(home.OwnerKeyFile("acme"), 0o700); err != nil { // nobody can read this, root included
		t.Fatal(err)
	}
	if _, err := home.OwnerKey(mesh); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unreadable: %v", err)
	}
}
