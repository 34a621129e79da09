package daemon

import (
	"cmp"
	"context"
	"time"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/memory"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall/source"
)

// apiConfig is what an api calls.
type apiConfig struct {
	Roster     *roster.Roster
	Delivery   *delivery.Dispatcher
	Attention  *delivery.Attention
	Memory     *memory.Keeper
	Recordings []source.Source // that the memory reads
	Asks       *ask.Engine
	AskHost    askHost

	Version, Build string
	Stop           context.CancelCauseFunc            // ends the daemon
	LocalBroker    func() *protocol.LocalBrokerHealth // nil: config.json asks for none
	MaxStreams     int                                // of events; zero: 512
}

// api serves the local socket and the REST interface. Its routes are thin: decode, find session and mesh, call one method,
// encode.
type api struct {
	*roster.Roster
	give   *delivery.Dispatcher
	waits  *delivery.Attention
	recall recallAPI
	asks   *ask.Engine
	host   askHost

	version     string
	build       string
	start       time.Time
	stop        context.CancelCauseFunc // ends the daemon
	localBroker func() *protocol.LocalBrokerHealth

	streams streams // of events, all
	onPort  streams // those that came by the REST port
}

// newAPI begins the time that health tells.
func newAPI(c apiConfig) *api {
	return &api{
		Roster: c.Roster, give: c.Delivery, waits: c.Attention, recall: newRecallAPI(c.Memory, c.Recordings), asks: c.Asks, host: c.AskHost,
		version: c.Version, build: c.Build, start: time.Now(), stop: c.Stop, localBroker: c.LocalBroker,
		streams: streams{max: cmp.Or(c.MaxStreams, maxStreams)}, onPort: streams{max: maxPortStreams},
	}
}
