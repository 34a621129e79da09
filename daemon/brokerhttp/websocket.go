package brokerhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/protocol"
)

// maxRefusal bounds how much is read of a response that is not an upgrade.
const maxRefusal = 4 << 10

// WebSocket opens a WebSocket to the broker of wsURL; ctx bounds all of it. Errors are *Fault.
func (d *Dialer) WebSocket(ctx context.Context, wsURL string) (*websocket.Conn, error) {
	r, err := d.Route(wsURL)
	if err != nil {
		return nil, err
	}
	c, err := d.Dial(ctx, r)
	if err != nil {
		return nil, err
	}
	return Upgrade(ctx, c, r)
}

// Upgrade makes a WebSocket of a connection that Dial made. When it fails c is closed. Errors are *Fault.
func Upgrade(ctx context.Context, c net.Conn, r Route) (*websocket.Conn, error) {
	made := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	ws, res, err := (&websocket.Dialer{NetDialContext: made, NetDialTLSContext: made}).DialContext(ctx, r.URL, nil)
	if err == nil {
		return ws, nil
	}
	c.Close()
	if !errors.Is(err, websocket.ErrBadHandshake) || res == nil {
		return nil, ExchangeFault(r, err, "a WebSocket upgrade")
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal)) // a part is better than none
	return nil, upgradeFault(r, res, body)
}

// upgradeFault explains a response that is not an upgrade.
func upgradeFault(r Route, res *http.Response, body []byte) *Fault {
	if f := AnswerFault(r, res, body, "/ws"); f != nil && f.Cause != CauseNotBroker {
		return f
	}
	var e errorBody
	_ = json.Unmarshal(body, &e) // what is not of its shape says nothing
	switch {
	case e.Code == protocol.CodeNoUpgrade, res.StatusCode == http.StatusUpgradeRequired, res.Header.Get("Sec-Websocket-Version") != "":
		return &Fault{Cause: CauseNoUpgrade, Sentence: fmt.Sprintf("a proxy in front of the broker %s passes no WebSockets: the upgrade did not reach the broker", protocol.BrokerHost(r.URL)),
			Next: "the proxy must pass the Upgrade and Connection headers of " + protocol.PathPrefix(r.URL) + "/ws, by HTTP/1.1"}
	case e.Code != "":
		refusal := e.refusal(res.Status)
		return &Fault{Cause: CauseRefused, Sentence: refusal.Message, Next: refusal.Hint, refusal: refusal}
	}
	return &Fault{Cause: CauseUpgrade, Sentence: fmt.Sprintf("%s answers HTTP but opens no WebSocket: %s", r.Addr, res.Status),
		Next: "check the path of the broker's address; a proxy in front of the broker must pass the Upgrade and Connection headers of it"}
}
