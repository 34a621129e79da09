//go:build !windows

package localsocket

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// home is a directory whose sockets have paths of about that length.
func home(t *testing.T, length int) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for len(dir) < length {
		dir = filepath.Join(dir, strings.Repeat("x", min(length-len(dir), 200)))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "daemon.sock")
}

// answering listens and says the word to whoever connects.
func answering(t *testing.T, path, word string) *Listener {
	t.Helper()
	ln, err := Listen(path, func(uid uint32, err error) { t.Errorf("refused %d: %v", uid, err) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(word + "\n"))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
		_ = ln.Remove() // some tests took it away themselves
	})
	return ln
}

func ask(path string) (string, error) {
	conn, err := Dial(context.Background(), path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return bufio.NewReader(conn).ReadString('\n')
}

func wantAnswer(t *testing.T, path, word string) {
	t.Helper()
	if got, err := ask(path); got != word+"\n" {
		t.Errorf("answered %q, %v; want %q", got, err, word)
	}
}

// A client finds the socket wherever it had to be, and only a living one.
func TestFound(t *testing.T) {
	for _, length := range []int{40, MaxPath - len("/daemon.sock") - 1, MaxPath, 300} {
		path := home(t, length)
		if _, err := ask(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d, before anybody listens: %v", length, err)
		}
		ln := answering(t, path, "hello")
		wantAnswer(t, path, "hello")
		at := ln.Path()
		if (at == path) != (len(path) <= MaxPath) || len(at) > MaxPath {
			t.Errorf("%d: the socket is at %s", length, at)
		}
		if err := errors.Join(ln.Close(), ln.Remove()); err != nil {
			t.Error(err)
		}
		if _, err := ask(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d, when it has ended: %v", length, err)
		}
		if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 || at != path && exists(filepath.Dir(at)) {
			t.Errorf("%d: left behind: %v, %v", length, left, err)
		}
	}
}

func TestShortDirectoryIsInTheRuntimeDirectory(t *testing.T) {
	run := filepath.Dir(home(t, 30))
	t.Setenv("XDG_RUNTIME_DIR", run)
	path := home(t, 200)
	ln := answering(t, path, "hello")
	if filepath.Dir(filepath.Dir(ln.Path())) != run {
		t.Errorf("the socket is at %s", ln.Path())
	}
	t.Setenv("XDG_RUNTIME_DIR", "/nonexistent") // the client need not know
	wantAnswer(t, path, "hello")
	other := home(t, 200)
	answering(t, other, "hello too")
	wantAnswer(t, other, "hello too")
}

// A socket that vanishes under a living process comes back: programs clean up, and a runtime directory goes with the last login.
func TestVanished(t *testing.T) {
	for name, length := range map[string]int{"in place": 40, "elsewhere": 200} {
		t.Run(name, func(t *testing.T) {
			path := home(t, length)
			ln := answering(t, path, "hello")
			if mended, err := ln.Mend(); mended || err != nil {
				t.Errorf("nothing was wrong: %v, %v", mended, err)
			}
			for what, lost := range map[string]func(string) string{"the socket": filepath.Clean, "its directory": filepath.Dir} {
				if what == "its directory" && length == 40 {
					continue
				}
				if err := os.RemoveAll(lost(ln.Path())); err != nil {
					t.Fatal(err)
				}
				if mended, err := ln.Mend(); !mended || err != nil {
					t.Errorf("%s vanished: %v, %v", what, mended, err)
				}
				wantAnswer(t, path, "hello")
			}
			if err := errors.Join(ln.Close(), os.RemoveAll(ln.Path())); err != nil {
				t.Fatal(err)
			}
			if mended, err := ln.Mend(); mended || err != nil {
				t.Errorf("after the end: %v, %v", mended, err)
			}
		})
	}
}

func TestVanishedWithItsHome(t *testing.T) {
	path := home(t, 60)
	ln := answering(t, path, "hello")
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if mended, err := ln.Mend(); mended || err == nil {
		t.Errorf("%v, %v", mended, err)
	}
}

// What a process that died left is no obstacle, and is cleaned up: the socket, the half of a new one, the directory elsewhere.
func TestLeftovers(t *testing.T) {
	for _, length := range []int{40, 200} {
		path := home(t, length)
		first := answering(t, path, "first")
		first.Close()
		if err := os.WriteFile(filepath.Join(filepath.Dir(first.Path()), "d.new"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if length == 200 {
			os.Remove(filepath.Join(filepath.Dir(first.Path()), "d.new"))
		}
		second := answering(t, path, "second")
		wantAnswer(t, path, "second")
		if first.Path() != second.Path() && exists(filepath.Dir(first.Path())) {
			t.Errorf("%s is left behind", filepath.Dir(first.Path()))
		}
	}
}

// Where a daemon had its directory, another user may make one of the same name. Nobody talks to what is in it.
func TestForeignDirectory(t *testing.T) {
	path, trap := home(t, 200), home(t, 30)
	answering(t, trap, "trap")
	if err := errors.Join(os.Chmod(filepath.Dir(trap), 0o755), writeRecord(path, trap)); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open to others: answered %q, %v", got, err)
	}
	if err := os.Chmod(filepath.Dir(trap), 0o700); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, path, "trap")
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(filepath.Dir(trap), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("somebody else's: answered %q, %v", got, err)
	}
}
