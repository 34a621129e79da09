package recall

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/recall/source"
)

// What a directory of recordings may hold besides recordings: a tree of twenty levels, links to files and directories outside, a loop,
// a pipe of another size, records of unknown types and twenty levels deep.
func TestStrangeDirectories(t *testing.T) {
	a := newMachine(t)
	a.stripe()
	deep := filepath.Join(a.projects, strings.Repeat("d/", 20))
	outside := t.TempDir()
	for _, dir := range []string{deep, filepath.Join(outside, "sub")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := a.session("s", "/p")
	for _, path := range []string{filepath.Join(deep, "deep.jsonl"), filepath.Join(outside, "sub", "out.jsonl")} {
		if err := os.WriteFile(path, []byte(s.record("user", map[string]any{"message": map[string]any{"content": "capybara"}})+
			s.record("assistant", map[string]any{"message": map[string]any{"content": "capybara swims"}})), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"linked": outside, "loop": a.projects, "gone.jsonl": "/nowhere", "device.jsonl": "/dev/zero"} {
		if err := os.Symlink(to, filepath.Join(a.projects, link)); err != nil {
			t.Fatal(err)
		}
	}
	nested := strings.Repeat(`{"a":[`, 20) + "1" + strings.Repeat("]}", 20)
	s.write(`{"type":"hologram","uuid":"h1","payload":` + nested + "}\n")
	s.write(`{"type":"user","uuid":"h2","message":{"content":[{"type":"hologram","x":` + nested + `},{"type":"text","text":"the okapi question"}]},"toolUseResult":` + nested + "}\n")
	s.write(`{"type":"assistant","uuid":"h3","message":{"content":[{"type":"tool_use","name":"Strange","input":` + nested + `},{"type":"text","text":"okapi answered"}]}}` + "\n")
	a.sweep()
	a.want("okapi", "okapi answered")
	a.want("stripe signature", "raw")
	a.wantNothing("capybara")
	for _, path := range []string{filepath.Join(a.projects, "linked", "sub", "out.jsonl"), filepath.Join(a.projects, "device.jsonl")} {
		_ = a.Read(context.Background(), path) // a hook may name it: whatever it says, nothing comes in
	}
	a.wantNothing("capybara")
}

// vanishing is a recording that the client deletes, or cuts, while it is read.
type vanishing struct {
	source.Claude
	during func()
}

func (v vanishing) Read(ctx context.Context, path string, r io.Reader, start int64, known func(uint64) bool, emit func(*source.Episode) error) (source.Progress, error) {
	begun := make([]byte, 10)
	n, err := io.ReadFull(r, begun)
	if err != nil {
		return source.Progress{}, err
	}
	v.during()
	return v.Claude.Read(ctx, path, io.MultiReader(bytes.NewReader(begun[:n]), r), start, known, emit)
}

// The client deletes the recording, cuts it, or writes on, while alice's memory reads it.
func TestARecordingChangesWhileItIsRead(t *testing.T) {
	for name, during := range map[string]func(s *session){
		"deleted":   func(s *session) { os.Remove(s.path) },
		"cut":       func(s *session) { os.Truncate(s.path, 100) },
		"written":   func(s *session) { s.asks("and the lemur?"); s.says("the lemur leaps") },
		"torn":      func(s *session) { s.write(`{"type":"user","uuid":"half","mess`) },
		"forbidden": func(s *session) { os.Chmod(s.path, 0) },
	} {
		a := newMachine(t)
		s := a.session("s", "/p")
		s.asks("why is the narwhal slow")
		s.says("the narwhal waits for the disk")
		a.Memory.opts.Sources = []source.Source{vanishing{source.Claude{Dir: a.projects}, func() { during(s) }}}
		a.sweep()
		a.Memory.opts.Sources = []source.Source{source.Claude{Dir: a.projects}}
		a.sweep()
		if name != "cut" {
			a.want("narwhal", "waits for the disk")
		}
		if name == "written" {
			a.want("lemur", "leaps")
		}
		other := a.session("other", "/p")
		other.asks("the okapi?")
		other.says("okapi answered")
		a.sweep()
		a.want("okapi", "answered")
	}
}

// An unreadable recording is named in the statistics, and the others are read.
func TestAnUnreadableRecordingIsNamed(t *testing.T) {
	a := newMachine(t)
	bad := filepath.Join(a.projects, "-p", "bad.jsonl")
	if err := os.MkdirAll(bad, 0o700); err != nil {
		t.Fatal(err)
	}
	a.stripe()
	if err := a.Read(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	a.sweep()
	a.want("stripe signature", "raw")
	s, err := a.Stats(context.Background())
	if err != nil || len(s.Problems) != 1 || s.Problems[0].Path != bad {
		t.Errorf("%+v %v", s.Problems, err)
	}
}

// A recording of a hundred megabytes, of which one record is a picture, is read in little memory.
func TestAHugeRecording(t *testing.T) {
	if testing.Short() {
		t.Skip("100 MB")
	}
	a := newMachine(t)
	s := a.session("s", "/p")
	s.asks("why is the narwhal slow")
	s.says("the narwhal waits for the disk")
	f, err := os.OpenFile(s.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture := bytes.Repeat([]byte("A"), 1<<20)
	fmt.Fprint(f, `{"type":"user","uuid":"pic","message":{"content":[{"type":"image","source":"`)
	for range 100 {
		if _, err := f.Write(picture); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprint(f, `"}]}}`+"\n")
	s.asks("and the lemur?")
	s.says("the lemur leaps")
	a.sweep()
	a.want("narwhal", "waits for the disk")
	a.want("lemur", "leaps")
	if n := a.episodes(); n != 2 {
		t.Errorf("%d episodes", n)
	}
}
