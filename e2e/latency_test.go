//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"
)

// How long a person waits, as medians of 20. Figures for the log: a shared machine cannot promise times.
func TestVerbLatencyFigures(t *testing.T) {
	b := newBroker(t)
	alice, bob := newHome(t, "alice"), newHome(t, "bob")
	mesh(t, b, "ws://"+b.addr+"/ws", alice, bob)
	for _, verb := range [][]string{{"--version"}, {"peers"}, {"members"}, {"inbox"}, {"status"}, {"whoami"}, {"send", "bob", "hi"}, {"send", "bob", "hi", "--wait", "5s"}} {
		var took []time.Duration
		for range 20 {
			r := alice.try(verb...)
			if r.code != 0 {
				t.Fatalf("%v: exit %d %s%s", verb, r.code, r.out, r.err)
			}
			took = append(took, r.took)
		}
		slices.Sort(took)
		t.Logf("%-28s median %6.1f ms, worst %6.1f ms", verb, ms(took[10]), ms(took[19]))
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
