package store

import (
	"io"
	"os"
)

// FS is what a Journal needs of a file system.
type FS interface {
	// MkdirAll creates the directory, mode 0700, with its parents.
	MkdirAll(dir string) error
	// ReadDir returns the names of the files in dir, in any order.
	ReadDir(dir string) ([]string, error)
	// Create opens a new empty file, mode 0600, for reading and writing,
	// emptying one that is there.
	Create(path string) (File, error)
	// Open opens a file for reading.
	Open(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
	// SyncDir returns when the names in dir are on disk.
	SyncDir(dir string) error
}

// File is an open file. ReadAt may run beside the other methods.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when the bytes written so far are on disk.
	Sync() error
	Truncate(size int64) error
	Close() error
}

// OSFS is the FS of the operating system.
type OSFS struct{}

func (OSFS) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }
func (OSFS) Rename(from, to string) error { return os.Rename(from, to) }
func (OSFS) Remove(path string) error     { return os.Remove(path) }
func (OSFS) SyncDir(dir string) error     { return syncDir(dir) }

func (OSFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (OSFS) Create(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (OSFS) Open(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// osFile syncs data without the times of the inode, where there is such a call.
type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File) }
