package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// withdrawTimeout bounds the withdrawal of a secret that could not be shown.
const withdrawTimeout = 15 * time.Second

// stream is stdout or stderr. It remembers the first error, so that verbs need not look at each line that they print.
type stream struct {
	w io.Writer

	mu  sync.Mutex
	err error
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.fail(err)
	return n, err
}

// SyscallConn lets a caller ask the system about a stream that is a file.
func (s *stream) SyscallConn() (syscall.RawConn, error) {
	if c, ok := s.w.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

// failed returns the error of the first write that failed.
func (s *stream) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// close closes a file: some file systems report only then that they are full.
func (s *stream) close() {
	if c, ok := s.w.(io.Closer); ok {
		s.fail(c.Close())
	}
}

// written fails when something that was printed did not arrive. Verbs that go on for long ask it.
func (a *app) written() error {
	err := a.stdout.failed()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE): // the reader has what it wanted, as in `claudemesh inbox | head -1`
		return exitStatus(exitIO)
	}
	return protocol.Refuse(protocol.CodeStoreFailed, "the output could not be written: %v", err)
}

// orWithdraw is written for what is shown only once. What was not shown is withdrawn with undo: nobody has it.
func (c *call) orWithdraw(ctx context.Context, what string, undo func(context.Context) error) error {
	err := c.stdout.failed()
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), withdrawTimeout)
	defer cancel()
	if failed := undo(ctx); failed != nil {
		return protocol.Refuse(protocol.CodeStoreFailed, "%s could not be shown (%v), and is still good: %v", what, err, failed)
	}
	return protocol.Refuse(protocol.CodeStoreFailed, "%s could not be shown and was withdrawn: %v", what, err).
		WithHint("write to another place, and make a new one")
}
