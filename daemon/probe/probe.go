// Package probe finds out why a broker cannot be reached: it walks the way that an uplink goes, one step after the other,
// and says where it ends, in words for the person who has to mend it.
//
//	name → connect → proxy (if any) → tls (wss only) → http (GET /health) → websocket (upgrade, challenge) → clock
//
// It needs no keys and no membership, says nothing about who asks, and changes nothing anywhere.
package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/protocol"
)

// Budget is the longest that Probe takes, whatever the network does.
const Budget = 5 * time.Second

// Names of the steps, in their order.
const (
	StepName      = "name"
	StepConnect   = "connect"
	StepProxy     = "proxy"
	StepTLS       = "tls"
	StepHTTP      = "http"
	StepWebSocket = "websocket"
	StepClock     = "clock"
)

// Options of Probe. The zero value has no proxy, and the system's resolver, network and clock.
type Options struct {
	Dialer  *brokerhttp.Dialer // of who connects
	Resolve func(ctx context.Context, host string) ([]string, error)
	Now     func() time.Time
}

// Step is one part of the way and what it showed.
type Step struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	TookMS int64  `json:"took_ms"`
}

// Report is what Probe found. Where OK is false, Cause, Sentence and Next tell what is wrong and the one thing to do next.
type Report struct {
	URL      string           `json:"url"`
	Proxy    string           `json:"proxy,omitempty"` // on the way, without its password
	OK       bool             `json:"ok"`
	Cause    brokerhttp.Cause `json:"cause,omitempty"`
	Sentence string           `json:"sentence,omitempty"`
	Next     string           `json:"next,omitempty"`
	SkewMS   int64            `json:"skew_ms,omitempty"` // this machine's clock less the broker's, once the broker told its own
	Steps    []Step           `json:"steps"`
}

// Skew is how far this machine's clock is ahead of the broker's.
func (p *Report) Skew() time.Duration { return time.Duration(p.SkewMS) * time.Millisecond }

// run is one walk.
type run struct {
	o      Options
	report Report
	route  brokerhttp.Route
	conn   net.Conn
	date   time.Time // the Date of the answer to GET /health
	asked  time.Time // our clock when that answer came
	told   bool      // the broker told its clock
}

// Probe walks to the broker at wsURL (ws://host[:port]/ws or wss://…) and returns within Budget.
func Probe(ctx context.Context, wsURL string, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	r := &run{o: o.withDefaults(), report: Report{URL: wsURL, Steps: []Step{}}}
	defer r.close()
	var err error
	if r.route, err = r.o.Dialer.Route(wsURL); err != nil {
		r.report.blame(faultOf(err))
		return r.report
	}
	r.report.Proxy = r.route.Through()
	for _, s := range r.steps() {
		began := time.Now()
		detail, f := s.walk(ctx)
		r.report.Steps = append(r.report.Steps, Step{Name: s.name, OK: f == nil, Detail: detail, TookMS: time.Since(began).Milliseconds()})
		if f != nil {
			r.report.blame(f)
			return r.report
		}
	}
	r.report.OK = true
	return r.report
}

type step struct {
	name string
	walk func(context.Context) (detail string, f *brokerhttp.Fault)
}

func (r *run) steps() []step {
	var all []step
	host, _ := r.route.First()
	if _, err := netip.ParseAddr(host); err != nil {
		all = append(all, step{StepName, r.resolve})
	}
	all = append(all, step{StepConnect, r.connect})
	if r.route.Proxy != nil {
		all = append(all, step{StepProxy, r.tunnel})
	}
	if r.route.Secure {
		all = append(all, step{StepTLS, r.handshake})
	}
	return append(all, step{StepHTTP, r.health}, step{StepWebSocket, r.upgrade}, step{StepClock, r.clock})
}

func (r *run) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

func (p *Report) blame(f *brokerhttp.Fault) {
	p.Cause, p.Sentence, p.Next = f.Cause, f.Sentence, f.Next
}

// faultOf is the Fault of an error of package brokerhttp.
func faultOf(err error) *brokerhttp.Fault {
	if f, ok := errors.AsType[*brokerhttp.Fault](err); ok {
		return f
	}
	return &brokerhttp.Fault{Cause: brokerhttp.CauseURL, Sentence: err.Error(), Next: "create or join the mesh again with the right address"}
}

// setSkew keeps how far our clock is ahead of the broker's.
func (r *run) setSkew(d time.Duration) {
	r.told = true
	r.report.SkewMS = d.Milliseconds()
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dialer == nil {
		o.Dialer = brokerhttp.New(brokerhttp.Options{Now: o.Now})
	}
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
	return o
}

// skewed tells whether hellos would be refused for the clock.
func skewed(d time.Duration) bool { return d.Abs() > protocol.ClockSkew }
