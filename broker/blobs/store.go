package blobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Bucket of broker.db: mesh uploader(32) blob(16) → row as JSON.
const Bucket = "blobs"

// spare is what is left of the disk for the mail, whatever members may keep.
const spare = 256 << 20

// Options of Open. All are needed.
type Options struct {
	Limits Limits
	Now    func() time.Time
	Log    *slog.Logger
}

// Store keeps the blobs of all meshes. Its methods may be called from any goroutine. Errors are *protocol.Error, or of the disk.
type Store struct {
	db   *store.DB
	dir  string
	opts Options
	free func(dir string) (bytes int64, ok bool)

	mu      sync.Mutex // no I/O under it
	blobs   map[Name]*blob
	members map[member]usage
	meshes  map[protocol.MeshID]int64
	coming  int64 // bytes that were announced and are not on the disk yet
}

type member struct {
	mesh protocol.MeshID
	key  crypto.PublicKey
}

type usage struct {
	count int
	bytes int64
}

// Open reads the rows and removes files that no row tells of.
func Open(db *store.DB, dir string, opts Options) (*Store, error) {
	s := &Store{
		db: db, dir: dir, opts: opts, free: freeSpace,
		blobs: make(map[Name]*blob), members: make(map[member]usage), meshes: make(map[protocol.MeshID]int64),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of blobs: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("read the blobs: %w", err)
	}
	return s, s.tidy()
}

func (s *Store) load() error {
	return s.db.View(func(tx *store.Tx) error {
		for k, v := range tx.Scan(Bucket, nil, nil) {
			var r row
			name, ok := nameOf(k)
			if !ok || json.Unmarshal(v, &r) != nil {
				s.opts.Log.Error("a blob's row is damaged", "key", fmt.Sprintf("%x", k))
				continue
			}
			s.enterLocked(name, &blob{row: r})
		}
		return nil
	})
}

// tidy removes files without a row, which a crash left, and rows whose file lost what it had.
func (s *Store) tidy() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("read the directory of blobs: %w", err)
	}
	sizes := make(map[string]int64, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			sizes[e.Name()] = info.Size()
		}
	}
	for name, b := range s.blobs {
		if file := name.file(); sizes[file] >= b.Offset {
			delete(sizes, file)
			continue
		}
		s.opts.Log.Error("a blob lost its content", "mesh", name.Mesh, "member", name.Uploader.Short(), "blob", name.Blob)
		if err := s.Delete(name); err != nil {
			return err
		}
	}
	for file := range sizes {
		if err := os.Remove(filepath.Join(s.dir, file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.opts.Log.Warn("a file among the blobs stays", "file", file, "err", err)
		}
	}
	return nil
}

// enterLocked and leaveLocked count a blob.
func (s *Store) enterLocked(name Name, b *blob) {
	s.blobs[name] = b
	s.countLocked(name, b, 1)
}

func (s *Store) leaveLocked(name Name, b *blob) {
	delete(s.blobs, name)
	s.countLocked(name, b, -1)
}

func (s *Store) countLocked(name Name, b *blob, sign int) {
	who := member{name.Mesh, name.Uploader}
	u := s.members[who]
	u.count += sign
	u.bytes += int64(sign) * b.Size
	s.members[who] = u
	if u.count == 0 {
		delete(s.members, who)
	}
	s.meshes[name.Mesh] += int64(sign) * b.Size
	if s.meshes[name.Mesh] == 0 {
		delete(s.meshes, name.Mesh)
	}
	s.coming += int64(sign) * (b.Size - b.Offset)
}

// Create reserves the room of a blob. A repeat tells how far the upload came; the same name with another size or other readers is
// refused.
func (s *Store) Create(name Name, size int64, readers []crypto.PublicKey) (protocol.BlobReply, error) {
	free, known := s.free(s.dir)
	b := &blob{row: row{Size: size, Touched: s.opts.Now().UnixMilli(), Readers: readers}, busy: true}
	s.mu.Lock()
	if have := s.blobs[name]; have != nil {
		defer s.mu.Unlock()
		if !have.same(size, readers) {
			return protocol.BlobReply{}, protocol.Refuse(protocol.CodeExists, "there is another blob of this id")
		}
		return s.reply(have), nil
	}
	err := s.roomLocked(name, size)
	if err == nil && known && free-s.coming < size+spare {
		err = protocol.Refuse(protocol.CodeStoreFull, "the broker's disk has no room for files").RetryAfter(time.Minute)
	}
	if err == nil {
		s.enterLocked(name, b)
	}
	s.mu.Unlock()
	if err != nil {
		return protocol.BlobReply{}, err
	}
	err = s.save(name, b.row)
	s.mu.Lock()
	defer s.mu.Unlock()
	b.busy = false
	if err != nil {
		s.leaveLocked(name, b)
		return protocol.BlobReply{}, err
	}
	return s.reply(b), nil
}

// roomLocked refuses what is beyond a limit, and names the limit.
func (s *Store) roomLocked(name Name, size int64) error {
	l, u := s.opts.Limits, s.members[member{name.Mesh, name.Uploader}]
	days := int(l.Life / (24 * time.Hour))
	switch {
	case size < 1 || size > l.File:
		return protocol.Refuse(protocol.CodePayloadTooLarge, "a file of %s, and this broker takes at most %s", mib(size), mib(l.File))
	case u.count >= l.Count:
		return protocol.Refuse(protocol.CodeQuota, "%d files of yours are at the broker, and it keeps at most %d of a member", u.count, l.Count).
			WithHint("each goes after %d days", days)
	case u.bytes+size > l.Member:
		return protocol.Refuse(protocol.CodeQuota, "%s of your files are at the broker, and it keeps at most %s of a member", mib(u.bytes), mib(l.Member)).
			WithHint("each file goes after %d days", days)
	case s.meshes[name.Mesh]+size > l.Mesh:
		return protocol.Refuse(protocol.CodeQuota, "%s of files are at the broker, and it keeps at most %s of a mesh", mib(s.meshes[name.Mesh]), mib(l.Mesh)).
			WithHint("each file goes after %d days", days)
	}
	return nil
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// reply is how far a blob is. mu is held.
func (s *Store) reply(b *blob) protocol.BlobReply {
	life := s.opts.Limits.Unfinished
	if b.complete() {
		life = s.opts.Limits.Life
	}
	return protocol.BlobReply{OK: true, Size: b.Size, Offset: b.Offset, Complete: b.complete(), Expires: b.Touched + life.Milliseconds()}
}

func (s *Store) save(name Name, r row) error {
	v, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a blob's row: %w", err)
	}
	return s.db.Commit(func(tx *store.Tx) error { return tx.Put(Bucket, name.key(), v) })
}

func errNoBlob() error {
	return protocol.Refuse(protocol.CodeNotFound, "there is no such file for you at the broker: it is over, or was withdrawn")
}

// Append writes a part behind what is there and returns when it is on the disk. Of a part that breaks off what came is kept. A part
// that does not begin at the end of what is there changes nothing: the reply says where the next one begins.
func (s *Store) Append(name Name, offset int64, part io.Reader) (protocol.BlobReply, error) {
	b, reply, err := s.begin(name, offset)
	if err != nil || b == nil {
		return reply, err
	}
	r := b.row // nobody else changes it while the blob is busy
	n, came, err := s.write(name, &r, part)
	if n > 0 && err == nil {
		r.Offset, r.Touched = r.Offset+n, s.opts.Now().UnixMilli()
		err = s.save(name, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.busy = false
	if err != nil {
		return protocol.BlobReply{}, err
	}
	s.coming -= r.Offset - b.Offset
	b.row = r
	return s.reply(b), came
}

// begin claims a blob for a part; without one there is nothing to be written.
func (s *Store) begin(name Name, offset int64) (*blob, protocol.BlobReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.blobs[name]
	switch {
	case b == nil:
		return nil, protocol.BlobReply{}, errNoBlob()
	case b.busy:
		return nil, protocol.BlobReply{}, protocol.Refuse(protocol.CodeRateLimit, "another part of this blob is on its way").RetryAfter(time.Second)
	case b.complete() || offset != b.Offset:
		return nil, s.reply(b), nil
	}
	b.busy = true
	return b, protocol.BlobReply{}, nil
}

// write appends to the file. came is why the part broke off, which is no fault of the disk.
func (s *Store) write(name Name, r *row, part io.Reader) (n int64, came, err error) {
	path := filepath.Join(s.dir, name.file())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, nil, err
	}
	src := &faults{r: io.LimitReader(part, min(protocol.BlobPart, r.Size-r.Offset))}
	n, err = io.Copy(io.NewOffsetWriter(f, r.Offset), src)
	if src.err != nil {
		err = nil
	}
	if err == nil && n > 0 {
		err = f.Sync()
	}
	if err != nil {
		f.Truncate(r.Offset) // gives the disk back what it lacks
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil && r.Offset == 0 {
		err = store.OSFS{}.SyncDir(s.dir)
	}
	if err != nil {
		return 0, nil, store.Classify(err)
	}
	return n, src.err, nil
}

// faults tells the errors of a reader from those of a writer.
type faults struct {
	r   io.Reader
	err error
}

func (f *faults) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// Read opens a complete blob for one of its readers, or its uploader. Whoever is neither learns nothing of it.
func (s *Store) Read(name Name, reader crypto.PublicKey) (f *os.File, size int64, err error) {
	s.mu.Lock()
	b := s.blobs[name]
	may := b != nil && b.complete() && (reader == name.Uploader || slices.Contains(b.Readers, reader))
	if may {
		size = b.Size
	}
	s.mu.Unlock()
	if !may {
		return nil, 0, errNoBlob()
	}
	f, err = os.Open(filepath.Join(s.dir, name.file()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errNoBlob() // it went a moment ago
	}
	return f, size, err
}

// Delete removes a blob; one that is not there is no error.
func (s *Store) Delete(name Name) error {
	s.mu.Lock()
	b := s.blobs[name]
	if b == nil {
		s.mu.Unlock()
		return nil
	}
	if b.busy {
		s.mu.Unlock()
		return protocol.Refuse(protocol.CodeRateLimit, "a part of this blob is on its way").RetryAfter(time.Second)
	}
	b.busy = true
	s.mu.Unlock()
	err := s.db.Commit(func(tx *store.Tx) error { return tx.Delete(Bucket, name.key()) })
	if err == nil {
		err = os.Remove(filepath.Join(s.dir, name.file()))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil { // without a row the next start removes it
			s.opts.Log.Warn("the content of a blob stays until the next start", "file", name.file(), "err", err)
		}
		err = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.busy = false
	if err == nil {
		s.leaveLocked(name, b)
	}
	return err
}
