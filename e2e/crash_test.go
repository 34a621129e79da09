//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

type inboxRow struct {
	ID   string `json:"id"`
	Body string `json:"body"`
	From struct {
		Name  string `json:"name"`
		Trust string `json:"trust"`
	} `json:"from"`
}

// Alice sends 500 messages while the broker, her daemon and bob's are killed with -9 at random. Whatever was reported as accepted
// is in bob's inbox exactly once, in order.
func TestKillAnyProcessLosesNothing(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)

	rnd := rand.New(rand.NewPCG(1, 2))
	kills := map[string]int{}
	var accepted []string
	for i := range 500 {
		if rnd.IntN(25) == 0 {
			switch victim := []string{"broker", "alice", "bob"}[rnd.IntN(3)]; victim {
			case "broker":
				b.kill()
				b.start()
				kills[victim]++
			case "alice":
				alice.kill()
				alice.startDaemon()
				kills[victim]++
			case "bob":
				bob.kill()
				bob.startDaemon()
				kills[victim]++
			}
		}
		body := fmt.Sprintf("message %03d", i)
		// Every tenth goes out while a kill is under way in the background: the verb may fail, and then nothing was promised.
		if rnd.IntN(40) == 0 {
			victim := alice.process
			go victim.kill()
			r := alice.try("send", "bob", body, "--json")
			<-victim.done
			alice.startDaemon()
			kills["alice, during a send"]++
			if r.code == 0 {
				accepted = append(accepted, body)
			}
			continue
		}
		if r := alice.try("send", "bob", body, "--json"); r.code == 0 {
			accepted = append(accepted, body)
		} else {
			t.Logf("send %d refused: %s%s", i, r.out, r.err)
		}
	}

	var got []string
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		var rows []inboxRow
		bob.json(&rows, "inbox", "--all", "--limit", "1000")
		got = got[:0]
		for _, r := range slices.Backward(rows) {
			got = append(got, r.Body)
		}
		if containsAll(got, accepted) {
			break
		}
	}
	t.Logf("%d accepted, %d in the inbox, kills: %v", len(accepted), len(got), kills)
	if len(accepted) < 450 {
		t.Errorf("only %d of 500 were accepted", len(accepted))
	}
	seen := map[string]int{}
	for _, body := range got {
		seen[body]++
		if seen[body] == 2 {
			t.Errorf("%q twice", body)
		}
	}
	// A send whose answer was lost with the daemon may have been accepted all the same: order and completeness are judged on what was reported.
	reported := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return !slices.Contains(accepted, s) })
	if !slices.Equal(reported, accepted) {
		for _, body := range accepted {
			if seen[body] == 0 {
				t.Errorf("%q was accepted and is lost", body)
			}
		}
		if !slices.IsSorted(reported) {
			t.Errorf("out of order:\n%s", strings.Join(reported, "\n"))
		}
	}
}

func containsAll(have, want []string) bool {
	set := map[string]bool{}
	for _, s := range have {
		set[s] = true
	}
	for _, s := range want {
		if !set[s] {
			return false
		}
	}
	return true
}
