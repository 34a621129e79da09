package brokerhttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

// errorBody is how a broker refuses a request.
type errorBody struct {
	OK         bool          `json:"ok"`
	Code       protocol.Code `json:"code"`
	Error      string        `json:"error"`
	Hint       string        `json:"hint"`
	Retryable  bool          `json:"retryable"`
	RetryAfter int64         `json:"retry_after_ms"`
}

// AnswerFault tells the answers that are not those of a broker at this path: of a proxy, a portal, another web server. It
// returns nil for an answer that may be a broker's own, refusals too. path is what was asked for.
func AnswerFault(r Route, res *http.Response, body []byte, path string) *Fault {
	var e errorBody
	isJSON := json.Unmarshal(body, &e) == nil && len(bytes.TrimSpace(body)) > 0 && bytes.TrimSpace(body)[0] == '{'
	code := res.StatusCode
	switch {
	case isJSON && code == http.StatusNotFound && e.Code == protocol.CodeNotFound && strings.HasPrefix(e.Error, "there is no /"):
		return pathFault(r, path)
	case isJSON && (e.OK || e.Code != "" || code == http.StatusOK || code == http.StatusServiceUnavailable):
		return nil
	case strings.Contains(string(body), "HTTP request to an HTTPS server"):
		return &Fault{Cause: CauseNotBroker, Sentence: fmt.Sprintf("%s speaks TLS only", r.Addr), Next: "the address should begin with wss://"}
	case isRedirect(code):
		return redirectFault(r, res)
	case isProxyAnswer(res):
		return &Fault{Cause: CauseProxy, Sentence: fmt.Sprintf("a proxy answers for %s: %s", r.Host, res.Status), Next: gatewayNext(code)}
	}
	return &Fault{Cause: CauseNotBroker, Sentence: fmt.Sprintf("a web server that is not a claudemesh broker answers at %s: %s", r.Addr, res.Status),
		Next: "check host, port and path of the broker's address"}
}

// pathFault is for a broker that is there, and does not serve the path that it was asked for.
func pathFault(r Route, path string) *Fault {
	prefix := protocol.PathPrefix(r.URL)
	next := "check the broker's address; its operator may have to upgrade it"
	if prefix != "" {
		next = fmt.Sprintf("the proxy in front must take %s off, or the broker must be told of it: --public-url %s", prefix, strings.TrimSuffix(r.URL, "/ws"))
	}
	return &Fault{Cause: CausePath, Sentence: fmt.Sprintf("the broker at %s answers, and not at %s", protocol.BrokerHost(r.URL), prefix+path), Next: next}
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirectFault says where a redirect leads. It is not followed: a token must not travel on.
func redirectFault(r Route, res *http.Response) *Fault {
	f := &Fault{Cause: CauseProxy, Sentence: fmt.Sprintf("a proxy answers for %s: %s", r.Host, res.Status), Next: "open any web page: the network may want a login first"}
	to, err := url.Parse(res.Header.Get("Location"))
	if err == nil && strings.EqualFold(to.Hostname(), r.Host) && to.Scheme == "https" && !r.Secure {
		f.Sentence, f.Next = fmt.Sprintf("%s answers by TLS only", r.Host), "the address should begin with wss://"
	} else if err == nil && to.Hostname() != "" {
		f.Sentence += ", on to " + to.Hostname()
	}
	return f
}

// isProxyAnswer recognises forward proxies, gateways without a broker behind them, and the portals of hotels and trains.
func isProxyAnswer(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusProxyAuthRequired, http.StatusNetworkAuthenticationRequired, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return res.Header.Get("Via") != "" || res.Header.Get("Proxy-Agent") != "" || res.Header.Get("X-Squid-Error") != ""
}

func gatewayNext(code int) string {
	switch code {
	case http.StatusProxyAuthRequired:
		return "name the proxy with its password in the environment, or ask its operator to let connections to the broker pass"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "start the broker behind the proxy, or check where the proxy passes requests to"
	}
	return "open any web page: the network may want a login first"
}

// refusal is the error that a broker meant by a body.
func (e errorBody) refusal(status string) *protocol.Error {
	if e.Code == "" {
		e.Code, e.Error = protocol.CodeUnavailable, "it answered "+status
	}
	refused := protocol.Refused(e.Code, e.Error, e.Retryable, e.RetryAfter)
	refused.Message, refused.Hint = "the broker refused: "+refused.Message, protocol.ForeignText(e.Hint)
	return refused
}
