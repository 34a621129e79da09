package store

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

const segmentSuffix = ".journal"

// segment is one file of the journal. Its fields are guarded by
// Journal.segMu, except for file, whose ReadAt needs no lock while a reader is
// counted.
type segment struct {
	base uint64 // LSN of its first record
	last uint64 // LSN of its last committed record; below base when it has none
	size int64  // bytes committed
	path string
	file File

	readers  int
	released bool // the file is closed by the last reader
}

func segmentPath(dir string, base uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x%s", base, segmentSuffix))
}

func parseSegmentName(name string) (base uint64, ok bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	base, err := strconv.ParseUint(hex, 16, 64)
	return base, err == nil
}

// Position is where a record's payload lies.
type Position struct {
	Segment uint64 // base of the segment
	Offset  int64  // of the payload's first byte in the file
}

// ReadAt reads bytes of a committed record: p begins off bytes behind at. It
// returns ErrGone when Release has dropped the segment.
func (j *Journal) ReadAt(p []byte, at Position, off int) error {
	s := j.acquire(at.Segment)
	if s == nil {
		return ErrGone
	}
	defer j.letGo(s)
	if _, err := s.file.ReadAt(p, at.Offset+int64(off)); err != nil {
		return fmt.Errorf("read journal %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

func (j *Journal) acquire(base uint64) *segment {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	for _, s := range j.segments {
		if s.base == base {
			s.readers++
			return s
		}
	}
	return nil
}

func (j *Journal) letGo(s *segment) {
	j.segMu.Lock()
	s.readers--
	last := s.released && s.readers == 0
	j.segMu.Unlock()
	if last {
		s.file.Close()
	}
}

// Release unlinks the segments whose records all have an LSN of at most upTo,
// except the one that is being written. The caller has them elsewhere, on disk.
func (j *Journal) Release(upTo uint64) error {
	j.segMu.Lock()
	var gone []*segment
	for len(j.segments) > 0 && j.segments[0] != j.current && j.segments[0].last <= upTo {
		s := j.segments[0]
		j.segments = j.segments[1:]
		j.size -= s.size
		gone = append(gone, s)
	}
	j.segMu.Unlock()
	return j.unlink(gone)
}

func (j *Journal) unlink(gone []*segment) error {
	var first error
	for _, s := range gone {
		j.segMu.Lock()
		s.released = true
		idle := s.readers == 0
		j.segMu.Unlock()
		if idle {
			s.file.Close()
		}
		if err := j.fs.Remove(s.path); err != nil && first == nil {
			first = fmt.Errorf("release journal %s: %w", filepath.Base(s.path), err)
		}
	}
	return first
}

// Size is the number of bytes in segments that were not released.
func (j *Journal) Size() int64 {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	return j.size
}

// Segments is the number of segments that were not released.
func (j *Journal) Segments() int {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	return len(j.segments)
}

// OldestEnd is the LSN of the last record of the oldest segment: what Release
// needs to drop one segment. It is zero when there is none.
func (j *Journal) OldestEnd() uint64 {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	if len(j.segments) == 0 {
		return 0
	}
	return j.segments[0].last
}
