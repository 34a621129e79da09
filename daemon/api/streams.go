package api

import (
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

const (
	// maxStreams is how many event streams are open at once: each of a hundred sessions has a few.
	maxStreams = 512

	// MaxPortStreams is how many of them came by the REST port, where a program that forgets to close them may be anybody's.
	MaxPortStreams = 32

	streamRetry = 10 * time.Second
)

// streams counts open event streams.
type streams struct {
	mu  sync.Mutex
	n   int
	max int
}

// enter takes a place; leave gives it back.
func (s *streams) enter() (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n >= s.max {
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams are open, the most that are served at once", s.max).RetryAfter(streamRetry)
	}
	s.n++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.n--
	}, nil
}

// open is how many there are.
func (s *streams) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
