package daemon

import (
	"os"
	"sync"
)

// maxLogFile is when daemon.log becomes daemon.log.1: weeks of an ordinary daemon, and two of them are nothing on a disk.
const maxLogFile = 8 << 20

// logFile is a log that keeps one older file beside it and never grows past twice its limit.
type logFile struct {
	path  string
	limit int64

	mu   sync.Mutex
	f    *os.File
	size int64
}

// openLogFile opens the file for appending, mode 0600.
func openLogFile(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, limit: limit}
	return l, l.openLocked()
}

func (l *logFile) openLocked() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends one record. A rotation that does not work costs nothing but the limit: the file goes on.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return 0, os.ErrClosed
	}
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		l.rotateLocked()
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

// rotateLocked starts a new file under the old name.
func (l *logFile) rotateLocked() {
	old := l.f
	if os.Rename(l.path, l.path+".1") != nil {
		return
	}
	if l.openLocked() == nil {
		old.Close()
	}
}

// Close may be called more than once.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}
