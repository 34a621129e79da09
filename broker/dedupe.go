package broker

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// recent remembers the last client ids of one sender member, and who waits for the commit of those that are on their way:
// a repeat is answered when the first is, with the same answer.
//
// A broker has up to Limits.Dedupe of them for each member, so what is the same for most is kept without pointers, for the
// collector to pass over; the rest is beside.
//
// It is guarded by the mesh's mutex.
type recent struct {
	max    int
	count  uint64               // messages so far; number n is in slot (n-1) % max
	chunks []*[recentChunk]sent // the slots, made as they are needed; they stay where they are
	byID   map[uint64]uint32    // slot by the hash of the client id
	beside map[*sent]*besides
}

const recentChunk = 64

// unknownTarget stands for that of a message to many of which only receipts are left.
const unknownTarget = "*"

// sent is one message that was accepted or is about to be.
type sent struct {
	number    uint64           // from 1; another message has taken the slot when it is another number, none uses it when it is 0
	to        crypto.PublicKey // of a direct message
	at        int64            // when its state changed, Unix ms
	print     uint64           // of target and nonce, see printOf; 0 where only the target is known
	messageID [messageIDSize]byte
	clientID  [usualID]byte // of the usual length
	state     stateCode
	committed bool
	extra     bool // there is more in recent.beside
}

const (
	messageIDSize = 32 // characters
	usualID       = 22 // characters of a client id that a daemon makes
)

// besides is what few messages have.
type besides struct {
	clientID   string           // of another length
	target     string           // as the sender wrote it, of a message to several
	recipients []recipientState // of it
	waiting    []func(error)    // repeats that came before the commit
}

// recipientState is what became of a message for one recipient.
type recipientState struct {
	to    crypto.PublicKey
	state stateCode
	at    int64 // Unix ms
}

// stateCode is a state in one byte; the zero is queued.
type stateCode uint8

var sentStates = [...]protocol.State{
	protocol.StateQueued, protocol.StateDelivered, protocol.StateShown, protocol.StateRead, protocol.StateRefused, stateExpired,
}

// codeOf is the code of s; one that this broker does not know, of a newer one's receipt, leaves the message queued.
func codeOf(s protocol.State) stateCode { return stateCode(max(0, slices.Index(sentStates[:], s))) }

func (c stateCode) state() protocol.State { return sentStates[c] }

func newRecent(max int) *recent { return &recent{max: max} }

var idSeed = maphash.MakeSeed()

// get returns the message of that client id.
func (r *recent) get(clientID []byte) (*sent, bool) {
	i, ok := r.byID[maphash.Bytes(idSeed, clientID)]
	if !ok {
		return nil, false
	}
	s := r.slot(i)
	return s, r.is(s, clientID)
}

// repeat returns the message of that client id unless it came to nothing: then its sender may mean it to be sent again, and a
// recipient who has it after all drops it.
func (r *recent) repeat(clientID []byte) (*sent, bool) {
	s, ok := r.get(clientID)
	if !ok {
		return nil, false
	}
	for _, to := range r.recipients(s) {
		if c := to.state.state(); c != protocol.StateRefused && c != stateExpired {
			return s, true
		}
	}
	r.forget(s)
	return nil, false
}

func (r *recent) slot(i uint32) *sent { return &r.chunks[i/recentChunk][i%recentChunk] }

// is tells whether s is the message of that client id.
func (r *recent) is(s *sent, clientID []byte) bool {
	if s.extra && r.beside[s].clientID != "" {
		return r.beside[s].clientID == string(clientID)
	}
	return string(s.clientID[:]) == string(clientID)
}

// clientID returns the id under which the sender knows s.
func (r *recent) clientID(s *sent) string {
	if s.extra && r.beside[s].clientID != "" {
		return r.beside[s].clientID
	}
	return string(s.clientID[:])
}

// add remembers a message that is on its way; the oldest gives way.
func (r *recent) add(clientID []byte) *sent {
	i := uint32(r.count % uint64(r.max))
	if int(i/recentChunk) == len(r.chunks) {
		r.chunks = append(r.chunks, new([recentChunk]sent))
	}
	s := r.slot(i)
	r.forget(s)
	r.count++
	*s = sent{number: r.count}
	if len(clientID) == usualID {
		copy(s.clientID[:], clientID)
	} else {
		r.more(s).clientID = string(clientID)
	}
	if r.byID == nil {
		r.byID = make(map[uint64]uint32)
	}
	r.byID[maphash.Bytes(idSeed, clientID)] = i
	return s
}

// more returns what is beside s, made if necessary.
func (r *recent) more(s *sent) *besides {
	if !s.extra {
		if r.beside == nil {
			r.beside = make(map[*sent]*besides)
		}
		s.extra, r.beside[s] = true, new(besides)
	}
	return r.beside[s]
}

// wait has answer called when s is on disk, or is not.
func (r *recent) wait(s *sent, answer func(error)) {
	b := r.more(s)
	b.waiting = append(b.waiting, answer)
}

// settle ends the wait for message number n in the slot s, and returns who waits. After an error the id is free again: nothing
// was kept under it.
func (r *recent) settle(s *sent, n uint64, err error) []func(error) {
	if s.number != n {
		return nil // so many came after it that it is forgotten
	}
	var waiting []func(error)
	if s.extra {
		b := r.beside[s]
		waiting, b.waiting = b.waiting, nil
	}
	s.committed = err == nil
	if err != nil {
		r.forget(s)
	}
	return waiting
}

// forget empties a slot.
func (r *recent) forget(s *sent) {
	if s.number == 0 {
		return
	}
	h := maphash.Bytes(idSeed, s.clientID[:])
	if s.extra {
		if id := r.beside[s].clientID; id != "" {
			h = maphash.String(idSeed, id)
		}
		delete(r.beside, s)
	}
	if i, ok := r.byID[h]; ok && r.slot(i) == s {
		delete(r.byID, h)
	}
	*s = sent{}
}

// printOf tells messages apart that have one client id. Who seals anew has another nonce.
func printOf(v *protocol.SendView) uint64 {
	return max(1, maphash.Bytes(idSeed, v.TargetSpec)^bits.RotateLeft64(maphash.Bytes(idSeed, v.Nonce), 1))
}

// differs reports whether v, which has the client id of s, is another message. What a broker has found again when it started it
// knows by its target alone.
func (r *recent) differs(s *sent, v *protocol.SendView) bool {
	if s.print != 0 {
		return s.print != printOf(v)
	}
	target := r.target(s)
	return target != string(v.TargetSpec) && target != unknownTarget
}

func errOtherMessage() error {
	return protocol.Refuse(protocol.CodeExists, "the id was used for another message")
}

// target is where the sender sent s.
func (r *recent) target(s *sent) string {
	if s.extra && r.beside[s].target != "" {
		return r.beside[s].target
	}
	return s.to.String()
}

// recipients returns what became of s for each.
func (r *recent) recipients(s *sent) []recipientState {
	if s.extra && r.beside[s].target != "" {
		return r.beside[s].recipients
	}
	return []recipientState{{s.to, s.state, s.at}}
}

// note remembers what became of s for one recipient.
func (r *recent) note(s *sent, recipient crypto.PublicKey, state protocol.State, at int64) {
	if s.extra && r.beside[s].target != "" {
		for i, to := range r.beside[s].recipients {
			if to.to == recipient {
				r.beside[s].recipients[i] = recipientState{recipient, codeOf(state), at}
			}
		}
	} else if s.to == recipient {
		s.state, s.at = codeOf(state), at
	}
}

// find returns the committed message of that message or client id, or of a unique prefix.
func (r *recent) find(id string) (*sent, error) {
	var found *sent
	for i := range uint32(min(r.count, uint64(r.max))) {
		s := r.slot(i)
		if !s.committed {
			continue
		}
		messageID, clientID := string(s.messageID[:]), r.clientID(s)
		if messageID == id || clientID == id {
			return s, nil
		}
		if !strings.HasPrefix(messageID, id) && !strings.HasPrefix(clientID, id) {
			continue
		}
		if found != nil {
			return nil, protocol.Refuse(protocol.CodeAmbiguous, "more than one message begins with %s", id)
		}
		found = s
	}
	if found == nil {
		return nil, protocol.Refuse(protocol.CodeNotFound, "no message %s that this broker remembers", id)
	}
	return found, nil
}
