package brokerhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// Options of New. The zero value has no proxy, the system's certificate authorities, network and clock.
type Options struct {
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // the bare network; nil means net.Dialer
	Env     Environment
	RootCAs *x509.CertPool // nil: the system's, and those that Env names
	Now     func() time.Time
}

// Dialer connects to brokers. Its methods may be called from any goroutine.
type Dialer struct {
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	env   Environment
	roots *x509.CertPool
	now   func() time.Time
}

// New makes a Dialer.
func New(o Options) *Dialer {
	d := &Dialer{dial: o.Dial, env: o.Env, roots: o.RootCAs, now: o.Now}
	if d.dial == nil {
		d.dial = (&net.Dialer{}).DialContext
	}
	if d.now == nil {
		d.now = time.Now
	}
	return d
}

// For makes the Dialer of this process, with its environment. With a dial function of the caller's own, which takes the
// network's place, the environment does not count.
func For(dial func(ctx context.Context, network, addr string) (net.Conn, error), now func() time.Time) *Dialer {
	if dial != nil {
		return New(Options{Dial: dial, Now: now})
	}
	return New(Options{Env: ProcessEnvironment(), Now: now})
}

// Environment is what the Dialer goes by.
func (d *Dialer) Environment() Environment { return d.env }

// Dial makes a connection over which the broker of the route answers. Errors are *Fault.
func (d *Dialer) Dial(ctx context.Context, r Route) (net.Conn, error) {
	c, err := d.Connect(ctx, r)
	if err != nil {
		return nil, err
	}
	if c, err = d.Tunnel(ctx, c, r); err != nil {
		return nil, err
	}
	if !r.Secure {
		return c, nil
	}
	return d.Secure(ctx, c, r)
}

// Connect makes the TCP connection of a route, to its proxy or its broker. Errors are *Fault.
func (d *Dialer) Connect(ctx context.Context, r Route) (net.Conn, error) {
	_, addr := r.First()
	c, err := d.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, connectFault(r, err)
	}
	return c, nil
}

// Secure speaks TLS with the broker. When it fails c is closed. Errors are *Fault.
func (d *Dialer) Secure(ctx context.Context, c net.Conn, r Route) (*tls.Conn, error) {
	config, err := d.tlsConfig(r.Host)
	if err != nil {
		c.Close()
		return nil, err
	}
	s := tls.Client(c, config)
	if err := s.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, tlsFault(r.Host, r.Addr, err, d.now())
	}
	return s, nil
}

func (d *Dialer) tlsConfig(host string) (*tls.Config, error) {
	roots := d.roots
	if roots == nil {
		var err error
		if roots, err = d.env.roots(); err != nil {
			return nil, err
		}
	}
	// A WebSocket begins as HTTP/1.1.
	return &tls.Config{ServerName: host, RootCAs: roots, Time: d.now, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}, nil
}
