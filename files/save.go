package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	mostNumbered = 1000 // names that are tried for one file
	partEnding   = ".part"
	partHead     = ".claudemesh-"
)

// Save writes what src gives into the directory under the name, or, where there is something of that name, under it with a number.
// Nothing that is there is changed or followed: the content goes to a fresh file of mode 0600, which is flushed to the disk and
// gets its name only when src ended without an error. It returns the path.
func Save(dir, name string, src io.Reader) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", cannotSave(dir, err)
	}
	defer root.Close()
	sweepParts(root)
	part := partHead + protocol.NewClientID() + partEnding
	f, err := root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", cannotSave(dir, err)
	}
	defer root.Remove(part)
	if err := fill(f, src); err != nil {
		return "", err
	}
	name, err = place(root, part, SafeName(name))
	if err != nil {
		return "", cannotSave(dir, err)
	}
	syncDir(root)
	return filepath.Join(dir, name), nil
}

// partLife is longer than any transfer takes.
const partLife = 24 * time.Hour

// sweepParts removes what a process that was killed left of a file: unfinished ones of ours, which have no other name.
func sweepParts(root *os.Root) {
	d, err := root.Open(".")
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, partHead) || !strings.HasSuffix(name, partEnding) {
			continue
		}
		if info, err := root.Lstat(name); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > partLife {
			root.Remove(name)
		}
	}
}

// fill copies src to f and closes it.
func fill(f *os.File, src io.Reader) error {
	_, err := io.Copy(f, src)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("save the file: %w", err)
	}
	return nil
}

// place gives a finished file its name, or the next that is free. A link fails where there is something, be it a link to nowhere.
func place(root *os.Root, part, name string) (string, error) {
	for n := 1; n <= mostNumbered; n++ {
		as := numbered(name, n)
		err := root.Link(part, as)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			err = placeWithoutLinks(root, part, as)
		}
		if !errors.Is(err, fs.ErrExist) {
			return as, err
		}
	}
	return "", fmt.Errorf("there are %d files called %s", mostNumbered, name)
}

// placeWithoutLinks is place for file systems without hard links: an empty file of ours keeps the name until the rename.
func placeWithoutLinks(root *os.Root, part, as string) error {
	f, err := root.OpenFile(as, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return root.Rename(part, as)
}

// numbered is name for n = 1, and from then on "report (2).pdf".
func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	ext := filepath.Ext(name)
	return fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(name, ext), n, ext)
}

// syncDir has the directory's names written to the disk, where a system can.
func syncDir(root *os.Root) {
	if d, err := root.Open("."); err == nil {
		d.Sync()
		d.Close()
	}
}

func cannotSave(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return protocol.Refuse(protocol.CodeNotFound, "there is no directory %s", dir)
	case errors.Is(err, fs.ErrPermission):
		return protocol.Refuse(protocol.CodeForbidden, "no file can be made in %s: permission denied", dir)
	}
	return fmt.Errorf("save into %s: %w", dir, err)
}
