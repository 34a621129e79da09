package broker

import (
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// streamRetry is when who was refused a stream may ask again: others end when their readers notice that they are gone.
const streamRetry = 30 * time.Second

// streams counts the open event streams, of each key, of each member and in all.
type streams struct {
	mu       sync.Mutex
	total    int
	byKey    map[*apiKey]int
	byMember map[*member]int
}

// enter takes a place for a stream of the key's; leave gives it back.
func (s *streams) enter(k *apiKey, l *Limits) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.byKey[k] >= l.StreamsPerKey:
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams of this key are open, the most that this broker allows", l.StreamsPerKey).
			RetryAfter(streamRetry)
	case s.byMember[k.member] >= l.StreamsPerMember:
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams of your keys are open, the most that this broker allows one member", l.StreamsPerMember).
			RetryAfter(streamRetry)
	case s.total >= l.Streams:
		return nil, protocol.Refuse(protocol.CodeCapacity, "%d event streams are open, the most that this broker allows", l.Streams).RetryAfter(streamRetry)
	}
	if s.byKey == nil {
		s.byKey, s.byMember = make(map[*apiKey]int), make(map[*member]int)
	}
	s.byKey[k]++
	s.byMember[k.member]++
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
	if s.byMember[k.member]--; s.byMember[k.member] == 0 {
		delete(s.byMember, k.member)
	}
}

// open is how many there are.
func (s *streams) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
