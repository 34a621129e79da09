// Package storetest has a disk for tests of what survives a crash. Killing a
// process proves nothing about fsync, since the page cache outlives it.
package storetest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/claudemesh/claudemesh/store"
)

// ErrIO is what a disk answers that was told to fail.
var ErrIO = errors.New("storetest: input/output error")

// Disk is a store.FS in memory that knows which bytes and names were synced.
// Its zero value is not ready: use NewDisk.
type Disk struct {
	mu       sync.Mutex
	names    map[string]*inode // as running programs see them
	synced   map[string]*inode // as they are on disk
	pending  []nameOp          // since the last SyncDir of their directory
	capacity int64             // bytes; negative: no limit
	off      bool              // after Crash
	failSync int               // fsyncs to refuse
	failing  bool              // refuse writes
	unread   bool              // refuse reads
	syncs    int
	broken   []*inode // an fsync failed: what later ones say means nothing
}

type inode struct {
	data   []byte  // as running programs see it
	disk   []byte  // as synced
	writes []write // not synced
}

// write of data at off; nil data is a truncation.
type write struct {
	off  int64
	data []byte
}

// nameOp sets a name; a nil inode removes it.
type nameOp struct {
	name string
	node *inode
}

// NewDisk returns an empty disk without limit.
func NewDisk() *Disk {
	return &Disk{names: map[string]*inode{}, synced: map[string]*inode{}, capacity: -1}
}

// Crash cuts the power: the disk refuses everything from now on, and what it
// held comes back as another. Each write and name that was not synced may have
// reached it, in any order, whole, in part, or as garbage.
func (d *Disk) Crash(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	after := NewDisk()
	names := maps.Clone(d.synced)
	for _, op := range d.pending {
		switch {
		case r.IntN(2) == 0:
		case op.node == nil:
			delete(names, op.name)
		default:
			names[op.name] = op.node
		}
	}
	torn := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		node := names[name]
		if torn[node] == nil {
			data := node.tear(r)
			torn[node] = &inode{data: data, disk: slices.Clone(data)}
		}
		after.names[name] = torn[node]
		after.synced[name] = torn[node]
	}
	return after
}

// Kill is the end of the process alone: the next one finds all that was
// written, synced or not. What was not synced may still be lost by a Crash.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	return &Disk{
		names: d.names, synced: d.synced, pending: d.pending, capacity: d.capacity, broken: d.broken,
	}
}

func (n *inode) tear(r *rand.Rand) []byte {
	data := slices.Clone(n.disk)
	for _, w := range n.writes {
		part := slices.Clone(w.data)
		switch r.IntN(4) {
		case 0: // forgotten
			continue
		case 1: // cut
			part = part[:r.IntN(len(part)+1)]
		case 2: // garbage in a sector, or in all of it
			at := 0
			if len(part) > 0 {
				at = r.IntN(len(part))
			}
			for i := at; i < min(len(part), at+512); i++ {
				part[i] = byte(r.Uint32())
			}
		}
		data = apply(data, write{w.off, part}, w.data == nil)
	}
	return data
}

func apply(data []byte, w write, truncate bool) []byte {
	if truncate {
		if w.off < int64(len(data)) {
			return data[:w.off]
		}
		return data
	}
	if end := w.off + int64(len(w.data)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[w.off:], w.data)
	return data
}

// SetCapacity limits the bytes of all files together; negative is no limit.
func (d *Disk) SetCapacity(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = n
}

// FailSyncs refuses the next n fsyncs of files. As on Linux, a later fsync of
// such a file succeeds without having written what the refused one should have.
func (d *Disk) FailSyncs(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failSync = n
}

// FailWrites refuses all writes while on.
func (d *Disk) FailWrites(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = on
}

// FailReads refuses all reads of file contents while on.
func (d *Disk) FailReads(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unread = on
}

// Syncs is how many fsyncs of files were asked for.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// Used is the bytes of all files.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.usedLocked()
}

func (d *Disk) usedLocked() (n int64) {
	for _, node := range d.names {
		n += int64(len(node.data))
	}
	return n
}

// ReadFile returns a copy of a file as programs see it.
func (d *Disk) ReadFile(path string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[path]; n != nil {
		return slices.Clone(n.data), nil
	}
	return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
}

// WriteFile replaces a file, synced, as damage or a foreign hand would.
func (d *Disk) WriteFile(path string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &inode{data: slices.Clone(data), disk: slices.Clone(data)}
	d.names[path], d.synced[path] = n, n
}

func (d *Disk) setLocked(name string, n *inode) {
	if n == nil {
		delete(d.names, name)
	} else {
		d.names[name] = n
	}
	d.pending = append(d.pending, nameOp{name, n})
}

// MkdirAll implements store.FS: every directory is there.
func (d *Disk) MkdirAll(string) error { return nil }

// ReadDir implements store.FS.
func (d *Disk) ReadDir(dir string) (names []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, ErrIO
	}
	for name := range d.names {
		if filepath.Dir(name) == filepath.Clean(dir) {
			names = append(names, filepath.Base(name))
		}
	}
	return names, nil
}

// Create implements store.FS.
func (d *Disk) Create(path string) (store.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off || d.failing {
		return nil, ErrIO
	}
	n := d.names[path]
	if n == nil {
		n = new(inode)
		d.setLocked(path, n)
	}
	n.truncate(0)
	return &file{d: d, n: n}, nil
}

// Open implements store.FS.
func (d *Disk) Open(path string) (store.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return nil, ErrIO
	}
	if n := d.names[path]; n != nil {
		return &file{d: d, n: n}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

// Rename implements store.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[from]
	if d.off || n == nil {
		return ErrIO
	}
	d.setLocked(to, n)
	d.setLocked(from, nil)
	return nil
}

// Remove implements store.FS.
func (d *Disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off || d.names[path] == nil {
		return ErrIO
	}
	d.setLocked(path, nil)
	return nil
}

// SyncDir implements store.FS.
func (d *Disk) SyncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off {
		return ErrIO
	}
	d.pending = slices.DeleteFunc(d.pending, func(op nameOp) bool {
		if filepath.Dir(op.name) != filepath.Clean(dir) {
			return false
		}
		if op.node == nil {
			delete(d.synced, op.name)
		} else {
			d.synced[op.name] = op.node
		}
		return true
	})
	return nil
}

func (n *inode) truncate(size int64) {
	w := write{off: size}
	n.data = apply(n.data, w, true)
	n.writes = append(n.writes, w)
}

type file struct {
	d *Disk
	n *inode
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.off || f.d.unread {
		return 0, ErrIO
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.off || f.d.failing {
		return 0, ErrIO
	}
	part := slices.Clone(p)
	var err error
	if grow := off + int64(len(p)) - int64(len(f.n.data)); f.d.capacity >= 0 && grow > 0 {
		if over := f.d.usedLocked() + grow - f.d.capacity; over > 0 {
			part = part[:max(0, int64(len(p))-over)]
			err = syscall.ENOSPC
		}
	}
	w := write{off, part}
	f.n.data = apply(f.n.data, w, false)
	f.n.writes = append(f.n.writes, w)
	return len(part), err
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.syncs++
	if f.d.off {
		return ErrIO
	}
	if f.d.failSync > 0 {
		f.d.failSync--
		f.d.broken = append(f.d.broken, f.n)
		return ErrIO
	}
	if slices.Contains(f.d.broken, f.n) {
		return nil
	}
	f.n.disk = slices.Clone(f.n.data)
	f.n.writes = nil
	return nil
}

func (f *file) Truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.off || f.d.failing {
		return ErrIO
	}
	f.n.truncate(size)
	return nil
}

func (f *file) Close() error { return nil }
