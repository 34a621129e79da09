package brokerhttp

import (
	"net"
	"net/url"

	"github.com/claudemesh/claudemesh/protocol"
)

// Route is the way to one broker.
type Route struct {
	URL    string   // of its WebSocket
	Host   string   // without port
	Addr   string   // host:port
	Secure bool     // TLS to the broker
	Proxy  *url.URL // nil: none. It may hold a password
}

// Route reads the address of a broker, ws:// or wss://, and finds the proxy on the way to it. Errors are *Fault.
func (d *Dialer) Route(wsURL string) (Route, error) {
	u, err := url.Parse(protocol.WebSocketURL(wsURL))
	if err != nil || u.Hostname() == "" {
		return Route{}, &Fault{Cause: CauseURL, Unsent: true, Sentence: "the broker's address is not a ws:// or wss:// URL",
			Next: "create or join the mesh again with the right address"}
	}
	r := Route{URL: u.String(), Host: u.Hostname(), Secure: u.Scheme == "wss"}
	port := u.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[r.Secure]
	}
	r.Addr = net.JoinHostPort(r.Host, port)
	r.Proxy, err = d.env.proxyFor(r.Secure, r.Addr)
	return r, err
}

// First is the host and the address that a connection is made to: the proxy's, or the broker's.
func (r Route) First() (host, addr string) {
	if r.Proxy == nil {
		return r.Host, r.Addr
	}
	port := r.Proxy.Port()
	if port == "" {
		port = proxyPorts[r.Proxy.Scheme]
	}
	return r.Proxy.Hostname(), net.JoinHostPort(r.Proxy.Hostname(), port)
}

// Through names the proxy for people, "" where there is none.
func (r Route) Through() string {
	if r.Proxy == nil {
		return ""
	}
	return shownURL(r.Proxy)
}
