package mesh

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/daemon/inbox"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
	"github.com/claudemesh/claudemesh/wallclock"
)

// priorityByte is a priority in keys.
func priorityByte(p string) byte {
	switch p {
	case protocol.PriorityNow:
		return 'n'
	case protocol.PriorityLow:
		return 'l'
	}
	return 'x'
}

// streamKey names one stream of numbers: dir is 'o' for ours, 'i' for those that arrive.
func streamKey(mesh protocol.MeshID, dir byte, from, to crypto.PublicKey, prio string, epoch [8]byte) []byte {
	return table.Key(mesh, []byte{dir}, from[:], to[:], []byte{priorityByte(prio)}, epoch[:])
}

// takeNumber returns the next number of one of our streams, from 1.
func (m *Mesh) takeNumber(tx *store.Tx, from, to crypto.PublicKey, prio string, epoch [8]byte) (uint64, error) {
	key := streamKey(m.meshID, 'o', from, to, prio, epoch)
	var n uint64
	if b := tx.Peek(table.Numbers, key); b != nil {
		n = binary.BigEndian.Uint64(b)
	}
	n++
	return n, tx.Put(table.Numbers, key, table.U64(n))
}

// maxHoles bounds what one sender can make us remember by jumping about.
const maxHoles = 64

// arrivals is what has come of one stream.
type arrivals struct {
	Base   uint64           `json:"base"` // the first number that we heard of: what lies before it is not missed
	High   uint64           `json:"high"`
	Member crypto.PublicKey `json:"member"`
	Holes  []hole           `json:"holes,omitempty"`  // ascending
	Passed uint64           `json:"passed,omitempty"` // of priority low: the highest number that was shown or read
	Cloned bool             `json:"cloned,omitempty"` // a number came twice, and the user was told
}

// hole is a run of numbers that did not come, seen at Since (Unix ms).
type hole struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Since int64  `json:"since"`
	Told  bool   `json:"told,omitempty"`
}

// arrive notes a number and reports whether it had come before: then somebody else numbers with the same key.
func (a *arrivals) arrive(n uint64, now int64) (cloned bool) {
	switch {
	case a.Base == 0:
		a.Base, a.High = n, n
	case n == a.High+1:
		a.High = n
	case n > a.High:
		a.Holes = append(a.Holes, hole{First: a.High + 1, Last: n - 1, Since: now})
		if len(a.Holes) > maxHoles {
			a.Base = a.Holes[0].Last + 1
			a.Holes = a.Holes[1:]
		}
		a.High = n
	case n >= a.Base:
		return !a.fill(n)
	}
	return false
}

// fill takes n out of the hole that it lies in.
func (a *arrivals) fill(n uint64) bool {
	for i, h := range a.Holes {
		if n < h.First || n > h.Last {
			continue
		}
		var parts []hole
		if n > h.First {
			parts = append(parts, hole{First: h.First, Last: n - 1, Since: h.Since, Told: h.Told})
		}
		if n < h.Last {
			parts = append(parts, hole{First: n + 1, Last: h.Last, Since: h.Since, Told: h.Told})
		}
		a.Holes = append(a.Holes[:i:i], append(parts, a.Holes[i+1:]...)...)
		return true
	}
	return false
}

// noteNumber counts an arrived message in its stream, in the transaction that stores it.
func (m *Mesh) noteNumber(tx *store.Tx, msg *protocol.Message) (cloned bool, err error) {
	if msg.Seq() == 0 {
		return false, nil
	}
	h := msg.Header()
	ep, err := hex.DecodeString(h.Ep)
	if err != nil || len(ep) != 8 {
		return false, fmt.Errorf("epoch %q of an opened message", h.Ep)
	}
	key := streamKey(m.meshID, 'i', msg.From(), msg.Opened(), h.Prio, [8]byte(ep))
	var a arrivals
	if _, err := table.GetJSON(tx, table.Numbers, key, &a); err != nil {
		return false, err
	}
	a.Member = msg.Member()
	cloned = a.arrive(msg.Seq(), m.env.now().UnixMilli())
	if cloned && !a.Cloned {
		a.Cloned = true
		if err := m.recordClone(tx, msg.Member()); err != nil {
			return false, err
		}
	}
	return cloned, table.PutJSON(tx, table.Numbers, key, &a)
}

// PassNumber notes, in the transaction in which a message is shown or read, that its reader has come so far. Messages of
// priority low wait until they are pulled; what is missing among them is told to who pulled past it.
func PassNumber(tx *store.Tx, mesh protocol.MeshID, message []byte) error {
	var msg protocol.Message
	if err := msg.UnmarshalBinary(message); err != nil {
		return nil // damaged: that is shown in its place, and it counts for nothing
	}
	h := msg.Header()
	ep, err := hex.DecodeString(h.Ep)
	if h.Prio != protocol.PriorityLow || err != nil || len(ep) != 8 {
		return nil
	}
	key := streamKey(mesh, 'i', msg.From(), msg.Opened(), h.Prio, [8]byte(ep))
	var a arrivals
	if ok, err := table.GetJSON(tx, table.Numbers, key, &a); err != nil || !ok || msg.Seq() <= a.Passed {
		return err
	}
	a.Passed = msg.Seq()
	return table.PutJSON(tx, table.Numbers, key, &a)
}

// sweepNumbers tells of numbers that did not come within GapPatience, or in priority low before a pull that passed them, once
// each.
func (m *Mesh) sweepNumbers() error {
	now := m.env.now()
	var missing map[crypto.PublicKey]uint64
	var changed map[string]*arrivals
	look := func(tx *store.Tx) (err error) {
		missing, changed, err = m.overdue(tx, now)
		return err
	}
	// Nearly always there is nothing: then nothing is written either.
	if err := m.env.DB.View(look); err != nil || len(changed) == 0 {
		return err
	}
	err := m.env.DB.Commit(func(tx *store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		for k, a := range changed {
			if err := table.PutJSON(tx, table.Numbers, []byte(k), a); err != nil {
				return err
			}
		}
		return m.recordGaps(tx, missing)
	})
	if err != nil {
		return fmt.Errorf("look for missing messages: %w", err)
	}
	m.env.Events.Wake()
	return nil
}

// lowAt is where a stream's key says its priority.
const lowAt = 32 + 1 + 2*crypto.KeySize // mesh id, direction, two keys: see streamKey

// overdue finds the holes that nobody was told of and that are older than GapPatience, or in priority low were passed, and
// marks them as told in the streams that it returns. Patience with a hole that was seen by a clock from the future begins
// anew.
func (m *Mesh) overdue(tx *store.Tx, now time.Time) (missing map[crypto.PublicKey]uint64, changed map[string]*arrivals, err error) {
	limit, future := now.Add(-protocol.GapPatience).UnixMilli(), now.Add(wallclock.Jump).UnixMilli()
	missing, changed = make(map[crypto.PublicKey]uint64), make(map[string]*arrivals)
	for k, v := range tx.Scan(table.Numbers, table.Key(m.meshID, []byte{'i'}), nil) {
		a := new(arrivals)
		if m.env.Mail.Damage.Skip(table.Numbers, k, json.Unmarshal(v, a)) {
			continue
		}
		low := len(k) > lowAt && k[lowAt] == priorityByte(protocol.PriorityLow)
		for i := range a.Holes {
			h := &a.Holes[i]
			if h.Since > future {
				h.Since = now.UnixMilli()
				changed[string(k)] = a
			}
			due := h.Since <= limit
			if low {
				due = h.Last < a.Passed
			}
			if due && !h.Told {
				h.Told = true
				missing[a.Member] += h.Last - h.First + 1
				changed[string(k)] = a
			}
		}
	}
	return missing, changed, nil
}

// recordClone tells that somebody's keys are in use at two places, once a stream.
func (m *Mesh) recordClone(tx *store.Tx, member crypto.PublicKey) error {
	text := fmt.Sprintf("two homes send with the keys of %s: a copy, or a thief; nothing was dropped. Ask %s, who can say claudemesh daemon accept-host where the keys belong",
		m.CallName(member), m.CallName(member))
	return m.env.Events.Put(tx, protocol.Event{Type: inbox.EventNotice, Mesh: m.Slug(), Notice: text}, inbox.EventOptions{})
}

// recordGaps makes the notices, one a sender.
func (m *Mesh) recordGaps(tx *store.Tx, missing map[crypto.PublicKey]uint64) error {
	for member, n := range missing {
		noun := "messages"
		if n == 1 {
			noun = "message"
		}
		text := fmt.Sprintf("%d %s from %s did not arrive: withheld, expired or given up", n, noun, m.CallName(member))
		if err := m.env.Events.Put(tx, protocol.Event{Type: inbox.EventNotice, Mesh: m.Slug(), Notice: text}, inbox.EventOptions{}); err != nil {
			return err
		}
	}
	return nil
}
