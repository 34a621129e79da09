//go:build e2e && linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// link is a cable made of two TUN devices that this process joins, so that packets come late, get lost, or stop.
type link struct {
	*cable
	delay time.Duration // each way
	loss  float64       // of the packets, each way
	cut   atomic.Bool
}

func newLink(t *testing.T, delay time.Duration, loss float64) *link {
	t.Helper()
	l := &link{cable: newNamespace(t), delay: delay, loss: loss}
	near, far := l.device(l.end), l.device(l.end+"f")
	l.ip("link", "set", l.end+"f", "netns", l.ns)
	l.plug(l.end + "f")
	go l.carry(near, far) // both end when the devices are closed
	go l.carry(far, near)
	return l
}

func (l *link) device(name string) *os.File {
	l.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		l.t.Skipf("no TUN devices here: %v", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		l.t.Fatal(err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		l.t.Skipf("no TUN devices here: %v", err)
	}
	f := os.NewFile(uintptr(fd), name)
	l.t.Cleanup(func() { f.Close() })
	return f
}

type packet struct {
	due  time.Time
	data []byte
}

// carry takes packets from one end to the other, in their order.
func (l *link) carry(from, to *os.File) {
	under := make(chan packet, 4096)
	go func() {
		for p := range under {
			<-time.After(time.Until(p.due))
			if !l.cut.Load() {
				to.Write(p.data)
			}
		}
	}()
	defer close(under)
	for buf := make([]byte, 1<<16); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if !l.cut.Load() && rand.Float64() >= l.loss {
			under <- packet{time.Now().Add(l.delay), slices.Clone(buf[:n])}
		}
	}
}

// messageState is what `message status` says.
func (h *home) messageState(id string) string {
	h.t.Helper()
	var res struct{ State string }
	h.json(&res, "message", "status", id)
	return res.State
}

// sendAll sends n messages to somebody without waiting for more than the own disk, and returns their ids.
func (h *home) sendAll(to, text string, n int) (ids []string) {
	h.t.Helper()
	for i := range n {
		var res struct{ ID, State string }
		h.json(&res, "send", to, fmt.Sprintf("%s %03d", text, i), "--require", "accepted")
		ids = append(ids, res.ID)
	}
	return ids
}

// wantInbox waits until the messages of that text are there, once and in order, and returns how long that took.
func (h *home) wantInbox(text string, n int) time.Duration {
	h.t.Helper()
	began := time.Now()
	var got []string
	for time.Since(began) < 90*time.Second && len(got) < n {
		var rows []inboxRow
		h.json(&rows, "inbox", "--all", "--limit", "1000")
		got = nil
		for _, row := range slices.Backward(rows) {
			if strings.HasPrefix(row.Body, text+" ") {
				got = append(got, row.Body)
			}
		}
		<-time.After(20 * time.Millisecond)
	}
	for i, body := range got {
		if want := fmt.Sprintf("%s %03d", text, i); body != want {
			h.t.Fatalf("%s: number %d is %q", h.name, i, body)
		}
	}
	if len(got) != n {
		h.t.Errorf("%s: %d of %d of %q arrived", h.name, len(got), n, text)
	}
	return time.Since(began)
}

// Bob's machine is behind a bad line: 50 ms and 5 % loss each way, and then it is cut for 20 s (120 s with E2E_LONG=1). Messages
// arrive once and in order, their states say how far they are, and the verbs on bob's machine never wait for the line.
func TestSlowLossyLink(t *testing.T) {
	l := newLink(t, 50*time.Millisecond, 0.05)
	_, alice, bob := l.mesh()
	alice.sees("bob")
	delivered := func(h *home, ids []string) func() bool {
		return func() bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return h.messageState(id) != "delivered" })
		}
	}

	toBob, toAlice := alice.sendAll("bob", "there", 40), bob.sendAll("alice", "back", 40)
	t.Logf("40 messages are in bob's inbox after %.1f s", bob.wantInbox("there", 40).Seconds())
	alice.wantInbox("back", 40)
	eventually(t, "alice reads delivered", delivered(alice, toBob))
	eventually(t, "bob reads delivered", delivered(bob, toAlice))
	bob.wantQuick(t, "50 ms, 5 % lost")

	long := 20 * time.Second
	if fromEnv("E2E_LONG", 0) != 0 {
		long = 120 * time.Second
	}
	l.cut.Store(true)
	began := time.Now()
	toBob, toAlice = alice.sendAll("bob", "cut there", 10), bob.sendAll("alice", "cut back", 10)
	bob.wantQuick(t, "cut")
	eventually(t, "alice reads queued", func() bool { return alice.messageState(toBob[9]) == "queued" })
	for _, id := range toAlice {
		if st := bob.messageState(id); st != "accepted" {
			t.Errorf("cut off, bob reads %s", st)
		}
	}
	if long > 90*time.Second {
		for time.Since(began) < 115*time.Second && strings.Contains(alice.must("peers"), "bob") {
			<-time.After(time.Second)
		}
		t.Logf("alice reads that bob is gone %.0f s after the cut", time.Since(began).Seconds())
		if strings.Contains(alice.must("peers"), "bob") || time.Since(began) < 90*time.Second {
			t.Errorf("bob is gone after %s", time.Since(began))
		}
	} else if !strings.Contains(alice.must("peers"), "bob") {
		t.Error("bob is gone after a short cut")
	}
	<-time.After(time.Until(began.Add(long)))
	for _, id := range toBob {
		if st := alice.messageState(id); st != "queued" {
			t.Errorf("cut off, alice reads %s", st)
		}
	}
	l.cut.Store(false)
	t.Logf("after %s, bob has his messages within %.1f s", long, bob.wantInbox("cut there", 10).Seconds())
	alice.wantInbox("cut back", 10)
	eventually(t, "alice reads delivered", delivered(alice, toBob))
	eventually(t, "bob reads delivered", delivered(bob, toAlice))
}

// wantQuick wants the verbs that only the daemon answers to take less than the line's own round trip, and says what they took.
func (h *home) wantQuick(t *testing.T, line string) {
	t.Helper()
	for _, verb := range [][]string{{"peers"}, {"inbox"}, {"status"}, {"members"}, {"send", "alice", "quick", "--require", "accepted"}} {
		var took []time.Duration
		for range 9 {
			r := h.try(verb...)
			if r.code != 0 {
				t.Fatalf("%v: exit %d %s%s", verb, r.code, r.out, r.err)
			}
			took = append(took, r.took)
		}
		slices.Sort(took)
		t.Logf("%s: %-8s median %5.1f ms, worst %5.1f ms", line, verb[0], ms(took[4]), ms(took[8]))
		if took[4] >= 100*time.Millisecond {
			t.Errorf("%s: %v takes %s: it waits for the line", line, verb, took[4])
		}
	}
}
