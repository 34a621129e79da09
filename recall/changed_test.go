package recall

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Alice reads which of the files were changed since she solved it.
func TestFilesChangedSince(t *testing.T) {
	a := newMachine(t)
	dir, err := os.MkdirTemp("", "cm") // a short name: a long one may look like a key
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := a.session("s", dir)
	s.asks("fix the narwhal")
	for _, name := range []string{"old.go", "new.go", "gone.go"} {
		s.runs("Edit", map[string]any{"file_path": filepath.Join(dir, name), "new_string": "narwhal"}, "ok")
	}
	s.runs("Edit", map[string]any{"file_path": "near.go", "new_string": "narwhal"}, "ok")
	a.sweep()
	for name, at := range map[string]time.Time{"old.go": a.now.Add(-time.Hour), "new.go": a.now.Add(time.Hour), "near.go": a.now.Add(time.Hour)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if h := a.want("narwhal", "narwhal"); h.Changed() != 2 {
		t.Errorf("%d of %v changed", h.Changed(), h.Files)
	}
}
