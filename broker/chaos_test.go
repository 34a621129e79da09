package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/protocol"
)

// TestChaos has alice and cathy write to bob's member and session key while connections break and the broker restarts, and
// compares what bob's machine got with what was acknowledged: all of it, and in order.
func TestChaos(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			story(t, Limits{Window: 3}, func(w *world) { chaos(t, w, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func chaos(t *testing.T, w *world, rnd *rand.Rand) {
	alice, cathy, bob, web := w.alice.connect(), w.cathy.connect(), w.bob.connect(), w.bob.session("web")
	conns := []**client{&alice, &cathy, &bob, &web}
	connect := func(i int) {
		switch i {
		case 3:
			web = w.bob.session("web")
		default:
			*conns[i] = (*conns[i]).person.connect()
		}
	}
	streams := map[string][]string{} // what was acknowledged, by sender and target
	got := map[string][]string{}
	seen := map[string]bool{}
	receive := func() {
		synctest.Wait()
		for _, c := range []*client{bob, web} {
			for !c.isClosed() && c.count(protocol.TypePush) > 0 {
				var p protocol.Push
				c.wantFrame(protocol.TypePush, &p)
				if rnd.IntN(4) > 0 {
					c.Ack(p)
				}
				if text, _ := c.open(&p).Text(); !seen[text] {
					seen[text] = true
					var stream string
					fmt.Sscan(text, &stream)
					got[stream] = append(got[stream], text)
				}
				synctest.Wait()
			}
		}
	}
	keys := map[string]*person{"member": w.bob, "session": w.bob}
	for i := range 120 {
		switch n := rnd.IntN(20); {
		case n < 12:
			from := []*client{alice, cathy}[rnd.IntN(2)]
			target := []string{"member", "session"}[rnd.IntN(2)]
			key := keys[target].key.Public()
			if target == "session" {
				key = w.bob.sessionKey("web").Public()
			}
			stream := from.name + "-" + target
			text := fmt.Sprintf("%s %d", stream, i)
			from.wantQueued(from.seal(key, protocol.PriorityNext, text))
			streams[stream] = append(streams[stream], text)
		case n < 15:
			receive()
		case n < 19:
			k := rnd.IntN(len(conns))
			if rnd.IntN(2) == 0 {
				(*conns[k]).lose()
			} else {
				(*conns[k]).leave()
			}
			if k >= 2 {
				receive()
			}
			connect(k)
		default:
			w.restart()
			for k := range conns {
				connect(k)
			}
		}
	}
	for range 20 { // what was not acknowledged comes with the next connection
		receive()
		bob.lose()
		web.lose()
		connect(2)
		connect(3)
	}
	receive()
	for stream, want := range streams {
		if fmt.Sprint(got[stream]) != fmt.Sprint(want) {
			t.Errorf("%s: got %v\nwant %v", stream, got[stream], want)
		}
	}
	m := w.srv.mesh(w.mesh)
	for _, a := range []*address{m.members[w.bob.key.Public()].address, m.addresses[w.bob.sessionKey("web").Public()]} {
		if n, _ := w.srv.queue.Depth(a.mail); n > 8 { // a quarter of the last rounds is not acknowledged
			t.Errorf("%d rows are left", n)
		}
	}
}
