package claude

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// target is what is remembered of one file: what install made of it, so that uninstall takes back exactly that. It is kept with
// the file's own Claude Code, in a file for each target, whichever claudemesh or home it was installed from.
type target struct {
	Version int      `json:"version"`
	Kind    kind     `json:"kind"`
	Path    string   `json:"path"`              // as Claude Code knows it
	Real    string   `json:"real"`              // the file behind it
	Created bool     `json:"created,omitempty"` // it is not there without us
	Before  string   `json:"before"`            // what it is without us
	After   string   `json:"after"`             // SHA-256 of what we made of it, hex
	Earlier string   `json:"earlier,omitempty"` // SHA-256 of what an earlier install made of it, until After is written
	Pieces  []piece  `json:"pieces,omitempty"`  // what we put in
	Command string   `json:"command"`           // by which Claude Code starts us
	Dirs    []string `json:"dirs,omitempty"`    // that were made for it, the innermost first
}

// kind says what of ours is in a file.
type kind string

const (
	kindState    kind = "state"    // the MCP server
	kindSettings kind = "settings" // hooks and status line
	kindSkill    kind = "skill"    // the whole file
)

const targetVersion = 2

// recordFile is where a target is remembered.
func (o Options) recordFile(real string) string {
	return filepath.Join(o.Paths.Records, strings.TrimPrefix(filepath.Base(real), ".")+"-"+digest([]byte(real))[:8]+".json")
}

// copyFile is where a copy of the file lies as it was, for a person to look at.
func (o Options) copyFile(real string) string {
	return strings.TrimSuffix(o.recordFile(real), ".json") + ".before"
}

func loadTarget(path string) (*target, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &target{}
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if t.Version != targetVersion {
		return nil, fmt.Errorf("read %s: version %d is of another claudemesh", path, t.Version)
	}
	return t, nil
}

// find returns what is remembered of a file. Where that is nothing, but the path led to other files before, it is what was put
// into the one of them that the file was copied from: programs put a file in the place of a link.
func find(k kind, path, real string, known []*target, now []byte) *target {
	t, best := &target{}, -1
	for _, other := range known {
		fits := other.fits(now)
		switch {
		case other.Real == real:
			t := *other
			t.Path = path
			return &t
		case other.Path == path && fits > best:
			best = fits
			t.Created, t.Before, t.Pieces, t.Command = other.Created, other.Before, other.Pieces, other.Command
		}
	}
	t.Version, t.Kind, t.Path, t.Real = targetVersion, k, path, real
	return t
}

// fits counts the pieces that are in a text as we put them in.
func (t *target) fits(text []byte) (n int) {
	d, err := parseDocument(text)
	if err != nil {
		return 0
	}
	for _, p := range t.Pieces {
		if _, ok := d.locate(p); ok {
			n++
		}
	}
	return n
}

// targets are all that is remembered of the files of this Claude Code.
func (o Options) targets() ([]*target, error) {
	paths, err := filepath.Glob(filepath.Join(o.Paths.Records, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*target
	for _, path := range paths {
		t, err := loadTarget(path)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

func (o Options) save(t *target) error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	return o.put(o.recordFile(t.Real), append(b, '\n'), 0o600)
}

// keepCopy copies the file as it was before the first install.
func (o Options) keepCopy(old, t *target) error {
	if old.After != "" || t.Created {
		return nil
	}
	return o.put(o.copyFile(t.Real), []byte(t.Before), 0o600)
}

// dirsFor returns the directories that go with a target: those that are made for it now, and those that were made for others and
// in which it is, too. So whichever of them is taken back last takes them along.
func (o Options) dirsFor(t *target) ([]string, error) {
	record := o.recordFile(t.Real)
	dirs := append(missingDirs(t.Real), missingDirs(record)...)
	others, err := o.targets()
	for _, other := range others {
		for _, dir := range other.Dirs {
			if in := dir + string(filepath.Separator); strings.HasPrefix(t.Real, in) || strings.HasPrefix(record, in) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs, err
}

// forget drops what is remembered of a file.
func (o Options) forget(real string) error {
	return errors.Join(removeFile(o.recordFile(real)), removeFile(o.copyFile(real)))
}

// dropDirs removes directories that were made for targets, as far as nothing else is in them by now.
func (o Options) dropDirs(dirs []string) {
	os.Remove(o.Paths.Records) // unless there are more
	dropDirs(innermostFirst(dirs))
}

// without returns what the file is without us: nil where it would not be there. False: somebody changed a file that is wholly ours.
func (t *target) without(now []byte) ([]byte, bool) {
	sum := digest(now)
	untouched := t.After == sum || t.Earlier == sum
	switch {
	case now == nil || untouched && t.Created:
		return nil, true
	case untouched:
		return []byte(t.Before), true
	case t.Kind == kindSkill:
		return now, false
	}
	d, err := parseDocument(now)
	if err != nil {
		return now, false
	}
	text := string(d.text)
	if t.After == "" && !t.recognised(text) { // nothing of ours, whatever there is of another file's pieces
		return now, true
	}
	d.undo(t.Pieces)
	t.takeOut(d)
	found := text != string(d.text)
	switch {
	case t.Created && emptyObject(d.text) && (found || t.After != ""):
		return nil, true
	case !found:
		return now, true
	case emptyObject(d.text) && len(bytes.TrimSpace([]byte(t.Before))) == 0:
		return []byte(t.Before), true // it was there, without a byte in it
	}
	return d.text, true
}

// recognised tells whether there is anything of ours in the text.
func (t *target) recognised(text string) bool {
	d := &document{text: []byte(text)}
	(&target{Kind: t.Kind, Command: t.Command}).takeOut(d)
	return text != string(d.text)
}

func emptyObject(text []byte) bool {
	var v map[string]json.RawMessage
	return json.Unmarshal(text, &v) == nil && len(v) == 0
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
