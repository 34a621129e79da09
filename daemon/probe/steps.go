package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/protocol"
)

// How long one step may take, so that a step that hangs is named by itself and not by the end of the budget.
const (
	resolveTimeout = 2 * time.Second
	connectTimeout = 2500 * time.Millisecond
	answerTimeout  = 2 * time.Second
)

const maxAnswer = 4 << 10 // bytes of an answer to GET /health that are looked at

func (r *run) resolve(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	host, _ := r.route.First()
	addrs, err := r.o.Resolve(ctx, host)
	if err != nil {
		return err.Error(), brokerhttp.ResolveFault(r.route, err)
	}
	return fmt.Sprintf("%s is %s", host, strings.Join(addrs, ", ")), nil
}

func (r *run) connect(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := r.o.Dialer.Connect(ctx, r.route)
	if err != nil {
		return detail(err)
	}
	r.conn = c
	return fmt.Sprintf("connected to %s", c.RemoteAddr()), nil
}

func (r *run) tunnel(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	c, err := r.o.Dialer.Tunnel(ctx, r.conn, r.route)
	if err != nil {
		return detail(err)
	}
	r.conn = c
	return fmt.Sprintf("%s makes a tunnel to %s", r.route.Through(), r.route.Addr), nil
}

func (r *run) handshake(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	secure, err := r.o.Dialer.Secure(ctx, r.conn, r.route)
	if err != nil {
		return detail(err)
	}
	r.conn = secure
	state := secure.ConnectionState()
	return fmt.Sprintf("%s, certificate valid until %s", tls.VersionName(state.Version), brokerhttp.Stamp(state.PeerCertificates[0].NotAfter)), nil
}

// detail is what the system said, and what it means.
func detail(err error) (string, *brokerhttp.Fault) {
	f := faultOf(err)
	if f.Err != nil {
		return f.Err.Error(), f
	}
	return f.Sentence, f
}

// health asks the connection that the steps before made, so what answers is what they looked at.
func (r *run) health(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, protocol.HTTPBase(r.route.URL)+"/health", nil)
	if err != nil {
		return detail(err)
	}
	resp, err := brokerhttp.Transport(r.conn).RoundTrip(req)
	if err != nil {
		return err.Error(), brokerhttp.ExchangeFault(r.route, err, "an HTTP request")
	}
	defer resp.Body.Close()
	r.asked = r.o.Now()
	r.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero where there is none
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err.Error(), brokerhttp.ExchangeFault(r.route, err, "an HTTP request")
	}
	return "GET /health: " + resp.Status, r.judge(resp, body)
}

// judge tells a broker's answer to GET /health from those of anything else.
func (r *run) judge(resp *http.Response, body []byte) *brokerhttp.Fault {
	f := brokerhttp.AnswerFault(r.route, resp, body, "/health")
	if f == nil && resp.StatusCode != http.StatusOK {
		return &brokerhttp.Fault{Cause: brokerhttp.CauseUnhealthy, Sentence: fmt.Sprintf("the broker at %s says that it cannot work", r.route.Addr),
			Next: "its operator finds the reason in its log"}
	}
	return f
}

// upgrade opens the WebSocket on a second connection and asks for a challenge, which only a broker answers, with its clock
// in it.
func (r *run) upgrade(ctx context.Context) (string, *brokerhttp.Fault) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ws, err := r.o.Dialer.WebSocket(ctx, r.route.URL)
	if err != nil {
		return detail(err)
	}
	defer ws.Close()
	deadline, _ := ctx.Deadline()
	_ = ws.SetWriteDeadline(deadline) // these two fail only with the exchange below
	_ = ws.SetReadDeadline(deadline)
	ws.SetReadLimit(protocol.MaxPreHello)
	answer, took, err := challenge(ws, r.o.Now)
	if err != nil {
		return err.Error(), brokerhttp.ExchangeFault(r.route, err, "a challenge")
	}
	if !slices.Contains(answer.Capabilities, protocol.CapTrust) {
		return "no " + protocol.CapTrust, &brokerhttp.Fault{Cause: brokerhttp.CauseOldBroker, Sentence: fmt.Sprintf("the broker at %s is too old for this mesh", r.route.Addr),
			Next: "its operator must upgrade it"}
	}
	if answer.Time != 0 {
		r.setSkew(r.o.Now().Add(-took / 2).Sub(protocol.TimeOf(answer.Time)))
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

func (r *run) clock(context.Context) (string, *brokerhttp.Fault) {
	if !r.told && !r.date.IsZero() {
		r.setSkew(r.asked.Sub(r.date))
	}
	skew := r.report.Skew()
	if !r.told {
		return "the broker does not tell its time", nil
	}
	if !skewed(skew) {
		return fmt.Sprintf("within %s of the broker's", max(skew.Abs().Round(time.Second), time.Second)), nil
	}
	by := fmt.Sprintf("%.0f min", skew.Abs().Minutes())
	side := "ahead of"
	if skew < 0 {
		side = "behind"
	}
	return by + " " + side + " the broker's", &brokerhttp.Fault{Cause: brokerhttp.CauseClock,
		Sentence: fmt.Sprintf("this machine's clock is %s %s the broker's; more than 1 min is refused", by, side),
		Next:     "set this machine's clock (timedatectl set-ntp true, or the system settings); if it is right, the broker's is wrong"}
}
