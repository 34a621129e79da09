package store

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
)

const rewriteSuffix = ".rewrite"

// OpenJournal replays the journal in dir, which it creates when missing, and
// starts the committer. A tail that was not wholly written is dropped from the
// last segment; damage anywhere else is ErrCorrupt. The caller makes sure that
// no other process has the directory.
func OpenJournal(dir string, o JournalOptions) (*Journal, error) {
	if o.FS == nil {
		o.FS = OSFS{}
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	j := &Journal{
		fs: o.FS, dir: dir, segSize: o.SegmentSize,
		throttle: o.Throttle, afterBatch: o.AfterBatch,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	j.room.L = &j.mu
	if err := j.load(o); err != nil {
		for _, s := range j.segments {
			s.file.Close()
		}
		return nil, fmt.Errorf("open journal: %w", mapError(err))
	}
	j.lsn = max(j.lsn, o.Floor)
	go j.commitLoop()
	return j, nil
}

// load replays every segment.
func (j *Journal) load(o JournalOptions) error {
	if err := j.fs.MkdirAll(j.dir); err != nil {
		return err
	}
	if err := j.fs.SyncDir(filepath.Dir(j.dir)); err != nil {
		return err
	}
	bases, err := j.list()
	if err != nil {
		return err
	}
	for i, base := range bases {
		if i == len(bases)-1 {
			if kept, err := j.mend(base); err != nil || !kept {
				return err
			}
		}
		if base != j.lsn+1 && (base <= j.lsn || base > o.Floor+1) {
			return fmt.Errorf("segment %016x follows record %016x: %w", base, j.lsn, ErrCorrupt)
		}
		if err := j.loadSegment(base, o.Replay); err != nil {
			return err
		}
	}
	return nil
}

// list returns the bases of the segments in order, and removes what a rewrite
// that was cut short has left.
func (j *Journal) list() ([]uint64, error) {
	names, err := j.fs.ReadDir(j.dir)
	if err != nil {
		return nil, err
	}
	var bases []uint64
	for _, name := range names {
		if base, ok := parseSegmentName(name); ok {
			bases = append(bases, base)
		} else if filepath.Ext(name) == rewriteSuffix {
			if err := j.fs.Remove(filepath.Join(j.dir, name)); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(bases)
	return bases, nil
}

// mend writes the good records of the last segment to a new file in its place,
// or removes it when it has none. What is read here may be in the page cache
// only, left by a process that could not sync it: a new file can be synced, that
// one cannot be trusted to.
func (j *Journal) mend(base uint64) (kept bool, err error) {
	path := segmentPath(j.dir, base)
	data, err := j.readFile(path)
	if err != nil {
		return false, err
	}
	good := goodPrefix(data, base)
	if good <= segmentHeader {
		if err := j.fs.Remove(path); err != nil {
			return false, err
		}
		return false, j.fs.SyncDir(j.dir)
	}
	tmp := path + rewriteSuffix
	f, err := j.fs.Create(tmp)
	if err != nil {
		return false, err
	}
	_, err = f.WriteAt(data[:good], 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, err
	}
	if err := j.fs.Rename(tmp, path); err != nil {
		return false, err
	}
	return true, j.fs.SyncDir(j.dir)
}

// goodPrefix is the number of bytes that are a header and whole records in
// sequence.
func goodPrefix(data []byte, base uint64) int {
	if b, ok := segmentBase(data); !ok || b != base {
		return 0
	}
	n := segmentHeader
	for want := base; ; want++ {
		lsn, payload, ok := nextRecord(data[n:])
		if !ok || lsn != want {
			return n
		}
		n += recordHeader + len(payload)
	}
}

func (j *Journal) loadSegment(base uint64, replay func(uint64, Position, []byte) error) error {
	path := segmentPath(j.dir, base)
	data, err := j.readFile(path)
	if err != nil {
		return err
	}
	if n := goodPrefix(data, base); n < len(data) || n <= segmentHeader {
		return fmt.Errorf("segment %016x at byte %d: %w", base, n, ErrCorrupt)
	}
	s := &segment{base: base, last: base - 1, size: int64(len(data)), path: path}
	if s.file, err = j.fs.Open(path); err != nil {
		return err
	}
	j.segments = append(j.segments, s)
	j.size += s.size
	for off := segmentHeader; off < len(data); {
		lsn, payload, _ := nextRecord(data[off:])
		s.last, j.lsn = lsn, lsn
		if replay != nil {
			if err := replay(lsn, Position{base, int64(off + recordHeader)}, payload); err != nil {
				return fmt.Errorf("replay record %016x: %w", lsn, err)
			}
		}
		off += recordHeader + len(payload)
	}
	return nil
}

func (j *Journal) readFile(path string) ([]byte, error) {
	f, err := j.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
}
