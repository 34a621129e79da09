//go:build e2e

package e2e

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/bench"
)

// fromEnv is a number of the environment: the suite is short unless told otherwise.
func fromEnv(name string, short int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return short
}

// The broker is killed with -9 while 20 peers send, five times, or E2E_KILLS. The bench client is the judge: whatever was
// acknowledged arrives, nothing is altered, and what comes twice has a reason that recipients know.
func TestBrokerKilledUnderLoad(t *testing.T) {
	kills := fromEnv("E2E_KILLS", 5)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	r, err := bench.Run(ctx, bench.Options{
		Executable: bin, Pattern: bench.Random, Peers: 20, Messages: 100 * kills, Size: 256, Rate: 1000, Window: 256,
		NoLimits: true, Kills: kills, KillEvery: 2 * time.Second, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills: %d sent, %d delivered, %d lost, %d pushed again and dropped, %.0f messages/s, p99 %.0f ms, %.0f MiB",
		r.Killed, r.Sent, r.Delivered, r.Lost, r.Redelivered, r.Throughput, r.P99, r.BrokerRSS)
	if r.Killed != kills {
		t.Errorf("killed %d times, want %d", r.Killed, kills)
	}
	if r.Lost != 0 || r.Altered != 0 || r.Duplicates != 0 {
		t.Errorf("%d lost, %d altered, %d twice", r.Lost, r.Altered, r.Duplicates)
	}
}

// All connections return after a restart, spread by their jitter: 200, or E2E_PEERS.
func TestBrokerRestart(t *testing.T) {
	peers := fromEnv("E2E_PEERS", 200)
	r, err := bench.Run(t.Context(), bench.Options{
		Executable: bin, Pattern: bench.Random, Peers: peers, Messages: 1, Size: 64, Window: 16, NoLimits: true, Restart: true, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Return {
		t.Logf("%3d %% of %d connections are back %.2f s after the broker listens again", p.Percent, peers, p.Seconds)
	}
	if n := len(r.Return); n == 0 || r.Return[n-1].Percent != 100 {
		t.Errorf("not all are back: %v", r.Return)
	}
}
