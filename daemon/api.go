package daemon

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
)

// api serves the local socket and the REST interface. Its routes are thin: decode, find session and mesh, call one method,
// encode.
type api struct {
	*roster.Roster
	give   *delivery.Dispatcher
	waits  *delivery.Attention
	recall recallAPI
	asks   *ask.Engine

	version     string
	build       string
	start       time.Time
	stop        context.CancelCauseFunc // ends the daemon
	localBroker func() *protocol.LocalBrokerHealth

	streams streams // of events, all
	onPort  streams // those that came by the REST port
}
