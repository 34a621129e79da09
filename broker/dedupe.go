package broker

// recent remembers the last client ids of one sender member, and who waits for the commit of those that are on their way:
// a repeat is answered when the first is, with the same answer.
//
// It is guarded by the mesh's mutex.
type recent struct {
	byID map[string]*sent
	ring []*sent // in the order of their arrival, overwritten at next
	next int
	max  int
}

// sent is one message that was accepted or is about to be. There are up to Limits.Dedupe for each member, so it is small.
type sent struct {
	clientID   string
	target     string // of a group message; a direct one is to its recipient's key
	recipients []recipientState
	waiting    []func(error) // repeats that came before the commit
	one        [1]recipientState
	messageID  [messageIDSize]byte
	committed  bool
}

const messageIDSize = 32 // characters

// targetSpec is the target as the sender wrote it.
func (s *sent) targetSpec() string {
	if s.target == "" {
		return s.one[0].to.key.String()
	}
	return s.target
}

func newRecent(max int) *recent { return &recent{byID: make(map[string]*sent), max: max} }

func (r *recent) get(clientID []byte) (*sent, bool) {
	s, ok := r.byID[string(clientID)]
	return s, ok
}

// add remembers a message that is on its way; the oldest gives way.
func (r *recent) add(s *sent) {
	r.byID[s.clientID] = s
	if len(r.ring) < r.max {
		r.ring = append(r.ring, s)
		return
	}
	r.forget(r.ring[r.next])
	r.ring[r.next] = s
	r.next = (r.next + 1) % r.max
}

// settle ends the wait for s and returns who waits. After an error the id is free again: nothing was kept under it.
func (r *recent) settle(s *sent, err error) []func(error) {
	waiting := s.waiting
	s.waiting = nil
	s.committed = err == nil
	if err != nil {
		r.forget(s)
	}
	return waiting
}

func (r *recent) forget(s *sent) {
	if r.byID[s.clientID] == s {
		delete(r.byID, s.clientID)
	}
}
