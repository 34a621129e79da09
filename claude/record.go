package claude

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// record is what install did, kept in our own directory so that uninstall can undo exactly that.
type record struct {
	Version int                    `json:"version"`
	Files   map[string]*fileRecord `json:"files"` // by path
}

type fileRecord struct {
	Created bool     `json:"created,omitempty"` // did not exist before us
	Before  []byte   `json:"before,omitempty"`  // its bytes before the first install
	After   string   `json:"after"`             // SHA-256 of what the last install left, hex
	Dirs    []string `json:"dirs,omitempty"`    // directories that were made for it, the innermost first
}

func loadRecord(path string) (*record, error) {
	r := &record{Version: 1, Files: map[string]*fileRecord{}}
	b, err := readFile(path)
	if err != nil || b == nil {
		return r, err
	}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("read %s: version %d is newer than this claudemesh", path, r.Version)
	}
	return r, nil
}

func (r *record) save(path string) error {
	if len(r.Files) == 0 {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomic(path, append(b, '\n'), 0o600)
}

// backups is where the files lie as they were before the first install, for a person to look at: uninstall undoes from the record.
func (o Options) backups() string { return filepath.Join(filepath.Dir(o.Record), "before-install") }

// backUp copies a file, once: what a later install finds is our own.
func (o Options) backUp(path string, b []byte) error {
	to := filepath.Join(o.backups(), filepath.Base(path))
	if have, err := readFile(to); err != nil || have != nil || b == nil {
		return err
	}
	if err := writeAtomic(to, b, 0o600); err != nil {
		return fmt.Errorf("back up %s: %w", path, err)
	}
	return nil
}

// note remembers the change of one file. What was there before the first install stays remembered through later ones, as long as nobody else changed the file.
func (r *record) note(path string, before, after []byte) {
	have := r.Files[path]
	if have != nil && have.After == digest(before) {
		have.After = digest(after)
		return
	}
	f := &fileRecord{Created: before == nil, Before: bytes.Clone(before), After: digest(after)}
	for dir := filepath.Dir(path); before == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		f.Dirs = append(f.Dirs, dir)
	}
	r.Files[path] = f
}

// removeDirs removes the directories that install made, as far as nobody put anything else into them.
func (r *record) removeDirs() {
	var dirs []string
	for _, f := range r.Files {
		dirs = append(dirs, f.Dirs...)
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the innermost first
	for _, dir := range dirs {
		os.Remove(dir)
	}
}

// untouched says whether the file is still what install left.
func (f *fileRecord) untouched(now []byte) bool {
	return f != nil && now != nil && f.After == digest(now)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// writeAtomic replaces a file, keeping its mode if it exists. It follows a symbolic link, so that a file kept elsewhere stays linked.
func writeAtomic(path string, b []byte, mode os.FileMode) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".claudemesh-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
