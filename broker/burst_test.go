//go:build unix

package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// BenchmarkBurst is all that the broker does with a message but for the sockets: a hundred people in one mesh send, two dozen
// messages at once as a read brings them, and acknowledge what they get. An operation is one message; cpu-ns/op is the time of
// all processors, which says more than the clock does on a machine with other guests.
func BenchmarkBurst(b *testing.B) {
	w := newWorld(b, Limits{Burst: 1 << 30, QueueMessages: 1 << 30, QueueBytes: 1 << 50, ShareMessages: 1 << 30, ShareBytes: 1 << 50, ConnsPerAddress: 1 << 20})
	defer w.close()
	crews := make([]*burstCrew, runtime.GOMAXPROCS(0))
	for i := range crews {
		crews[i] = &burstCrew{wake: make(chan struct{}, 1)}
	}
	peers := burstPeers(b, w, crews)
	total := int64(b.N / len(peers) * len(peers))
	var acked atomic.Int64
	var all sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for _, crew := range crews {
		all.Go(func() {
			for acked.Load() < total {
				sent, got := crew.turn(peers)
				acked.Add(int64(got))
				if sent+got == 0 {
					<-crew.wake
				}
			}
			for _, other := range crews {
				other.nudge()
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(max(total, 1)), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// burstPeers connects a hundred people, who take no receipts, and parts them among the crews.
func burstPeers(b *testing.B, w *world, crews []*burstCrew) []*burstPeer {
	peers := make([]*burstPeer, 100)
	var certs []*protocol.Statement
	for i := range peers {
		peers[i] = &burstPeer{person: w.stranger(fmt.Sprint("peer", i)), crew: crews[i%len(crews)], left: b.N / len(peers)}
		certs = append(certs, w.certify(peers[i].person, protocol.RoleMember))
	}
	w.alice.connect().wantPublished(certs...)
	for i, p := range peers {
		p.connect()
		p.conn = w.srv.mesh(w.mesh).members[p.key.Public()].conns.get(p.key.Public())
		p.conn.receipts = false
		p.conn.net.Conn = burstSink{p.conn.net.Conn, p}
		p.crew.peers = append(p.crew.peers, p)
		p.frame = fmt.Appendf(nil, `{"type":"send","id":"%022d","targetSpec":"%s","priority":"next","nonce":"%s","ciphertext":"%s"}`,
			i*1e9, p.key.Public(), strings.Repeat("bm9u", 8), strings.Repeat("c2VhbGVk", 64))
	}
	return peers
}

// burstCrew is a goroutine that plays some of the readers.
type burstCrew struct {
	peers []*burstPeer
	wake  chan struct{} // one slot: something came for one of them
}

func (c *burstCrew) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *burstCrew) turn(all []*burstPeer) (sent, got int) {
	for _, p := range c.peers {
		sent += p.send(all)
		got += p.acknowledge()
	}
	return sent, got
}

type burstPeer struct {
	*person
	crew  *burstCrew
	conn  *conn
	left  int
	frame []byte

	mu  sync.Mutex
	ids [][]byte // of pushes that came
}

// send sends as much as one read brings, each message to anybody.
func (p *burstPeer) send(all []*burstPeer) int {
	const id, target = len(`{"type":"send","id":"`), len(`{"type":"send","id":"`) + 22 + len(`","targetSpec":"`)
	n := min(p.left, 22)
	for range n {
		p.left--
		for i := id + 21; ; i-- { // the next number
			if p.frame[i]++; p.frame[i] <= '9' {
				break
			}
			p.frame[i] = '0'
		}
		copy(p.frame[target:], all[rand.N(len(all))].key.Public().String())
		p.conn.take(p.frame)
	}
	return n
}

func (p *burstPeer) acknowledge() int {
	p.mu.Lock()
	ids := p.ids
	p.ids = nil
	p.mu.Unlock()
	for _, id := range ids {
		p.conn.take(fmt.Appendf(nil, `{"type":"client_ack","brokerMessageId":"%s"}`, id))
	}
	return len(ids)
}

// burstSink takes what the broker writes.
type burstSink struct {
	net.Conn
	p *burstPeer
}

func (s burstSink) SetWriteDeadline(time.Time) error { return nil }

func (s burstSink) Write(b []byte) (int, error) {
	var ids [][]byte
	for rest := b; ; {
		_, after, ok := bytes.Cut(rest, []byte(`{"type":"push","messageId":"`))
		if !ok {
			break
		}
		ids, rest = append(ids, bytes.Clone(after[:messageIDSize])), after
	}
	if ids != nil {
		s.p.mu.Lock()
		s.p.ids = append(s.p.ids, ids...)
		s.p.mu.Unlock()
		s.p.crew.nudge()
	}
	return len(b), nil
}
