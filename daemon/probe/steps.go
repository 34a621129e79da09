package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// How long one step may take, so that a step that hangs is named by itself and not by the end of the budget.
const (
	resolveTimeout = 2 * time.Second
	connectTimeout = 2500 * time.Millisecond
	answerTimeout  = 2 * time.Second
)

const maxAnswer = 4 << 10 // bytes of an answer to GET /health that are looked at

func (r *run) resolve(ctx context.Context) (string, *fault) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := r.o.Resolve(ctx, r.host)
	if err != nil {
		return err.Error(), r.resolveFault(err)
	}
	return fmt.Sprintf("%s is %s", r.host, strings.Join(addrs, ", ")), nil
}

func (r *run) connect(ctx context.Context) (string, *fault) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := r.o.Dial(ctx, "tcp", r.addr)
	if err != nil {
		return err.Error(), r.connectFault(err)
	}
	r.conn = conn
	return fmt.Sprintf("connected to %s", conn.RemoteAddr()), nil
}

func (r *run) handshake(ctx context.Context) (string, *fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	secure := tls.Client(r.conn, r.tlsConfig())
	if err := secure.HandshakeContext(ctx); err != nil {
		return err.Error(), r.tlsFault(err, r.o.Now())
	}
	r.conn = secure
	state := secure.ConnectionState()
	return fmt.Sprintf("%s, certificate valid until %s", tls.VersionName(state.Version), stamp(state.PeerCertificates[0].NotAfter)), nil
}

// health asks the connection that the steps before made, so what answers is what they looked at.
func (r *run) health(ctx context.Context) (string, *fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	given := func(context.Context, string, string) (net.Conn, error) { return r.conn, nil }
	t := &http.Transport{DialContext: given, DialTLSContext: given, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, protocol.HTTPBase(r.report.URL)+"/health", nil)
	if err != nil {
		return err.Error(), &fault{CauseURL, "the broker's address is not a URL", "create or join the mesh again with the right address"}
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err.Error(), r.exchangeFault(err, "an HTTP request")
	}
	defer resp.Body.Close()
	r.asked = r.o.Now()
	r.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero where there is none
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err.Error(), r.exchangeFault(err, "an HTTP request")
	}
	return "GET /health: " + resp.Status, r.judge(resp, body)
}

// judge tells a broker's answer to GET /health from those of anything else.
func (r *run) judge(resp *http.Response, body []byte) *fault {
	var doc map[string]any
	isJSON := json.Unmarshal(body, &doc) == nil && doc != nil
	code := resp.StatusCode
	switch {
	case isJSON && code == http.StatusOK:
		return nil
	case isJSON && code == http.StatusServiceUnavailable:
		return &fault{CauseUnhealthy, fmt.Sprintf("the broker at %s says that it cannot work", r.addr), "its operator finds the reason in its log"}
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return &fault{CauseNotBroker, fmt.Sprintf("%s speaks TLS only", r.addr), "the address should begin with wss://"}
	case isProxy(resp):
		return &fault{CauseProxy, fmt.Sprintf("a proxy answers for %s: %s", r.host, resp.Status), proxyNext(code)}
	}
	return &fault{CauseNotBroker, fmt.Sprintf("a web server that is no claudemesh broker answers at %s: %s", r.addr, resp.Status), "check host and port of the broker's address"}
}

// isProxy recognises forward proxies, gateways without a broker behind them, and the portals of hotels and trains.
func isProxy(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusProxyAuthRequired, http.StatusNetworkAuthenticationRequired, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return resp.Header.Get("Via") != "" || resp.Header.Get("Proxy-Agent") != "" || resp.Header.Get("X-Squid-Error") != ""
}

func proxyNext(code int) string {
	switch code {
	case http.StatusProxyAuthRequired:
		return "ask the network's operator to let connections to the broker pass the proxy"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "start the broker behind the proxy, or check where the proxy passes requests to"
	}
	return "open any web page: the network may want a login first"
}

// upgrade opens the WebSocket and asks for a challenge, which only a broker answers, with its clock in it.
func (r *run) upgrade(ctx context.Context) (string, *fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	d := websocket.Dialer{NetDialContext: r.o.Dial, TLSClientConfig: r.tlsConfig()}
	ws, resp, err := d.DialContext(ctx, r.report.URL, nil)
	if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
		return resp.Status, &fault{CauseUpgrade, fmt.Sprintf("%s answers HTTP but opens no WebSocket: %s", r.addr, resp.Status),
			"the proxy in front of the broker must pass Upgrade and Connection headers for /ws"}
	}
	if err != nil {
		return err.Error(), r.exchangeFault(err, "a WebSocket upgrade")
	}
	defer ws.Close()
	deadline, _ := ctx.Deadline()
	_ = ws.SetWriteDeadline(deadline) // these two fail only with the exchange below
	_ = ws.SetReadDeadline(deadline)
	ws.SetReadLimit(protocol.MaxPreHello)
	answer, took, err := challenge(ws, r.o.Now)
	if err != nil {
		return err.Error(), r.exchangeFault(err, "a challenge")
	}
	if !slices.Contains(answer.Capabilities, protocol.CapTrust) {
		return "no " + protocol.CapTrust, &fault{CauseOldBroker, fmt.Sprintf("the broker at %s is too old for this mesh", r.addr), "its operator must upgrade it"}
	}
	if answer.Time != 0 {
		r.setSkew(r.o.Now().Add(-took / 2).Sub(time.UnixMilli(answer.Time)))
	}
	return "open", nil
}

// challenge returns the broker's answer and how long it took.
func challenge(ws *websocket.Conn, now func() time.Time) (protocol.Challenge, time.Duration, error) {
	began := now()
	const id = "probe"
	ask := protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge, ReqID: id}}
	if err := ws.WriteJSON(ask); err != nil {
		return protocol.Challenge{}, 0, err
	}
	for {
		var answer protocol.Challenge
		if err := ws.ReadJSON(&answer); err != nil {
			return answer, 0, err
		}
		if answer.Type == protocol.TypeChallenge && answer.ReqID == id {
			return answer, now().Sub(began), nil
		}
		if answer.Type == protocol.TypeError {
			return answer, 0, fmt.Errorf("the broker refuses the challenge")
		}
	}
}

func (r *run) clock(context.Context) (string, *fault) {
	if !r.told && !r.date.IsZero() {
		r.setSkew(r.asked.Sub(r.date))
	}
	if !r.told {
		return "the broker does not tell its time", nil
	}
	if !skewed(r.report.Skew) {
		return fmt.Sprintf("within %s of the broker's", max(r.report.Skew.Abs().Round(time.Second), time.Second)), nil
	}
	by := fmt.Sprintf("%.0f min", r.report.Skew.Abs().Minutes())
	side := "ahead of"
	if r.report.Skew < 0 {
		side = "behind"
	}
	return by + " " + side + " the broker's", &fault{CauseClock, fmt.Sprintf("this machine's clock is %s %s the broker's; more than 1 min is refused", by, side),
		"set this machine's clock (timedatectl set-ntp true, or the system settings); if it is right, the broker's is wrong"}
}
