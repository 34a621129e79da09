package probe

import (
	"context"
	"sync"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
)

// Network is how a process reaches brokers: what it was told, and what that leads to.
type Network struct {
	Environment []brokerhttp.Variable `json:"environment"` // without passwords
	Ways        map[string]Report     `json:"ways"`        // by slug of the mesh
}

// Look walks to every broker at the same time. urls are those of the brokers, by slug. It returns within Budget.
func Look(ctx context.Context, urls map[string]string, o Options) Network {
	o = o.withDefaults()
	n := Network{Environment: o.Dialer.Environment().Shown(), Ways: make(map[string]Report)}
	if n.Environment == nil {
		n.Environment = []brokerhttp.Variable{}
	}
	var mu sync.Mutex
	var walks sync.WaitGroup
	for slug, url := range urls {
		walks.Go(func() {
			r := Probe(ctx, url, o)
			mu.Lock()
			defer mu.Unlock()
			n.Ways[slug] = r
		})
	}
	walks.Wait()
	return n
}
