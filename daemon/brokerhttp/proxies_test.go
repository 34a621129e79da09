package brokerhttp

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp/proxytest"
	"github.com/claudemesh/claudemesh/protocol"
)

// Alice's company lets nobody out but through its proxy. Requests and WebSockets both take it, whatever its kind, with and
// without a password, and with TLS to the broker.
func TestThroughProxies(t *testing.T) {
	plain, srv := newBroker(t, "")
	secure, roots := serveTLS(t, srv.Handler())
	names := map[string]string{host + ":7900": plain, host + ":443": secure}
	for name, c := range map[string]struct {
		start          func(map[string]string, string, string) (*proxytest.Proxy, error)
		scheme         string
		user, password string
	}{
		"CONNECT":                 {proxytest.HTTP, "http", "", ""},
		"CONNECT with password":   {proxytest.HTTP, "http", "alice", "s3cret:/@% "},
		"SOCKS5":                  {proxytest.SOCKS, "socks5", "", ""},
		"SOCKS5 with password":    {proxytest.SOCKS, "socks5h", "alice", "s3cret:/@% "},
		"without scheme":          {proxytest.HTTP, "", "", ""},
		"password, and no scheme": {proxytest.HTTP, "", "alice", "s3cret"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := c.start(names, c.user, c.password)
			proxyOf(t, p, err)
			url := proxyURL(c.scheme, c.user, c.password, p.Addr())
			for _, env := range []Environment{{AllProxy: url}, {HTTPProxy: url, HTTPSProxy: url}, {HTTPProxy: url, HTTPSProxy: url, AllProxy: "http://127.0.0.1:1", NoProxy: "other.test"}} {
				d := New(Options{Env: env, RootCAs: poolOf(t, roots)})
				wantBoth(t, d, "ws://"+host+":7900/ws")
				wantBoth(t, d, "wss://"+host+"/ws")
			}
			if got := p.Served(); len(got) != 12 || !slices.Contains(got, host+":443") {
				t.Errorf("the proxy served %v", got)
			}
		})
	}
}

func proxyURL(scheme, user, password, addr string) string {
	login := ""
	if user != "" {
		login = user + ":" + strings.NewReplacer("%", "%25", ":", "%3A", "/", "%2F", "@", "%40", " ", "%20").Replace(password) + "@"
	}
	if scheme != "" {
		scheme += "://"
	}
	return scheme + login + addr
}

// A proxy that is itself reached by TLS, and HTTPS_PROXY that does not count for ws:// nor HTTP_PROXY for wss://.
func TestProxyOverTLS(t *testing.T) {
	plain, srv := newBroker(t, "")
	secure, roots := serveTLS(t, srv.Handler())
	inner, err := proxytest.HTTP(map[string]string{host + ":7900": plain, host + ":443": secure}, "alice", "s3cret")
	proxyOf(t, inner, err)
	outer, outerRoots := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tunnel(t, w, r, inner.Addr()) }))
	pool := poolOf(t, roots)
	pool.AppendCertsFromPEM(outerRoots)
	_, port, _ := net.SplitHostPort(outer)
	url := "https://alice:s3cret@" + host + ":" + port
	dial := redirect(map[string]string{host + ":" + port: outer})
	d := New(Options{Dial: dial, Env: Environment{AllProxy: url}, RootCAs: pool})
	wantBoth(t, d, "ws://"+host+":7900/ws")
	wantBoth(t, d, "wss://"+host+"/ws")

	wantFault(t, New(Options{Dial: dial, Env: Environment{AllProxy: url}, RootCAs: poolOf(t, roots)}), "ws://"+host+":7900/ws", CauseAuthority)

	one := "http://" + proxyURL("", "alice", "s3cret", inner.Addr())
	direct := redirect(map[string]string{host + ":7900": plain, host + ":443": secure, inner.Addr(): "127.0.0.1:1"})
	wantBoth(t, New(Options{Dial: direct, Env: Environment{HTTPSProxy: one}}), "ws://"+host+":7900/ws")
	wantBoth(t, New(Options{Dial: direct, Env: Environment{HTTPProxy: one}, RootCAs: poolOf(t, roots)}), "wss://"+host+"/ws")
}

// What is in the way is named: the proxy's address, its password, its rules, or the broker behind it.
func TestProxiesInTheWay(t *testing.T) {
	plain, _ := newBroker(t, "")
	names := map[string]string{host + ":7900": plain}
	http_, err := proxytest.HTTP(names, "alice", "s3cret")
	proxyOf(t, http_, err)
	socks, err := proxytest.SOCKS(names, "alice", "s3cret")
	proxyOf(t, socks, err)
	closed := "127.0.0.1:1"
	for name, c := range map[string]struct {
		env   Environment
		url   string
		cause Cause
		words string
	}{
		"no login":            {Environment{HTTPProxy: "http://" + http_.Addr()}, "", CauseProxyLogin, "wants a name and a password"},
		"wrong password":      {Environment{HTTPProxy: "http://alice:s3cretX@" + http_.Addr()}, "", CauseProxyLogin, "does not take the name and password"},
		"unknown broker":      {Environment{HTTPProxy: "http://alice:s3cret@" + http_.Addr()}, "ws://nobody.test/ws", CauseProxy, "502 Bad Gateway"},
		"wrong SOCKS login":   {Environment{AllProxy: "socks5://alice:s3cretX@" + socks.Addr()}, "", CauseProxy, "username/password authentication failed"},
		"unknown to SOCKS":    {Environment{AllProxy: "socks5://alice:s3cret@" + socks.Addr()}, "ws://nobody.test/ws", CauseProxy, "host unreachable"},
		"closed":              {Environment{AllProxy: "http://alice:s3cret@" + closed}, "", CausePort, "nobody listens on the proxy " + closed},
		"not a URL":           {Environment{HTTPProxy: "http://alice:s3cret@[::1"}, "", CauseProxySetting, "HTTP_PROXY does not hold the URL of a proxy"},
		"another kind":        {Environment{AllProxy: "socks4://alice:s3cret@" + closed}, "", CauseProxySetting, "socks4"},
		"SOCKS asked by HTTP": {Environment{AllProxy: "http://alice:s3cret@" + socks.Addr()}, "", CauseConnectionEnd, "ends the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			url := c.url
			if url == "" {
				url = "ws://" + host + ":7900/ws"
			}
			f := wantFault(t, New(Options{Env: c.env}), url, c.cause)
			if !strings.Contains(f.Sentence, c.words) || !f.Unsent {
				t.Errorf("%+v, want %q", f, c.words)
			}
		})
	}
	wantBoth(t, New(Options{Env: Environment{HTTPProxy: "http://alice:s3cret@[::1"}}), "ws://"+plain+"/ws") // this machine is no business of a proxy's
}

func TestNoProxy(t *testing.T) {
	for _, c := range []struct {
		no, url string
		direct  bool
	}{
		{"", "wss://mesh.test/ws", false},
		{"", "ws://localhost:7900/ws", true},
		{"", "ws://127.0.0.9:7900/ws", true},
		{"", "ws://[::1]:7900/ws", true},
		{"mesh.test", "wss://mesh.test/ws", true},
		{"mesh.test:444", "wss://mesh.test/ws", false},
		{"mesh.test:443", "wss://mesh.test/ws", true},
		{".test", "wss://mesh.test/ws", true},
		{"a.test, *.test", "wss://mesh.test/ws", true},
		{"10.0.0.0/8", "wss://10.1.2.3/ws", true},
		{"10.0.0.0/8", "wss://11.1.2.3/ws", false},
		{"*", "wss://mesh.test/ws", true},
	} {
		r, err := New(Options{Env: Environment{HTTPSProxy: "proxy.test:3128", HTTPProxy: "proxy.test:3128", NoProxy: c.no}}).Route(c.url)
		if err != nil || (r.Proxy == nil) != c.direct {
			t.Errorf("NO_PROXY=%s, %s: %+v %v", c.no, c.url, r, err)
		}
	}
}

// What is shown of an environment holds no secret, and what is read of one is what is set.
func TestEnvironment(t *testing.T) {
	set := map[string]string{
		"https_proxy": "http://alice:s3cret@proxy.test:3128", "HTTPS_PROXY": "http://other", "HTTP_PROXY": "alice:s3cret@proxy.test", "ALL_PROXY": "socks5://s3cret@[::1]:1080/x?s3cret",
		"NO_PROXY": "", "SSL_CERT_FILE": "/etc/ours.pem", "HTTP": "x",
	}
	e := ReadEnvironment(func(name string) (string, bool) { v, ok := set[name]; return v, ok })
	if v, ok := e[NoProxy]; e[HTTPSProxy] != set["https_proxy"] || !ok || v != "" || len(e) != 5 {
		t.Errorf("%v", e)
	}
	want := []Variable{{HTTPSProxy, "http://***@proxy.test:3128"}, {HTTPProxy, "http://***@proxy.test"}, {AllProxy, "socks5://***@[::1]:1080"}, {SSLCertFile, "/etc/ours.pem"}}
	if got := e.Shown(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{"http://alice:s3cret@[::1", "://s3cret", "http://alice:s3cret@"} {
		if got := (Environment{AllProxy: bad}).Shown(); strings.Contains(got[0].Value, "s3cret") {
			t.Errorf("%q is shown as %q", bad, got)
		}
	}
}

// One address means one broker, with and without a path, over HTTP and as a WebSocket, whatever the proxy in front does
// with the path.
func TestPathPrefix(t *testing.T) {
	root, _ := newBroker(t, "")
	told, _ := newBroker(t, "wss://relay.example/team/mesh/ws")
	for name, front := range map[string]string{
		"taken off": serve(t, proxytest.Reverse{Prefix: "/team/mesh"}.Handler(root)),
		"passed on": serve(t, proxytest.Reverse{Prefix: "/team/mesh", Keep: true}.Handler(told)),
		"both":      serve(t, proxytest.Reverse{Prefix: "/team/mesh"}.Handler(told)),
	} {
		t.Run(name, func(t *testing.T) {
			for _, typed := range []string{"http://" + front + "/team/mesh", "http://" + front + "/team/mesh/", "ws://" + front + "/team/mesh/ws"} {
				url, err := protocol.NormalizeBrokerURL(typed)
				if err != nil {
					t.Fatal(err)
				}
				wantBoth(t, New(Options{}), url)
			}
			wantBoth(t, New(Options{}), "ws://"+front+"/team/mesh") // as a link of somebody else may say it
		})
	}
	unknown := serve(t, proxytest.Reverse{Prefix: "/team", Keep: true}.Handler(root))
	if f := wantFault(t, New(Options{}), "ws://"+unknown+"/team/ws", CausePath); !strings.Contains(f.Next, "--public-url ws://"+unknown+"/team") {
		t.Errorf("%+v", f)
	}
}

// A proxy in front of the broker that passes requests and no WebSockets is named as such.
func TestUpgradeDropped(t *testing.T) {
	addr, _ := newBroker(t, "")
	front := "ws://" + serve(t, proxytest.Reverse{Prefix: "/mesh", DropUpgrade: true}.Handler(addr)) + "/mesh/ws"
	d := New(Options{})
	if err := post(t, d, front); protocol.CodeOf(err) != protocol.CodeUnauthorized {
		t.Errorf("HTTP: %v", err)
	}
	err := challenge(t, d, front)
	if f, ok := err.(*Fault); !ok || f.Cause != CauseNoUpgrade || !strings.Contains(f.Next, "Upgrade and Connection headers of /mesh/ws") {
		t.Errorf("%+v", err)
	}
	if e := protocolError(t, err); e.Code != protocol.CodeUnavailable || !e.Retryable || e.Hint == "" {
		t.Errorf("%+v", e)
	}
}
