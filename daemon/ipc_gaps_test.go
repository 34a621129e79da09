package daemon

import (
	"context"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Gaps of all meshes are a list, and those of a mesh that is not joined are an error.
func TestGapsOverTheSocket(t *testing.T) {
	b, home := newBroker(t), newHome(t)
	create(t, home, b, "acme", "alice")
	d := startDaemon(t, home)
	d.wantState("acme", protocol.ConnOpen)
	for _, mesh := range []string{"", "acme"} {
		if gaps, err := d.Gaps(context.Background(), mesh); err != nil || gaps == nil || len(gaps) != 0 {
			t.Errorf("gaps of %q: %+v, %v", mesh, gaps, err)
		}
	}
	if _, err := d.Gaps(context.Background(), "nosuch"); protocol.CodeOf(err) != protocol.CodeNotFound {
		t.Errorf("gaps of an unknown mesh: %v", err)
	}
}
