package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/files"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// What waits on this machine. Beyond it a file is refused before it is read.
const (
	mostBytes  = 1 << 30
	mostFiles  = 1000
	stagedLife = time.Hour // of a file that no message took
)

// Spool keeps files on their way. Its methods may be called from any goroutine.
type Spool struct {
	db  *store.DB
	out string // directory of what leaves
	in  string // of what came
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex // no I/O under it
	count   int
	bytes   int64
	fetches map[string]chan struct{} // files of in that somebody works on, each closed at its end
}

// File is one that waits to leave.
type File struct {
	Blob    protocol.BlobID `json:"blob"`
	Name    string          `json:"name"`
	Size    int64           `json:"size"`
	SHA256  [32]byte        `json:"sha256"`
	Cipher  int64           `json:"cipher"`        // bytes of the ciphertext
	Key     string          `json:"key,omitempty"` // until a message has it
	Created int64           `json:"created"`       // Unix ms

	Mesh    protocol.MeshID `json:"mesh,omitempty"` // with Message: whose it is
	Message string          `json:"message,omitempty"`
}

// ref is what the message carries.
func (f *File) ref() protocol.FileRef {
	return protocol.FileRef{Name: f.Name, Size: f.Size, SHA256: f.SHA256, Blob: f.Blob, Key: f.Key}
}

// Open opens the spool of a home, dir, and removes what a crash left.
func Open(db *store.DB, dir string, now func() time.Time, log *slog.Logger) (*Spool, error) {
	s := &Spool{
		db: db, out: filepath.Join(dir, "out"), in: filepath.Join(dir, "in"), now: now, log: log, fetches: make(map[string]chan struct{}),
	}
	for _, d := range []string{dir, s.out, s.in} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make the spool: %w", err)
		}
	}
	known := make(map[string]bool)
	err := db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(table.Files, nil, nil) {
			var f File
			if err := json.Unmarshal(v, &f); err != nil {
				log.Error("a file of the spool has a damaged row", "key", fmt.Sprintf("%x", k), "err", err)
				continue
			}
			known[f.Blob.String()] = true
			s.count, s.bytes = s.count+1, s.bytes+f.Cipher
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the spool: %w", err)
	}
	return s, s.tidy(known)
}

func (s *Spool) tidy(known map[string]bool) error {
	entries, err := os.ReadDir(s.out)
	if err != nil {
		return fmt.Errorf("read the spool: %w", err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			s.removeFile(filepath.Join(s.out, e.Name()))
		}
	}
	return nil
}

func (s *Spool) removeFile(path string) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("a file of the spool stays until the next start", "err", err)
	}
}

func (s *Spool) path(blob protocol.BlobID) string { return filepath.Join(s.out, blob.String()) }

// Stage encrypts a content onto the disk, where it waits an hour for a message that takes it. Errors are *protocol.Error, or of the
// disk.
func (s *Spool) Stage(name string, src io.Reader) (staged protocol.StagedFile, err error) {
	if err := s.reserve(); err != nil {
		return staged, err
	}
	f := File{Blob: protocol.NewBlobID(), Name: files.SafeName(name), Created: s.now().UnixMilli()}
	path := s.path(f.Blob)
	sealed, err := s.seal(path, src)
	if err == nil {
		f.Size, f.SHA256, f.Key, f.Cipher = sealed.Size, sealed.SHA256, sealed.Key, sealed.Cipher
		err = s.db.Commit(func(tx *store.Tx) error { return table.PutJSON(tx, table.Files, f.Blob[:], &f) })
	}
	s.mu.Lock()
	s.bytes -= protocol.MaxBlobSize
	if err == nil {
		s.bytes += f.Cipher
	} else {
		s.count--
	}
	s.mu.Unlock()
	if err != nil {
		s.removeFile(path)
		return staged, table.Refusal("keep the file", err)
	}
	return protocol.StagedFile{OK: true, ID: f.Blob.String(), FileInfo: files.Info(f.Name, f.Size, f.SHA256)}, nil
}

// reserve counts a file of the largest size, until it is known.
func (s *Spool) reserve() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= mostFiles || s.bytes+protocol.MaxBlobSize > mostBytes {
		return protocol.Refuse(protocol.CodeQuota, "%d files with %d MiB wait to leave this machine, the most that it keeps", s.count, s.bytes>>20).
			WithHint("claudemesh daemon outbox list shows what waits, and why")
	}
	s.count, s.bytes = s.count+1, s.bytes+protocol.MaxBlobSize
	return nil
}

// seal writes the ciphertext, flushed to the disk.
func (s *Spool) seal(path string, src io.Reader) (sealed files.Sealed, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return sealed, err
	}
	sealed, err = files.Seal(f, src)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = store.OSFS{}.SyncDir(s.out)
	}
	return sealed, store.Classify(err)
}

// Staged returns the files of these ids, for a message that is about to take them.
func (s *Spool) Staged(ids []string) (all []File, refs []protocol.FileRef, err error) {
	if len(ids) > protocol.MaxFiles {
		return nil, nil, protocol.Refuse(protocol.CodeInvalid, "%d files, at most %d go with one message", len(ids), protocol.MaxFiles)
	}
	seen := make(map[protocol.BlobID]bool)
	err = s.db.View(func(tx *store.Tx) error {
		all, refs = nil, nil
		for _, text := range ids {
			id, err := protocol.ParseBlobID(text)
			if err != nil || seen[id] {
				return protocol.Refuse(protocol.CodeInvalid, "%q is not the id of a file, or is there twice", text)
			}
			seen[id] = true
			f, err := staged(tx, id)
			if err != nil {
				return err
			}
			all, refs = append(all, *f), append(refs, f.ref())
		}
		return nil
	})
	return all, refs, err
}

// staged reads a file that no message has taken.
func staged(tx *store.Tx, id protocol.BlobID) (*File, error) {
	f := new(File)
	ok, err := table.GetJSON(tx, table.Files, id[:], f)
	if err != nil {
		return nil, err
	}
	if !ok || f.Message != "" {
		return nil, protocol.Refuse(protocol.CodeNotFound, "no file %s waits for a message: hand it over again", id)
	}
	return f, nil
}

// Take gives files to a message, in the transaction that accepts it. Their keys are in the sealed message now, and nowhere else.
func (s *Spool) Take(tx *store.Tx, all []File, mesh protocol.MeshID, message string) error {
	for _, f := range all {
		if _, err := staged(tx, f.Blob); err != nil {
			return err
		}
		f.Key, f.Mesh, f.Message = "", mesh, message
		if err := table.PutJSON(tx, table.Files, f.Blob[:], &f); err != nil {
			return err
		}
	}
	return nil
}

// Remove forgets a file, which may be gone already.
func (s *Spool) Remove(blob protocol.BlobID) error {
	return s.removeIf(blob, func(*store.Tx, *File) bool { return true })
}

// removeIf forgets a file if it is unwanted still when it goes.
func (s *Spool) removeIf(blob protocol.BlobID, unwanted func(tx *store.Tx, f *File) bool) error {
	var had *File
	err := s.db.Commit(func(tx *store.Tx) error {
		had = nil
		f := new(File)
		ok, err := table.GetJSON(tx, table.Files, blob[:], f)
		if !ok || err != nil || !unwanted(tx, f) {
			return err
		}
		had = f
		return tx.Delete(table.Files, blob[:])
	})
	if err != nil || had == nil {
		return err
	}
	s.removeFile(s.path(blob))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count, s.bytes = s.count-1, s.bytes-had.Cipher
	return nil
}

// DropMesh forgets what waits for a mesh that was left.
func (s *Spool) DropMesh(mesh protocol.MeshID) error {
	return s.Sweep(func(_ *store.Tx, f *File) bool { return f.Mesh != mesh })
}

// Has reports whether a file is still here to be uploaded.
func (s *Spool) Has(tx *store.Tx, blob protocol.BlobID) bool {
	return tx.Peek(table.Files, blob[:]) != nil
}

// Sweep forgets the files that no message took in time, those whose message keep does not want any more, and what was fetched long
// ago.
func (s *Spool) Sweep(keep func(tx *store.Tx, f *File) bool) error {
	limit := s.now().Add(-stagedLife).UnixMilli()
	unwanted := func(tx *store.Tx, f *File) bool {
		return f.Message == "" && f.Created < limit || f.Message != "" && !keep(tx, f)
	}
	var gone []protocol.BlobID
	err := s.db.View(func(tx *store.Tx) error {
		for _, v := range tx.Scan(table.Files, nil, nil) {
			var f File
			if json.Unmarshal(v, &f) != nil {
				continue
			}
			if unwanted(tx, &f) {
				gone = append(gone, f.Blob)
			}
		}
		return nil
	})
	for _, blob := range gone {
		err = errors.Join(err, s.removeIf(blob, unwanted)) // a message may have taken it meanwhile
	}
	s.sweepFetched()
	return err
}
