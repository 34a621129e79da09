//go:build unix

package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/protocol"
)

// TestSourceTakesRegularFiles: a link, a directory, a pipe without a writer and a device are refused, at once.
func TestSourceTakesRegularFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(at("file"), []byte("x"), 0o600)
	os.Symlink(at("file"), at("link"))
	os.Mkdir(at("dir"), 0o700)
	if err := unix.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Source(at("file"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for path, words := range map[string]string{
		at("link"): "is a link", at("dir"): "is a directory", at("pipe"): "no regular file", "/dev/zero": "no regular file", at("none"): "no file",
	} {
		f, err := Source(path)
		if err == nil {
			f.Close()
			t.Errorf("%s is taken", path)
			continue
		}
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", path, err)
		}
	}
	big, err := os.Create(at("big"))
	if err != nil {
		t.Fatal(err)
	}
	big.Truncate(protocol.MaxFileSize + 1)
	big.Close()
	if _, err := Source(at("big")); protocol.CodeOf(err) != protocol.CodePayloadTooLarge {
		t.Errorf("101 MiB: %v", err)
	}
	// What openSource does where the file is replaced behind Lstat: it neither follows nor waits.
	if f, err := openSource(at("link")); err == nil {
		f.Close()
		t.Error("a link is followed")
	}
}
