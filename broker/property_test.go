package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// TestAgainstModel lets three people do what people do, at random: write, acknowledge in any order, lose the connection, come
// back, change their status, while the broker restarts now and then. After every step each one must have been pushed, once
// for each connection and in order within a priority, exactly what a list of slices says.
func TestAgainstModel(t *testing.T) {
	seeds := 4
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			story(t, Limits{Burst: 1 << 20, Drain: time.Microsecond, Window: 1 << 12}, func(w *world) {
				m := newModel(w, uint64(seed))
				for range 150 {
					m.step()
				}
				m.finish()
			})
		})
	}
}

// model is the plain truth beside the broker.
type model struct {
	*world
	random *rand.Rand
	people []*modelPerson
	number int
}

type modelPerson struct {
	*person
	conn   *client
	status string
	queue  []*modelMessage // sent to him and not acknowledged
	pushed []*modelMessage // on this connection, not acknowledged
}

type modelMessage struct {
	id   string // of the sender
	prio string
	seen bool // pushed on the present connection
	push protocol.Push
}

func newModel(w *world, seed uint64) *model {
	m := &model{world: w, random: rand.New(rand.NewPCG(seed, 7))}
	for _, p := range []*person{w.alice, w.bob, w.cathy} {
		m.people = append(m.people, &modelPerson{person: p, status: protocol.StatusIdle})
	}
	return m
}

func (m *model) step() {
	p := m.people[m.random.IntN(len(m.people))]
	switch n := m.random.IntN(100); {
	case p.conn == nil:
		p.conn = p.connect()
		p.status = protocol.StatusIdle // as a hello without a status says
	case n < 50:
		m.send(p)
	case n < 80:
		m.ack(p)
	case n < 88:
		p.conn.lose()
		p.forget()
	case n < 96:
		p.status = []string{protocol.StatusIdle, protocol.StatusWorking, protocol.StatusDND}[m.random.IntN(3)]
		p.conn.write(protocol.SetStatus{Tag: protocol.Tag{Type: protocol.TypeSetStatus}, Status: p.status})
	default:
		m.world.restart()
		for _, p := range m.people {
			if p.conn != nil {
				p.conn.lose()
				p.forget()
			}
		}
	}
	synctest.Wait()
	m.check()
	m.wantCounted()
}

func (p *modelPerson) forget() {
	p.conn, p.pushed = nil, nil
	for _, msg := range p.queue {
		msg.seen = false
	}
}

func (m *model) send(from *modelPerson) {
	to := m.people[m.random.IntN(len(m.people))]
	if to == from {
		return
	}
	m.number++
	prio := []string{protocol.PriorityNow, protocol.PriorityNext, protocol.PriorityLow}[m.random.IntN(3)]
	s := from.conn.seal(to.key.Public(), prio, fmt.Sprint("message ", m.number))
	from.conn.wantQueued(s)
	if m.random.IntN(10) == 0 {
		from.conn.wantQueued(s) // its answer got lost, as far as the sender knows
	}
	to.queue = append(to.queue, &modelMessage{id: s.ID, prio: prio})
}

// ack acknowledges some of what was pushed, in any order.
func (m *model) ack(p *modelPerson) {
	for range m.random.IntN(1 + len(p.pushed)) {
		i := m.random.IntN(len(p.pushed))
		msg := p.pushed[i]
		p.conn.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: msg.push.MessageID})
		p.pushed = slices.Delete(p.pushed, i, i+1)
		p.queue = slices.DeleteFunc(p.queue, func(q *modelMessage) bool { return q == msg })
	}
}

// check compares what each one was pushed since the last step with what he must have been.
func (m *model) check() {
	m.Helper()
	for _, p := range m.people {
		if p.conn == nil {
			continue
		}
		for _, push := range p.conn.allPushes() {
			i := slices.IndexFunc(p.queue, func(q *modelMessage) bool { return q.id == push.ClientMessageID })
			if i < 0 {
				m.Fatalf("%s was pushed %s, which he had acknowledged or was never sent", p.name, push.ClientMessageID)
			}
			msg := p.queue[i]
			if msg.seen {
				m.Fatalf("%s was pushed %s twice on one connection", p.name, msg.id)
			}
			for _, before := range p.queue[:i] {
				if before.prio == msg.prio && !before.seen {
					m.Fatalf("%s was pushed %s before an older one of priority %s", p.name, msg.id, msg.prio)
				}
			}
			msg.seen, msg.push = true, push
			p.pushed = append(p.pushed, msg)
		}
		for _, msg := range p.queue {
			if !msg.seen {
				m.Fatalf("%s was not pushed %s", p.name, msg.id)
			}
		}
	}
	m.checkPresence()
}

// checkPresence asks one who is there for the status of all who are.
func (m *model) checkPresence() {
	m.Helper()
	i := slices.IndexFunc(m.people, func(p *modelPerson) bool { return p.conn != nil })
	if i < 0 {
		return
	}
	var list protocol.PeersList
	m.people[i].conn.request(protocol.Tag{Type: protocol.TypeListPeers}, protocol.TypePeersList, &list)
	for _, p := range m.people {
		if p.conn == nil {
			continue
		}
		j := slices.IndexFunc(list.Peers, func(item protocol.PeerItem) bool { return item.Pubkey == p.key.Public().String() })
		if j < 0 || list.Peers[j].Status != p.status {
			m.Fatalf("%s should be there and %s: %+v", p.name, p.status, list.Peers)
		}
	}
}

// allPushes takes the pushes that have come.
func (c *client) allPushes() (all []protocol.Push) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = slices.DeleteFunc(c.frames, func(f frame) bool {
		if f.typ == protocol.TypePush {
			all = append(all, decodePush(c.w, f.raw))
		}
		return f.typ == protocol.TypePush || f.typ == protocol.TypeReceipt || f.typ == protocol.TypePresence
	})
	return all
}

// finish brings everybody back and has all of them acknowledge everything: nothing may be left.
func (m *model) finish() {
	m.Helper()
	for _, p := range m.people {
		if p.conn == nil {
			p.conn = p.connect()
			p.status = protocol.StatusIdle
		}
	}
	synctest.Wait()
	m.check()
	for _, p := range m.people {
		for _, msg := range p.pushed {
			p.conn.write(protocol.ClientAck{Tag: protocol.Tag{Type: protocol.TypeClientAck}, BrokerMessageID: msg.push.MessageID})
		}
	}
	synctest.Wait()
	for _, st := range m.srv.Status().Meshes {
		if st.Queued != 0 {
			m.Errorf("%d messages wait although all were acknowledged", st.Queued)
		}
	}
}
