//go:build !linux

package store

import "os"

// On Darwin this is F_FULLFSYNC: the drive's cache is flushed too.
func datasync(f *os.File) error { return f.Sync() }
