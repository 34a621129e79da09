package recall

import (
	"os"
	"path/filepath"
	"time"
)

// maxLooked is how many files of an episode are looked at.
const maxLooked = 16

// Changed counts the files of the episode that were written after it ended. Files that are gone, or
// lie on another machine, do not count.
func (h *Hit) Changed() (n int) {
	if h.End.IsZero() {
		return 0
	}
	for _, path := range h.Files[:min(len(h.Files), maxLooked)] {
		if !filepath.IsAbs(path) {
			path = filepath.Join(h.Dir, path)
		}
		info, err := os.Lstat(path)
		if err == nil && info.Mode().IsRegular() && info.ModTime().After(h.End.Add(time.Second)) {
			n++
		}
	}
	return n
}
