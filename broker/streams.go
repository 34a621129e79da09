package broker

import (
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// streamRetry is when who was refused a stream may ask again: others end when their readers notice that they are gone.
const streamRetry = 30 * time.Second

// streams counts the open event streams, of each key and in all.
type streams struct {
	mu    sync.Mutex
	total int
	byKey map[*apiKey]int
}

// enter takes a place for a stream of the key's; leave gives it back.
func (s *streams) enter(k *apiKey, l *Limits) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byKey[k] >= l.StreamsPerKey:
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams of this key are open, the most that this broker allows", l.StreamsPerKey).
			RetryAfter(streamRetry)
	case s.total >= l.Streams:
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams are open, the most that this broker allows", l.Streams).RetryAfter(streamRetry)
	}
	if s.byKey == nil {
		s.byKey = make(map[*apiKey]int)
	}
	s.byKey[k]++
	s.total++
	return func() { s.leave(k) }, nil
}

func (s *streams) leave(k *apiKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.byKey[k]--; s.byKey[k] == 0 {
		delete(s.byKey, k)
	}
}

// open is how many there are.
func (s *streams) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
