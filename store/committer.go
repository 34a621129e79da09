package store

import (
	"errors"
	"fmt"
)

// commitLoop ends when the journal is stopped and nothing waits.
func (j *Journal) commitLoop() {
	defer close(j.done)
	for range j.wake {
		j.mu.Lock()
		b, stopped := j.pending, j.stopped
		j.pending = j.spare
		j.room.Broadcast()
		j.mu.Unlock()
		if len(b.ends) > 0 {
			j.commit(&b)
		}
		b.reset()
		j.spare = b
		if stopped {
			return
		}
	}
}

// commit brings one batch to disk and tells its records.
func (j *Journal) commit(b *batch) {
	at, err := j.write(b)
	if err != nil {
		for _, r := range b.records {
			if r != nil {
				r.Committed(0, Position{}, err)
			}
		}
	} else {
		start := 0
		lsn := j.lsn - uint64(len(b.records))
		for i, r := range b.records {
			lsn++
			if r != nil {
				r.Committed(lsn, Position{at.Segment, at.Offset + int64(start+recordHeader)}, nil)
			}
			start = b.ends[i]
		}
	}
	if j.afterBatch != nil {
		j.afterBatch(j.lsn, err)
	}
}

// write numbers and writes the batch and syncs it when somebody waits. It
// returns where the batch begins.
func (j *Journal) write(b *batch) (Position, error) {
	if err := j.Err(); err != nil {
		return Position{}, err
	}
	if j.throttle != nil {
		if err := j.throttle(j.Size()); err != nil {
			return Position{}, err
		}
	}
	if err := j.rotate(int64(len(b.buf))); err != nil {
		return Position{}, err
	}
	start := 0
	for i, end := range b.ends {
		sealRecord(b.buf[start:end], j.lsn+1+uint64(i))
		start = end
	}
	at := Position{j.current.base, j.end}
	if err := j.writeAt(b.buf); err != nil {
		return Position{}, err
	}
	if b.eager {
		if err := j.sync(); err != nil {
			return Position{}, err
		}
	}
	j.lsn += uint64(len(b.ends))
	j.segMu.Lock()
	j.current.last = j.lsn
	j.current.size = j.end
	j.size += int64(len(b.buf))
	j.segMu.Unlock()
	return at, nil
}

// rotate begins a new segment when there is none or n more bytes would make
// the current one too long. Every segment but the last is whole on disk: once
// a file with a higher base may exist, nothing is added to the current one.
func (j *Journal) rotate(n int64) error {
	if j.current != nil && !j.rotating && (j.end == segmentHeader || j.end+n <= j.segSize) {
		return nil
	}
	if j.current != nil && j.dirty {
		if err := j.sync(); err != nil {
			return err
		}
	}
	j.rotating = true
	s := &segment{base: j.lsn + 1, last: j.lsn, size: segmentHeader, path: segmentPath(j.dir, j.lsn+1)}
	var err error
	if s.file, err = j.fs.Create(s.path); err != nil {
		return j.refuse(fmt.Errorf("create segment: %w", err))
	}
	if _, err := s.file.WriteAt(appendSegmentHeader(nil, s.base), 0); err != nil {
		s.file.Close() // the next try empties it
		return j.refuse(fmt.Errorf("write segment: %w", err))
	}
	j.segMu.Lock()
	j.segments = append(j.segments, s)
	j.current = s
	j.size += s.size
	j.segMu.Unlock()
	j.end, j.rotating, j.dirty, j.unnamed = segmentHeader, false, true, true
	return nil
}

func (j *Journal) writeAt(p []byte) error {
	j.dirty = true
	_, err := j.current.file.WriteAt(p, j.end)
	if err == nil {
		j.end += int64(len(p))
		return nil
	}
	if isFull(err) && j.current.file.Truncate(j.end) == nil {
		return mapError(fmt.Errorf("write journal: %w", err))
	}
	return j.poison(fmt.Errorf("write journal: %w", err))
}

func (j *Journal) sync() error {
	if err := j.current.file.Sync(); err != nil {
		return j.poison(fmt.Errorf("sync journal: %w", err))
	}
	if j.unnamed {
		if err := j.fs.SyncDir(j.dir); err != nil {
			return j.poison(fmt.Errorf("sync journal directory: %w", err))
		}
	}
	j.dirty, j.unnamed = false, false
	return nil
}

// refuse passes on an error after which another try is safe, and poisons on
// any other.
func (j *Journal) refuse(err error) error {
	if err = mapError(err); errors.Is(err, ErrFull) {
		return err
	}
	return j.poison(err)
}

func (j *Journal) poison(cause error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = fmt.Errorf("%w: %w", ErrPoisoned, cause)
	j.room.Broadcast()
	return j.err
}
