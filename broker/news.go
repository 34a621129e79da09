package broker

import (
	"container/list"
	"slices"

	"github.com/claudemesh/claudemesh/crypto"
	"github.com/claudemesh/claudemesh/protocol"
)

// changes is a list of keys in the order of their last change, each once. Whoever is told of it keeps only how far he has read,
// so a thousand readers cost no more than one.
type changes struct {
	count uint64    // of changes so far
	order list.List // of change, the oldest first
	byKey map[crypto.PublicKey]*list.Element
}

type change struct {
	key    crypto.PublicKey
	number uint64
}

func (c *changes) touch(key crypto.PublicKey) {
	c.count++
	if e := c.byKey[key]; e != nil {
		e.Value.(*change).number = c.count
		c.order.MoveToBack(e)
		return
	}
	if c.byKey == nil {
		c.byKey = make(map[crypto.PublicKey]*list.Element)
	}
	c.byKey[key] = c.order.PushBack(&change{key, c.count})
}

// since returns the keys that changed after number seen, the latest first.
func (c *changes) since(seen uint64) (keys []crypto.PublicKey) {
	for e := c.order.Back(); e != nil && e.Value.(*change).number > seen; e = e.Prev() {
		keys = append(keys, e.Value.(*change).key)
	}
	return keys
}

// forget drops what everybody has seen.
func (c *changes) forget(seen uint64) {
	for e := c.order.Front(); e != nil && e.Value.(*change).number <= seen; e = c.order.Front() {
		delete(c.byKey, e.Value.(*change).key)
		c.order.Remove(e)
	}
}

// readTo is how far a control connection has told its peer of the news of its mesh. It is guarded by the mesh's mutex.
type readTo struct {
	log               uint64 // newest statement
	presences, people uint64
}

// owed is what a connection owes its peer beside the news: what did not fit the last answer. It is guarded by conn.mu.
type owed struct{ presences, people []crypto.PublicKey }

// presenceChangedLocked has every control connection tell of that key. However often it changes until then, it costs one entry
// of one frame.
func (m *mesh) presenceChangedLocked(key crypto.PublicKey) {
	m.presenceNews.touch(key)
	m.newsLocked()
}

// personChangedLocked is presenceChangedLocked for the member's item in the list of members.
func (m *mesh) personChangedLocked(key crypto.PublicKey) {
	m.peopleNews.touch(key)
	m.newsLocked()
}

// newsLocked wakes those whom news are told.
func (m *mesh) newsLocked() {
	m.news.Add(1)
	m.controlsLocked(func(c *conn) { c.nudge() })
}

// forgetNewsLocked drops what every control connection has told.
func (m *mesh) forgetNewsLocked() {
	presences, people := m.presenceNews.count, m.peopleNews.count
	m.controlsLocked(func(c *conn) {
		presences, people = min(presences, c.told.presences), min(people, c.told.people)
	})
	m.presenceNews.forget(presences)
	m.peopleNews.forget(people)
}

// owe has the writer tell what did not fit the answer to a list.
func (c *conn) owe(change func(o *owed)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owed == nil {
		c.owed = new(owed)
	}
	change(c.owed)
	c.nudge()
}

// writeNews writes what changed in the mesh since the last time: statements, members, presence.
func (c *conn) writeNews() (n int, err error) {
	c.mu.Lock()
	if !c.pushes.started || !c.control {
		c.mu.Unlock()
		return 0, nil
	}
	var tell owed
	if c.owed != nil {
		tell, c.owed = *c.owed, nil
	}
	c.mu.Unlock()

	if news := c.mesh.news.Load(); news != c.newsSeen {
		c.newsSeen = news
		log, changed := c.newsOfMesh()
		tell.presences, tell.people = append(tell.presences, changed.presences...), append(tell.people, changed.people...)
		if log.More {
			c.newsSeen-- // come again
		}
		if len(log.Statements) > 0 {
			n++
			if err := c.writeJSON(log); err != nil {
				return n, err
			}
		}
	}
	for keys := range slices.Chunk(tell.people, membersPerFrame) {
		for page := range paged(c.mesh.memberItems(keys), sizeOf, c.srv.limits.ListBytes) {
			n++
			if err := c.writeJSON(protocol.Membership{Tag: protocol.Tag{Type: protocol.TypeMembership}, Members: page}); err != nil {
				return n, err
			}
		}
	}
	for keys := range slices.Chunk(tell.presences, peersPerFrame) {
		n++
		if err := c.writePresence(keys); err != nil {
			return n, err
		}
	}
	return n, nil
}

// writePresence tells of these connections, who left with the first page.
func (c *conn) writePresence(keys []crypto.PublicKey) error {
	tag := protocol.Tag{Type: protocol.TypePresence}
	peers, left := c.mesh.presenceOf(c, keys)
	if len(peers) == 0 {
		return c.writeJSON(protocol.Presence{Tag: tag, Left: left})
	}
	for page := range paged(peers, sizeOfPeer, c.srv.limits.ListBytes) {
		if err := c.writeJSON(protocol.Presence{Tag: tag, Peers: page, Left: left}); err != nil {
			return err
		}
		left = nil
	}
	return nil
}

// newsOfMesh takes what is new for the peer, statements as many as fit a frame.
func (c *conn) newsOfMesh() (protocol.Log, owed) {
	m := c.mesh
	m.mu.Lock()
	defer m.mu.Unlock()
	log := m.logAfterLocked(c.told.log)
	changed := owed{presences: m.presenceNews.since(c.told.presences), people: m.peopleNews.since(c.told.people)}
	c.told = readTo{log.Cursor, m.presenceNews.count, m.peopleNews.count}
	return log, changed
}

// So many items are made at once; what they are worth in bytes decides how many frames they fill.
const (
	membersPerFrame = 64
	peersPerFrame   = 64
)
