// Package proxytest has the proxies that stand between a client and a broker, on loopback: those that a client is told of
// (CONNECT, SOCKS5) and those that it does not know of (a reverse proxy under a path).
package proxytest

import (
	"bufio"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// Proxy is a forward proxy. It reaches nothing but the addresses of Names, whose keys are what clients ask for.
type Proxy struct {
	Names          map[string]string
	User, Password string // empty: it asks for none

	ln    net.Listener
	conns sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	served []string // addresses that were asked for and reached
}

// HTTP starts a proxy that makes tunnels by CONNECT.
func HTTP(names map[string]string, user, password string) (*Proxy, error) {
	p := &Proxy{Names: names, User: user, Password: password}
	return p, p.start(p.connect)
}

// SOCKS starts a proxy that speaks SOCKS5 (RFC 1928) with names and passwords (RFC 1929).
func SOCKS(names map[string]string, user, password string) (*Proxy, error) {
	p := &Proxy{Names: names, User: user, Password: password}
	return p, p.start(p.socks)
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Served lists the addresses to which it made tunnels.
func (p *Proxy) Served() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.served...)
}

// Close ends the proxy and every tunnel.
func (p *Proxy) Close() {
	p.ln.Close()
	p.mu.Lock()
	for c := range p.open {
		c.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.conns.Wait()
}

func (p *Proxy) start(serve func(net.Conn) (net.Conn, error)) (err error) {
	p.open = make(map[net.Conn]bool)
	if p.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	p.conns.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			p.conns.Go(func() { p.pass(c, serve) })
		}
	})
	return nil
}

// keep notes a connection, so that Close ends it.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		c.Close()
		return false
	}
	p.open[c] = true
	return true
}

// pass serves one client: the handshake, and then bytes both ways until either ends.
func (p *Proxy) pass(c net.Conn, serve func(net.Conn) (net.Conn, error)) {
	defer c.Close()
	if !p.keep(c) {
		return
	}
	to, err := serve(c)
	if err != nil {
		return
	}
	defer to.Close()
	if !p.keep(to) {
		return
	}
	go func() { // ends with the two connections
		io.Copy(to, c)
		to.Close()
	}()
	io.Copy(c, to)
}

var errUnknown = errors.New("proxytest: an address that is not in Names")

// reach dials what the client asked for.
func (p *Proxy) reach(addr string) (net.Conn, error) {
	target, ok := p.Names[addr]
	if !ok {
		return nil, errUnknown
	}
	c, err := net.Dial("tcp", target)
	if err == nil {
		p.mu.Lock()
		p.served = append(p.served, addr)
		p.mu.Unlock()
	}
	return c, err
}

func (p *Proxy) connect(c net.Conn) (net.Conn, error) {
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return nil, err
	}
	refuse := func(status, header string) (net.Conn, error) {
		io.WriteString(c, "HTTP/1.1 "+status+"\r\n"+header+"Content-Length: 0\r\n\r\n")
		return nil, errUnknown
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.User+":"+p.Password))
	if p.User != "" && req.Header.Get("Proxy-Authorization") != want {
		return refuse("407 Proxy Authentication Required", "Proxy-Authenticate: Basic\r\n")
	}
	if req.Method != http.MethodConnect {
		return refuse("405 Method Not Allowed", "")
	}
	to, err := p.reach(req.Host)
	if err != nil {
		return refuse("502 Bad Gateway", "")
	}
	io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	return to, nil
}
