package broker

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// upgrader makes connections that cost little when idle: the buffer for reading is the hijacker's, small, and those for
// writing borrowed. Compression gains nothing on ciphertext. The origin does not matter: a hello is signed, there are no cookies.
var upgrader = websocket.Upgrader{
	WriteBufferSize: 1 << 10, WriteBufferPool: new(sync.Pool),
	CheckOrigin: func(*http.Request) bool { return true },
}

func (s *Server) handleWebSocket(w http.ResponseWriter, r *http.Request) {
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		s.writeError(w, s.refusal(protocol.Refuse(protocol.CodeNoUpgrade, "this is the broker's WebSocket, and the request does not ask for an upgrade").
			WithHint("a proxy between the client and the broker must pass the Upgrade and Connection headers")))
		return
	}
	addr := s.clientAddr(r)
	if err := s.claim(addr); err != nil {
		s.writeError(w, s.refusal(err))
		return
	}
	h := &hijacker{ResponseWriter: w, timeout: s.limits.WriteTimeout}
	ws, err := upgrader.Upgrade(h, r, nil)
	if err != nil {
		s.release(addr)
		s.log.Debug("upgrade refused", "addr", addr, "err", err)
		return
	}
	h.conn.gatherWrites()
	c := newConn(s, ws, h.conn, addr, strings.Clone(strings.ToLower(r.Host))) // else it keeps the whole request
	if !s.register(c) {
		ws.Close()
		s.release(addr)
		return
	}
	// In a goroutine of its own: the request and its stack are 10 KiB that nobody needs any more.
	go c.serve()
}

// clientAddr is the address that limits count by: the peer's, or what a trusted proxy says of it. Each proxy adds the
// address that it saw at the end of X-Forwarded-For, so the last one that is no trusted proxy's own is the client's.
func (s *Server) clientAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for len(hops) > 0 && s.cfg.trusts(host) {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[len(hops)-1]))
		if err != nil {
			break
		}
		host, hops = a.Unmap().String(), hops[:len(hops)-1]
	}
	return host
}

// countSocket closes sockets that are opened beyond the limit of an address and have said nothing yet. Those that become
// WebSockets are claim's. A proxy's are everybody's.
func (s *Server) countSocket(conn net.Conn, state http.ConnState) {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil || isLoopback(host) || s.cfg.trusts(host) {
		return
	}
	switch state {
	case http.StateNew:
		s.mu.Lock()
		s.sockets[host]++
		over := s.sockets[host] > s.limits.ConnsPerAddress
		s.mu.Unlock()
		if over {
			conn.Close() // its end is told here again
			s.metrics.refusals.WithLabelValues(string(protocol.CodeCapacity)).Inc()
		}
	case http.StateHijacked, http.StateClosed:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sockets[host]--; s.sockets[host] == 0 {
			delete(s.sockets, host)
		}
	}
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// claim counts a connection from addr, or refuses it.
func (s *Server) claim(addr string) error {
	if s.draining.Load() {
		return errDraining()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perAddress[addr] >= s.limits.ConnsPerAddress && !isLoopback(addr) {
		return protocol.Refuse(protocol.CodeCapacity, "%d connections from one address, the most that this broker allows",
			s.limits.ConnsPerAddress).RetryAfter(capacityRetry)
	}
	s.perAddress[addr]++
	return nil
}

func (s *Server) release(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.perAddress[addr]--; s.perAddress[addr] == 0 {
		delete(s.perAddress, addr)
	}
}

// register counts c among those that Close waits for. It reports false when the server closes.
func (s *Server) register(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	s.metrics.conns.WithLabelValues(kindHello).Inc()
	return true
}

// forget takes an ended connection out of the server's tables.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.release(c.addr)
	if c.mesh == nil {
		s.metrics.conns.WithLabelValues(kindHello).Dec()
	}
}
