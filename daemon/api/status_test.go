package api

import (
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Every code has a status, so that a proxy or a script without our client sees a failure as one.
func TestStatusOf(t *testing.T) {
	if got := statusOf("something new"); got != 500 {
		t.Errorf("unknown code: %d", got)
	}
	if got := statusOf(protocol.CodeInternal); got != 500 {
		t.Errorf("internal: %d", got)
	}
}
