//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cable joins a network namespace to this one. The far end has the address peer, ours is near.
type cable struct {
	t          *testing.T
	ns, end    string
	near, peer string
}

// newNamespace makes a network namespace and thinks up a cable to it.
func newNamespace(t *testing.T) *cable {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	id := os.Getpid() % 10000
	subnet := fmt.Sprintf("10.%d.%d", 64+id/256%64, id%256)
	c := &cable{t: t, ns: fmt.Sprintf("cm%d", id), end: fmt.Sprintf("cmv%d", id), near: subnet + ".1", peer: subnet + ".2"}
	if out, err := exec.Command("ip", "netns", "add", c.ns).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %s", out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "del", c.ns).Run() })
	return c
}

func newCable(t *testing.T) *cable {
	t.Helper()
	c := newNamespace(t)
	c.ip("link", "add", c.end, "type", "veth", "peer", "name", "eth0", "netns", c.ns)
	c.plug("eth0")
	return c
}

// plug gives both ends their addresses; far is the name of the device at the far end.
func (c *cable) plug(far string) {
	c.t.Helper()
	c.ip("addr", "add", c.near+"/24", "dev", c.end)
	c.ip("link", "set", c.end, "up")
	c.ip("-n", c.ns, "addr", "add", c.peer+"/24", "dev", far)
	c.ip("-n", c.ns, "link", "set", far, "up")
	c.ip("-n", c.ns, "link", "set", "lo", "up")
}

func (c *cable) ip(args ...string) {
	c.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		c.t.Fatalf("ip %s: %s", strings.Join(args, " "), out)
	}
}

// pull takes the cable out for a while: what is sent is dropped, nobody is told.
func (c *cable) pull(d time.Duration, meanwhile func(since func() time.Duration)) {
	c.t.Helper()
	c.ip("link", "set", c.end, "down")
	began := time.Now()
	meanwhile(func() time.Duration { return time.Since(began) })
	<-time.After(time.Until(began.Add(d)))
	c.ip("link", "set", c.end, "up")
}

// startDaemon starts h's daemon at the far end. The command line reaches it over its Unix socket as ever.
func (c *cable) startDaemon(h *home) {
	c.t.Helper()
	p := spawnCommand(c.t, h.env, exec.Command("ip", "netns", "exec", c.ns, bin, "daemon"))
	h.process = p
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("%s's daemon:\n%s", h.name, p.log)
		}
	})
	eventually(c.t, h.name+"'s daemon answers", func() bool { return h.try("daemon", "status").code == 0 })
}

// mesh has a broker and alice at this end and bob at the far one.
func (c *cable) mesh() (b *broker, alice, bob *home) {
	c.t.Helper()
	t := c.t
	b = newBroker(t)
	b.kill()
	_, port, _ := strings.Cut(b.addr, ":")
	b.addr = c.near + ":" + port
	b.start()
	alice, bob = newHome(t, "alice"), newHome(t, "bob")
	alice.env = append(alice.env, "CLAUDEMESH_ADMIN_TOKEN="+strings.TrimSpace(read(t, filepath.Join(b.data(), "admin-token"))))
	alice.must("create", "acme", "--broker", "ws://"+b.addr+"/ws", "--name", "alice", "--insecure")
	alice.startDaemon()
	link := ""
	for _, word := range strings.Fields(alice.must("invite")) {
		if strings.HasPrefix(word, "ic://join/") {
			link = word
		}
	}
	c.startDaemon(bob) // before he joins: the verb would start one on this side
	bob.must("join", link, "--name", "bob", "--insecure")
	return b, alice, bob
}

// Bob's machine is cut off for 60 s, and with E2E_LONG=1 then for 120 s and for 190 s. What is sent to him meanwhile is kept and arrives
// once, in order; the short cut is invisible to others, in the long ones he is gone when the lease is over, and comes back.
func TestPartition(t *testing.T) {
	c := newCable(t)
	_, alice, bob := c.mesh()
	peer := func() string { return alice.must("peers") }
	eventually(t, "alice sees bob", func() bool { return strings.Contains(peer(), "bob") })

	want := 0
	send := func(n int) {
		for range n {
			want++
			alice.must("send", "bob", fmt.Sprintf("message %03d", want))
		}
	}
	arrived := func() []string {
		var rows []inboxRow
		bob.json(&rows, "inbox", "--all", "--limit", "1000")
		var got []string
		for i := range rows {
			got = append(got, rows[len(rows)-1-i].Body)
		}
		return got
	}
	check := func(after string) {
		t.Helper()
		back := time.Now()
		deadline := back.Add(90 * time.Second)
		for len(arrived()) < want && time.Now().Before(deadline) {
			<-time.After(100 * time.Millisecond)
		}
		got := arrived()
		t.Logf("%s: %d of %d in bob's inbox, %.1f s after the cable was in again", after, len(got), want, time.Since(back).Seconds())
		for i, body := range got {
			if body != fmt.Sprintf("message %03d", i+1) {
				t.Fatalf("%s: number %d is %q", after, i+1, body)
			}
		}
		if len(got) != want {
			t.Errorf("%s: %d of %d arrived", after, len(got), want)
		}
	}
	send(3)
	check("before")
	c.pull(60*time.Second, func(since func() time.Duration) {
		send(5)
		for since() < 59*time.Second {
			if !strings.Contains(peer(), "bob") {
				t.Fatalf("bob is gone %s after the cable was pulled", since())
			}
			<-time.After(2 * time.Second)
		}
	})
	check("60 s")
	if fromEnv("E2E_LONG", 0) == 0 {
		return
	}
	for _, long := range []time.Duration{120 * time.Second, 190 * time.Second} {
		var gone time.Duration
		c.pull(long, func(since func() time.Duration) {
			send(5)
			for since() < long-time.Second && gone == 0 {
				if !strings.Contains(peer(), "bob") {
					gone = since()
				}
				<-time.After(time.Second)
			}
		})
		// The lease runs from the first ping that was missed.
		if t.Logf("%s: bob was shown as gone after %s", long, gone.Round(time.Second)); gone < 90*time.Second || gone > 115*time.Second {
			t.Errorf("%s: bob was shown as gone after %s", long, gone)
		}
		check(long.String())
		eventually(t, "alice sees bob again", func() bool { return strings.Contains(peer(), "bob") })
	}
}
