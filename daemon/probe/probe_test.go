package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/protocol"
)

// standIn answers as a broker does as far as a probe goes.
func standIn(now func() time.Time, caps ...string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", now().UTC().Format(http.TimeFormat))
		fmt.Fprint(w, `{"ok":true}`)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		var ask protocol.HelloChallenge
		if c.ReadJSON(&ask) == nil && ask.Type == protocol.TypeHelloChallenge {
			c.WriteJSON(protocol.Challenge{Tag: protocol.Tag{Type: protocol.TypeChallenge, ReqID: ask.ReqID}, Capabilities: caps, Time: now().UnixMilli()})
		}
	})
	return mux
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func want(t *testing.T, r Report, cause brokerhttp.Cause, step string, words ...string) {
	t.Helper()
	if r.OK || r.Cause != cause {
		t.Fatalf("cause %q, want %q: %+v", r.Cause, cause, r)
	}
	last := r.Steps[len(r.Steps)-1]
	if last.Name != step || last.OK {
		t.Errorf("ended at step %q (ok %v), want %q", last.Name, last.OK, step)
	}
	for _, w := range words {
		if !strings.Contains(r.Sentence, w) {
			t.Errorf("sentence %q does not say %q", r.Sentence, w)
		}
	}
	if r.Sentence == "" || r.Next == "" || strings.HasSuffix(r.Sentence, ".") {
		t.Errorf("sentence %q, next %q", r.Sentence, r.Next)
	}
}

func TestReachable(t *testing.T) {
	addr := serve(t, standIn(time.Now, protocol.Capabilities()...))
	_, port, _ := net.SplitHostPort(addr)
	r := Probe(t.Context(), "ws://localhost:"+port+"/ws", Options{Dialer: brokerhttp.New(brokerhttp.Options{Dial: toAddr(addr)})})
	if !r.OK || r.Cause != "" || r.Skew().Abs() > time.Second {
		t.Fatalf("%+v", r)
	}
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Name)
	}
	if got := strings.Join(steps, " "); got != "name connect http websocket clock" {
		t.Errorf("steps %s", got)
	}
}

// toAddr dials one address whatever the name: localhost may be ::1 first.
func toAddr(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

func TestBadURL(t *testing.T) {
	for _, u := range []string{"", "http://x/ws", "ws://", "://", "ws://%zz"} {
		if r := Probe(t.Context(), u, Options{}); r.Cause != brokerhttp.CauseURL {
			t.Errorf("%q: %+v", u, r)
		}
	}
}

func TestNames(t *testing.T) {
	unknown := func(_ context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	want(t, Probe(t.Context(), "wss://mesh.exmaple.org/ws", Options{Resolve: unknown}), brokerhttp.CauseName, StepName, "mesh.exmaple.org")
	mute := func(ctx context.Context, host string) ([]string, error) {
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	}
	want(t, Probe(t.Context(), "wss://mesh.example.org/ws", Options{Resolve: mute}), brokerhttp.CauseResolver, StepName)
}

func TestClosedPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	want(t, Probe(t.Context(), "ws://"+addr+"/ws", Options{}), brokerhttp.CausePort, StepConnect, addr)
}

func TestSilentListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			step := map[string]string{"ws": StepHTTP, "wss": StepTLS}[scheme]
			began := time.Now()
			want(t, Probe(context.Background(), scheme+"://"+ln.Addr().String()+"/ws", Options{}), brokerhttp.CauseSilent, step)
			if took := time.Since(began); took > Budget {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestDroppedConnection(t *testing.T) {
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := Probe(ctx, "ws://127.0.0.1:1/ws", Options{Dialer: brokerhttp.New(brokerhttp.Options{Dial: hang})}); r.OK {
		t.Error("a cancelled probe says ok")
	}
	want(t, Probe(t.Context(), "ws://127.0.0.1:1/ws", Options{Dialer: brokerhttp.New(brokerhttp.Options{Dial: hang})}), brokerhttp.CauseSilent, StepConnect, "127.0.0.1:1")
}

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-1e5 * time.Hour), NotAfter: time.Now().Add(1e5 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// serve runs a TLS stand-in with a certificate for name, valid from and until.
func (a *authority) serve(name string, from, until time.Time) string {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: until, DNSNames: []string{name}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(standIn(time.Now, protocol.Capabilities()...))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report every certificate that we refuse
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestTLS(t *testing.T) {
	now, day := time.Now(), 24*time.Hour
	a := newAuthority(t)
	resolve := func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	probe := func(addr string, pool *x509.CertPool) Report {
		return Probe(t.Context(), "wss://mesh.example.org/ws", Options{Resolve: resolve, Dialer: brokerhttp.New(brokerhttp.Options{Dial: toAddr(addr), RootCAs: pool})})
	}
	good := a.serve("mesh.example.org", now.Add(-day), now.Add(day))
	if r := probe(good, a.pool()); !r.OK || !slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Name == StepTLS && strings.Contains(s.Detail, "TLS 1.3") }) {
		t.Fatalf("%+v", r)
	}
	want(t, probe(a.serve("mesh.example.org", now.Add(-2*day), now.Add(-day)), a.pool()), brokerhttp.CauseExpired, StepTLS, "expired on "+now.Add(-day).UTC().Format("2006-01-02"))
	want(t, probe(a.serve("mesh.example.org", now.Add(day), now.Add(2*day)), a.pool()), brokerhttp.CauseNotYetValid, StepTLS, "clock")
	want(t, probe(a.serve("other.example.org", now.Add(-day), now.Add(day)), a.pool()), brokerhttp.CauseWrongName, StepTLS, "other.example.org")
	want(t, probe(good, x509.NewCertPool()), brokerhttp.CauseAuthority, StepTLS, "mesh.example.org")
	plain := serve(t, standIn(time.Now, protocol.Capabilities()...))
	want(t, probe(plain, a.pool()), brokerhttp.CauseNotTLS, StepTLS)
	want(t, Probe(t.Context(), "ws://"+good+"/ws", Options{}), brokerhttp.CauseNotBroker, StepHTTP, "TLS only")
}

func TestProxies(t *testing.T) {
	answer := func(code int, header, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if k, v, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(k, v)
			}
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		})
	}
	for name, c := range map[string]struct {
		h     http.Handler
		cause brokerhttp.Cause
	}{
		"wants a login":      {answer(407, "Proxy-Authenticate: Basic", "denied"), brokerhttp.CauseProxy},
		"portal of a hotel":  {answer(302, "Location: http://hotel.example/login", ""), brokerhttp.CauseProxy},
		"nothing behind":     {answer(502, "", "<html>Bad Gateway</html>"), brokerhttp.CauseProxy},
		"unavailable":        {answer(503, "", "<html>try later</html>"), brokerhttp.CauseProxy},
		"names itself":       {answer(200, "Via: 1.1 squid", "<html>hello</html>"), brokerhttp.CauseProxy},
		"some web server":    {answer(200, "", "<html>It works!</html>"), brokerhttp.CauseNotBroker},
		"some other service": {answer(404, "", "404 page not found"), brokerhttp.CauseNotBroker},
		"a list":             {answer(200, "", "[1]"), brokerhttp.CauseNotBroker},
		"sick broker":        {answer(503, "", `{"ok":false}`), brokerhttp.CauseUnhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, c.h)
			want(t, Probe(t.Context(), "ws://"+addr+"/ws", Options{}), c.cause, StepHTTP, addr[:9])
		})
	}
}

func TestUpgrade(t *testing.T) {
	healthy := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/health" {
			fmt.Fprint(w, `{"ok":true}`)
		}
		return r.URL.Path == "/health"
	}
	refuses := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !healthy(w, r) {
			http.Error(w, "no upgrade here", http.StatusBadRequest)
		}
	}))
	want(t, Probe(t.Context(), "ws://"+refuses+"/ws", Options{}), brokerhttp.CauseUpgrade, StepWebSocket, "400")
	hangsUp := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !healthy(w, r) {
			panic(http.ErrAbortHandler)
		}
	}))
	want(t, Probe(t.Context(), "ws://"+hangsUp+"/ws", Options{}), brokerhttp.CauseConnectionEnd, StepWebSocket)
	old := serve(t, standIn(time.Now))
	want(t, Probe(t.Context(), "ws://"+old+"/ws", Options{}), brokerhttp.CauseOldBroker, StepWebSocket, "too old")
}

func TestClock(t *testing.T) {
	addr := serve(t, standIn(time.Now, protocol.Capabilities()...))
	probe := func(off time.Duration) Report {
		return Probe(t.Context(), "ws://"+addr+"/ws", Options{Now: func() time.Time { return time.Now().Add(off) }})
	}
	if r := probe(protocol.ClockSkew - 2*time.Second); !r.OK {
		t.Errorf("just within: %+v", r)
	}
	r := probe(3 * time.Minute)
	want(t, r, brokerhttp.CauseClock, StepClock, "3 min ahead of")
	if off := r.Skew() - 3*time.Minute; off.Abs() > time.Second {
		t.Errorf("skew %s", r.Skew())
	}
	want(t, probe(-time.Hour), brokerhttp.CauseClock, StepClock, "60 min behind")
}

func TestClockOfHTTP(t *testing.T) {
	r := &run{asked: time.Unix(1000, 0), date: time.Unix(900, 0)}
	if _, f := r.clock(t.Context()); f == nil || f.Cause != brokerhttp.CauseClock || r.report.Skew() != 100*time.Second {
		t.Errorf("%+v %s", f, r.report.Skew())
	}
	if _, f := (&run{}).clock(t.Context()); f != nil {
		t.Errorf("nobody told a time: %+v", f)
	}
}
