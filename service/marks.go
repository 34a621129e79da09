package service

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// marks are what a unit or plist remembers of its own installation, in comments at its end: what goes when it goes.
type marks struct {
	linger bool     // lingering was turned on with it
	dirs   []string // that were made for it, the innermost first
}

// The words of the marks.
const (
	lingerWords  = "Lingering was turned on with this unit and goes with it."
	dirWords     = "Made for this file, and goes with it: "
	writtenWords = "As it was written: "
)

// written is a file as we write it: the body, the marks, and a digest by which a change by hand shows.
func (s *Service) written(body string, k marks) string {
	var b strings.Builder
	b.WriteString(body)
	if k.linger {
		b.WriteString(s.manager.comment(lingerWords))
	}
	for _, dir := range k.dirs {
		b.WriteString(s.manager.comment(dirWords + dir))
	}
	b.WriteString(s.manager.comment(writtenWords + digestOf(body)))
	return b.String()
}

// read takes a file apart. Changed tells that somebody else wrote something into it since.
func (s *Service) read(text string) (body string, k marks, changed bool) {
	var rest strings.Builder
	sum := ""
	for line := range strings.Lines(text) {
		switch words := s.manager.uncomment(line); {
		case words == lingerWords:
			k.linger = true
		case strings.HasPrefix(words, dirWords):
			k.dirs = append(k.dirs, strings.TrimPrefix(words, dirWords))
		case strings.HasPrefix(words, writtenWords):
			sum = strings.TrimPrefix(words, writtenWords)
		default:
			rest.WriteString(line)
		}
	}
	body = rest.String()
	return body, k, sum != "" && sum != digestOf(body)
}

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:8])
}

// missingDirs are the directories that have to be made for files, the innermost first.
func missingDirs(paths ...string) []string {
	var dirs []string
	for _, path := range paths {
		for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Lstat(dir); err == nil {
				break
			}
			dirs = append(dirs, dir)
		}
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(dirs)
}

// removeDirs removes directories that were made for a file, as far as nothing else is in them.
func removeDirs(dirs []string) {
	for _, dir := range dirs {
		os.Remove(dir)
	}
}

// keepChanged copies a file that was changed by hand beside it, under a name that service managers do not read.
func keepChanged(path, text string) (kept string, err error) {
	for n := 1; ; n++ {
		kept = fmt.Sprintf("%s.changed-%d", path, n)
		f, err := os.OpenFile(kept, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(text)
		return kept, errors.Join(err, f.Close())
	}
}

// notALink refuses a file that is a link: what it leads to is kept by somebody else.
func notALink(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	to, err := os.Readlink(path)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is a link to %s: %w", path, to, ErrForeign)
}
