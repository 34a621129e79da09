package files

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// sealed encrypts a content as alice would.
func sealed(t *testing.T, content []byte) ([]byte, *protocol.FileRef) {
	t.Helper()
	var c bytes.Buffer
	s, err := Seal(&c, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if s.Cipher != int64(c.Len()) || s.Size != int64(len(content)) {
		t.Fatalf("sealed %+v, %d bytes of %d", s, c.Len(), len(content))
	}
	return c.Bytes(), &protocol.FileRef{Name: "f", Size: s.Size, SHA256: s.SHA256, Key: s.Key}
}

func open(cipher []byte, ref *protocol.FileRef) ([]byte, error) {
	r, err := Open(bytes.NewReader(cipher), ref)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestSealOpen(t *testing.T) {
	for _, n := range []int{0, 1, 64 << 10, 64<<10 + 1, 300_000} {
		content := bytes.Repeat([]byte("claudemesh"), n/10+1)[:n]
		cipher, ref := sealed(t, content)
		if protocol.CheckFile(ref) != nil {
			t.Fatalf("no header takes %+v", ref)
		}
		if got, err := open(cipher, ref); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}

// TestOpenBelievesNothing: what a broker, or a sender who signed another content, can do to the ciphertext.
func TestOpenBelievesNothing(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	cipher, ref := sealed(t, content)
	other, otherRef := sealed(t, content)
	for name, attack := range map[string]func() ([]byte, protocol.FileRef){
		"another file":     func() ([]byte, protocol.FileRef) { return other, *ref },
		"another key":      func() ([]byte, protocol.FileRef) { r := *ref; r.Key = otherRef.Key; return cipher, r },
		"cut in a chunk":   func() ([]byte, protocol.FileRef) { return cipher[:len(cipher)-100], *ref },
		"cut at a chunk":   func() ([]byte, protocol.FileRef) { return cipher[:len(cipher)-(len(cipher)-216)%65552], *ref },
		"a bit":            func() ([]byte, protocol.FileRef) { c := bytes.Clone(cipher); c[len(c)/2] ^= 1; return c, *ref },
		"more behind it":   func() ([]byte, protocol.FileRef) { return append(bytes.Clone(cipher), 0), *ref },
		"nothing":          func() ([]byte, protocol.FileRef) { return nil, *ref },
		"junk":             func() ([]byte, protocol.FileRef) { return bytes.Repeat([]byte{7}, 4096), *ref },
		"a larger content": func() ([]byte, protocol.FileRef) { r := *ref; r.Size--; return cipher, r },
		"a smaller one":    func() ([]byte, protocol.FileRef) { r := *ref; r.Size++; return cipher, r },
		"another hash":     func() ([]byte, protocol.FileRef) { r := *ref; r.SHA256[0] ^= 1; return cipher, r },
		"a bad key":        func() ([]byte, protocol.FileRef) { r := *ref; r.Key = "AGE-SECRET-KEY-1X"; return cipher, r },
	} {
		c, r := attack()
		if _, err := open(c, &r); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealRefusesTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("encrypts 100 MiB")
	}
	_, err := Seal(io.Discard, zeros{})
	if protocol.CodeOf(err) != protocol.CodePayloadTooLarge {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestSaveOverwritesNothing: bob saves three files of one name where a file and two links already are.
func TestSaveOverwritesNothing(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(outside, "outside")
	write(filepath.Join(dir, "report.pdf"), "bob's own")
	if runtime.GOOS != "windows" {
		os.Symlink(outside, filepath.Join(dir, "report (2).pdf"))
		os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "report (3).pdf"))
	} else {
		write(filepath.Join(dir, "report (2).pdf"), "2")
		write(filepath.Join(dir, "report (3).pdf"), "3")
	}
	for _, want := range []string{"report (4).pdf", "report (5).pdf"} {
		path, err := Save(dir, "../../report.pdf", strings.NewReader("alice's"))
		if err != nil || path != filepath.Join(dir, want) {
			t.Fatalf("saved as %s: %v", path, err)
		}
		info, err := os.Lstat(path)
		if err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Fatalf("mode %v, %v", info.Mode(), err)
		}
	}
	for path, want := range map[string]string{outside: "outside", filepath.Join(dir, "report.pdf"): "bob's own"} {
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%s is %q, %v", path, b, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a link was followed")
	}
}

// TestSaveLeavesNothing: a content that breaks off, or is not what was signed, gets no name and leaves no file.
func TestSaveLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	cut := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(ErrContent))
	if _, err := Save(dir, "a", cut); !errors.Is(err, ErrContent) {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
	if _, err := Save(filepath.Join(dir, "none"), "a", cut); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Fatal(err)
	}
}

// TestSaveSweepsParts: a process that was killed leaves a part, which goes a day later, and nothing else does.
func TestSaveSweepsParts(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * partLife)
	for _, name := range []string{".claudemesh-old.part", ".claudemesh-new.part", ".claudemesh-old", "old.part"} {
		path := filepath.Join(dir, name)
		os.WriteFile(path, []byte("x"), 0o600)
		if strings.Contains(name, "old") {
			os.Chtimes(path, old, old)
		}
	}
	if _, err := Save(dir, "a", strings.NewReader("a")); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".claudemesh-new.part", ".claudemesh-old", "a", "old.part"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

// TestPlaceWithoutLinks is TestSaveOverwritesNothing for file systems that know no hard links.
func TestPlaceWithoutLinks(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a"), []byte("bob's own"), 0o600)
	os.WriteFile(filepath.Join(dir, "part"), []byte("alice's"), 0o600)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := placeWithoutLinks(root, "part", "a"); !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if err := placeWithoutLinks(root, "part", "b"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "bob's own", "b": "alice's"} {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s is %q", name, b)
		}
	}
}
