package brokerhttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// maxConnectAnswer bounds the header of a proxy's answer to CONNECT.
const maxConnectAnswer = 64 << 10

// Tunnel has the proxy of the route, to which c is connected, pass c on to the broker. Without a proxy it returns c. When
// it fails c is closed. Errors are *Fault.
//
// A proxy for http:// is asked for a tunnel as well. It could pass single requests on, but no WebSocket.
func (d *Dialer) Tunnel(ctx context.Context, c net.Conn, r Route) (net.Conn, error) {
	if r.Proxy == nil {
		return c, nil
	}
	through, err := d.tunnel(ctx, c, r)
	if err != nil {
		c.Close()
		return nil, err
	}
	return through, nil
}

func (d *Dialer) tunnel(ctx context.Context, c net.Conn, r Route) (net.Conn, error) {
	switch r.Proxy.Scheme {
	case "socks5", "socks5h":
		return socks(ctx, c, r)
	case "https":
		config, err := d.tlsConfig(r.Proxy.Hostname())
		if err != nil {
			return nil, err
		}
		s := tls.Client(c, config)
		if err := s.HandshakeContext(ctx); err != nil {
			_, addr := r.First()
			f := tlsFault(r.Proxy.Hostname(), addr, err, d.now())
			f.Sentence = "the proxy: " + f.Sentence
			return nil, f
		}
		c = s
	}
	return c, connect(ctx, c, r)
}

// connect asks an HTTP proxy for a tunnel.
func connect(ctx context.Context, c net.Conn, r Route) error {
	done := bound(ctx, c)
	defer done()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: r.Addr}, Host: r.Addr, Header: http.Header{}}
	if u := r.Proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return proxyBroke(ctx, r, err)
	}
	// Nothing of the tunnel is lost in the buffer: what follows speaks first.
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxConnectAnswer)), req)
	if err != nil {
		return proxyBroke(ctx, r, err)
	}
	if answer.StatusCode/100 != 2 {
		return proxyRefused(r, answer.StatusCode)
	}
	return nil
}

// socks asks a SOCKS5 proxy for a tunnel. The proxy looks up the broker's name.
func socks(ctx context.Context, c net.Conn, r Route) (net.Conn, error) {
	var auth *proxy.Auth
	if u := r.Proxy.User; u != nil {
		password, _ := u.Password()
		auth = &proxy.Auth{User: u.Username(), Password: password}
	}
	_, addr := r.First()
	dialer, err := proxy.SOCKS5("tcp", addr, auth, given{c})
	if err != nil {
		return nil, proxyBroke(ctx, r, err)
	}
	through, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", r.Addr)
	if err == nil {
		return through, nil
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && !isTimeout(err) && !ended(err) {
		return nil, &Fault{Cause: CauseProxy, Unsent: true, Err: err, Sentence: fmt.Sprintf("the proxy %s makes no connection to %s: %v", r.Through(), r.Addr, op.Err),
			Next: proxyNext}
	}
	return nil, proxyBroke(ctx, r, err)
}

// given is a dialer whose connection was made before.
type given struct{ c net.Conn }

func (g given) Dial(string, string) (net.Conn, error) { return g.c, nil }

func (g given) DialContext(context.Context, string, string) (net.Conn, error) { return g.c, nil }

// bound ends what is read and written on c with ctx, until done is called.
func bound(ctx context.Context, c net.Conn) (done func()) {
	if at, ok := ctx.Deadline(); ok {
		c.SetDeadline(at)
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			c.SetDeadline(time.Time{})
		}
	}
}
