package claude

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// exportedName is the file in a directory that remembers what was exported there.
const exportedName = ".claudemesh-export.json"

// exported is what Export made of a directory, so that Remove takes back exactly that.
type exported struct {
	Version int               `json:"version"`
	Files   map[string]string `json:"files"` // SHA-256 of what was written, by the path below the directory
	Dirs    []string          `json:"dirs"`  // that were made, the innermost first
}

// Errors of this package that callers tell apart.
var (
	ErrNoExport = errors.New("no plugin was exported there")
	ErrNotEmpty = errors.New("the directory is not empty and holds no plugin")
)

func loadExported(dir string) (*exported, error) {
	e := &exported{Version: 1, Files: map[string]string{}}
	b, err := readFile(filepath.Join(dir, exportedName))
	if err != nil || b == nil {
		return e, err
	}
	if err := json.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, exportedName), err)
	}
	return e, nil
}

func (e *exported) save(dir string) error {
	b, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return err
	}
	return writeAtomic(filepath.Join(dir, exportedName), append(b, '\n'), 0o644)
}

// Export writes the plugin into dir, which must be empty, absent, or hold an earlier export. Files that were changed by hand since
// stay as they are: it returns them. An export that fails leaves what was there.
func (p Plugin) Export(dir string) (kept []string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("export the plugin: %w", err)
	}
	old, err := loadExported(dir)
	if err != nil {
		return nil, fmt.Errorf("export the plugin: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("export the plugin: %w", err)
	}
	if len(entries) > 0 && len(old.Files) == 0 {
		return nil, fmt.Errorf("export the plugin into %s: %w", dir, ErrNotEmpty)
	}
	x := &export{dir: dir, old: old, was: map[string][]byte{}}
	if err := x.run(p.files()); err != nil {
		return nil, errors.Join(fmt.Errorf("export the plugin: %w", err), x.back())
	}
	return x.kept, nil
}

// export is one under way.
type export struct {
	dir  string
	old  *exported
	next exported
	was  map[string][]byte // what was there before, of each file that was touched
	kept []string          // changed by hand
}

func (x *export) run(files map[string][]byte) error {
	x.next = exported{Version: 1, Files: map[string]string{}, Dirs: x.old.Dirs}
	for path, text := range files {
		x.next.Files[path] = digest(text)
		x.next.Dirs = append(x.next.Dirs, missingDirs(x.at(path))...)
	}
	x.next.Dirs = innermostFirst(slices.Clone(x.next.Dirs))
	both := x.next
	both.Files = maps.Clone(x.old.Files)
	maps.Copy(both.Files, x.next.Files)
	if err := both.save(x.dir); err != nil { // first: what a crash leaves is known to be ours
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(both.Files)) {
		if err := x.put(path, files[path]); err != nil {
			return err
		}
	}
	return x.next.save(x.dir)
}

func (x *export) at(path string) string { return filepath.Join(x.dir, filepath.FromSlash(path)) }

// put makes one file what it is to be; nil: gone, as it is of no use in this version.
func (x *export) put(path string, text []byte) error {
	now, err := readFile(x.at(path))
	if err != nil {
		return err
	}
	switch {
	case same(now, text):
		return nil
	case now != nil && digest(now) != x.old.Files[path]:
		x.kept = append(x.kept, x.at(path))
		if x.next.Files[path] = x.old.Files[path]; x.next.Files[path] == "" {
			delete(x.next.Files, path) // his from the beginning
		}
		return nil
	}
	x.was[path] = now
	if text == nil {
		return removeFile(x.at(path))
	}
	return writeAtomic(x.at(path), text, 0o644)
}

// back undoes what run did.
func (x *export) back() (err error) {
	for path, was := range x.was {
		if was == nil {
			err = errors.Join(err, removeFile(x.at(path)))
		} else {
			err = errors.Join(err, writeAtomic(x.at(path), was, 0o644))
		}
	}
	if len(x.old.Files) > 0 {
		return errors.Join(err, x.old.save(x.dir))
	}
	err = errors.Join(err, removeFile(filepath.Join(x.dir, exportedName)))
	dropDirs(x.next.Dirs)
	return err
}

// RemoveExport takes an exported plugin back. Files that were changed by hand stay: it returns them.
func RemoveExport(dir string) (kept []string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("remove the plugin: %w", err)
	}
	e, err := loadExported(dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("remove the plugin: %w", err)
	case len(e.Files) == 0:
		return nil, fmt.Errorf("remove the plugin: %s: %w", dir, ErrNoExport)
	}
	for _, path := range slices.Sorted(maps.Keys(e.Files)) {
		at := filepath.Join(dir, filepath.FromSlash(path))
		now, err := readFile(at)
		if err == nil && now != nil && digest(now) != e.Files[path] {
			kept = append(kept, at)
			continue
		}
		if err == nil {
			err = removeFile(at)
		}
		if err != nil {
			return kept, fmt.Errorf("remove the plugin: %w", err)
		}
	}
	if err := removeFile(filepath.Join(dir, exportedName)); err != nil {
		return kept, fmt.Errorf("remove the plugin: %w", err)
	}
	dropDirs(e.Dirs)
	return kept, nil
}

// dropDirs removes directories as far as nothing is in them.
func dropDirs(dirs []string) {
	for _, dir := range dirs {
		os.Remove(dir)
	}
}
