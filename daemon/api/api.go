// Package api answers on the local socket and on the port of the REST interface. A route decodes a
// request, finds session and mesh, calls one method of the packages below, and encodes the answer.
// A refusal is a *protocol.Error and crosses as it is; anything else is logged and crosses as internal.
package api

import (
	"cmp"
	"context"
	"time"

	"github.com/claudemesh/claudemesh/ask"
	"github.com/claudemesh/claudemesh/daemon/asking"
	"github.com/claudemesh/claudemesh/daemon/delivery"
	"github.com/claudemesh/claudemesh/daemon/memory"
	"github.com/claudemesh/claudemesh/daemon/roster"
	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/recall/source"
)

// Config is what an API calls.
type Config struct {
	Roster     *roster.Roster
	Delivery   *delivery.Dispatcher
	Attention  *delivery.Attention
	Memory     *memory.Keeper
	Recordings []source.Source // that the memory reads
	Asks       *ask.Engine
	AskHost    asking.Host

	Version, Build string
	Stop           context.CancelCauseFunc            // ends the daemon
	LocalBroker    func() *protocol.LocalBrokerHealth // nil: config.json asks for none
	MaxStreams     int                                // of events; zero: 512
}

// API serves the local socket and the REST interface. It embeds the Roster, which
// every route asks first.
type API struct {
	*roster.Roster
	give   *delivery.Dispatcher
	waits  *delivery.Attention
	recall recallAPI
	asks   *ask.Engine
	host   asking.Host

	version     string
	build       string
	start       time.Time
	stop        context.CancelCauseFunc // ends the daemon
	localBroker func() *protocol.LocalBrokerHealth

	streams streams // of events, all
	onPort  streams // those that came by the REST port
}

// New makes an API. The uptime in its health counts from here.
func New(c Config) *API {
	return &API{
		Roster: c.Roster, give: c.Delivery, waits: c.Attention, recall: newRecallAPI(c.Memory, c.Recordings), asks: c.Asks, host: c.AskHost,
		version: c.Version, build: c.Build, start: time.Now(), stop: c.Stop, localBroker: c.LocalBroker,
		streams: streams{max: cmp.Or(c.MaxStreams, maxStreams)}, onPort: streams{max: MaxPortStreams},
	}
}
