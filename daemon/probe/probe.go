// Package probe finds out why a broker cannot be reached: it walks the way that an uplink goes, one step after the other,
// and says where it ends, in words for the person who has to mend it.
//
//	name → connect → tls (wss only) → http (GET /health) → websocket (upgrade, challenge) → clock
//
// It needs no keys and no membership, says nothing about who asks, and changes nothing anywhere.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// Budget is the longest that Probe takes, whatever the network does.
const Budget = 5 * time.Second

// Names of the steps, in their order.
const (
	StepName      = "name"
	StepConnect   = "connect"
	StepTLS       = "tls"
	StepHTTP      = "http"
	StepWebSocket = "websocket"
	StepClock     = "clock"
)

// Options of Probe. The zero value uses the system's resolver, network, certificate authorities and clock.
type Options struct {
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Resolve func(ctx context.Context, host string) ([]string, error)
	RootCAs *x509.CertPool
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
	URL      string        `json:"url"`
	OK       bool          `json:"ok"`
	Cause    Cause         `json:"cause,omitempty"`
	Sentence string        `json:"sentence,omitempty"`
	Next     string        `json:"next,omitempty"`
	Skew     time.Duration `json:"-"` // this machine's clock less the broker's, once the broker told its own
	SkewMS   int64         `json:"skew_ms,omitempty"`
	Steps    []Step        `json:"steps"`
}

// run is one walk.
type run struct {
	o      Options
	report Report
	url    *url.URL
	host   string // without port
	addr   string // host:port
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
	u, err := url.Parse(wsURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		r.report.blame(fault{CauseURL, "the broker's address is not a ws:// or wss:// URL", "create or join the mesh again with the right address"})
		return r.report
	}
	r.url, r.host, r.addr = u, u.Hostname(), hostPort(u)
	for _, s := range r.steps() {
		began := time.Now()
		detail, f := s.walk(ctx)
		r.report.Steps = append(r.report.Steps, Step{Name: s.name, OK: f == nil, Detail: detail, TookMS: time.Since(began).Milliseconds()})
		if f != nil {
			r.report.blame(*f)
			return r.report
		}
	}
	r.report.OK = true
	return r.report
}

type step struct {
	name string
	walk func(context.Context) (detail string, f *fault)
}

func (r *run) steps() []step {
	var all []step
	if _, err := netip.ParseAddr(r.host); err != nil {
		all = append(all, step{StepName, r.resolve})
	}
	all = append(all, step{StepConnect, r.connect})
	if r.url.Scheme == "wss" {
		all = append(all, step{StepTLS, r.handshake})
	}
	return append(all, step{StepHTTP, r.health}, step{StepWebSocket, r.upgrade}, step{StepClock, r.clock})
}

func (r *run) close() {
	if r.conn != nil {
		r.conn.Close()
	}
}

func (r *run) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: r.host, RootCAs: r.o.RootCAs, Time: r.o.Now, MinVersion: tls.VersionTLS12}
}

func (p *Report) blame(f fault) { p.Cause, p.Sentence, p.Next = f.cause, f.sentence, f.next }

// setSkew keeps how far our clock is ahead of the broker's.
func (r *run) setSkew(d time.Duration) {
	r.told = true
	r.report.Skew, r.report.SkewMS = d, d.Milliseconds()
}

func (o Options) withDefaults() Options {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Resolve == nil {
		o.Resolve = net.DefaultResolver.LookupHost
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// skewed tells whether hellos would be refused for the clock.
func skewed(d time.Duration) bool { return d.Abs() > protocol.ClockSkew }
