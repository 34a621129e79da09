package brokerhttp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// redirect dials other addresses than those that are asked for; what is not named goes where it says.
func redirect(to map[string]string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if other, ok := to[addr]; ok {
			addr = other
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// tunnel passes a CONNECT on to another proxy, with all that it says.
func tunnel(t *testing.T, w http.ResponseWriter, r *http.Request, inner string) {
	to, err := net.Dial("tcp", inner)
	if err != nil {
		t.Error(err)
		return
	}
	defer to.Close()
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	r.Write(to)
	go func() { // ends with the two connections
		io.Copy(to, c)
		to.Close()
	}()
	io.Copy(c, to)
}

// What answers instead of a broker is told from one, the same for requests and WebSockets.
func TestAnswersOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		header string
		body   string
		cause  Cause
		words  string
	}{
		"portal of a hotel":    {302, "Location: http://hotel.test/login", "", CauseProxy, "on to hotel.test"},
		"TLS only":             {301, "Location: https://" + host + "/ws", "", CauseProxy, "answers by TLS only"},
		"nothing behind":       {502, "", "<html>Bad Gateway</html>", CauseProxy, "502"},
		"wants a login":        {407, "Proxy-Authenticate: Basic", "", CauseProxy, "407"},
		"some other service":   {404, "", "404 page not found", "", "404"},
		"the broker, too busy": {503, "", `{"ok":false,"code":"draining","error":"the broker is shutting down","retryable":true,"retry_after_ms":1000}`, "", "shutting down"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if k, v, ok := strings.Cut(c.header, ": "); ok {
					w.Header().Set(k, v)
				}
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			}))
			d := New(Options{Dial: redirect(map[string]string{host + ":80": addr})})
			for what, err := range map[string]error{"HTTP": post(t, d, "ws://"+host+"/ws"), "WebSocket": challenge(t, d, "ws://"+host+"/ws")} {
				f, _ := err.(*Fault)
				if err == nil || !strings.Contains(err.Error(), c.words) || c.cause != "" && (f == nil || f.Cause != c.cause) {
					t.Errorf("%s: %v", what, err)
				}
				if e := protocolError(t, err); strings.Contains(name, "busy") && (e.Code != protocol.CodeDraining || e.After == 0) {
					t.Errorf("%s: %+v", what, e)
				}
			}
		})
	}
}

// Roots that the environment names count for both, and a file that cannot be used is named.
func TestCertificateRoots(t *testing.T) {
	_, srv := newBroker(t, "")
	addr, roots := serveTLS(t, srv.Handler())
	dial := redirect(map[string]string{host + ":443": addr})
	wantFault(t, New(Options{Dial: dial}), "wss://"+host+"/ws", CauseAuthority)
	wantBoth(t, New(Options{Dial: dial, RootCAs: poolOf(t, roots)}), "wss://"+host+"/ws")
	for what, path := range map[string]string{"missing": "/nonexistent/ca.pem", "junk": writeFile(t, []byte("no certificate"))} {
		f := wantFault(t, New(Options{Dial: dial, Env: Environment{SSLCertFile: path}}), "wss://"+host+"/ws", CauseRoots)
		if !strings.Contains(f.Sentence, "SSL_CERT_FILE") || !strings.Contains(f.Sentence, path) || !f.Unsent {
			t.Errorf("%s: %+v", what, f)
		}
	}
}
