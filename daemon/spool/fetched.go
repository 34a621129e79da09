package spool

import (
	"os"
	"slices"
	"time"
)

// fetchedFile is one ciphertext that came.
type fetchedFile struct {
	name string
	size int64
	at   time.Time
}

// fetched lists what came, oldest first.
func (s *Spool) fetched() (all []fetchedFile) {
	entries, err := os.ReadDir(s.in)
	if err != nil {
		s.log.Warn("read what was fetched", "err", err)
		return nil
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			all = append(all, fetchedFile{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b fetchedFile) int { return a.at.Compare(b.at) })
	return all
}
