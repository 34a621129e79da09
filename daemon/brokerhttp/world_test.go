package brokerhttp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/daemon/brokerhttp/proxytest"
	"github.com/claudemesh/claudemesh/protocol"
)

// The tests call their broker mesh.test, a name that only a proxy knows.
const host = "mesh.test"

// newBroker runs a broker on loopback and returns where.
func newBroker(t *testing.T, publicURL string) (addr string, srv *broker.Server) {
	t.Helper()
	srv, err := broker.New(broker.Config{Dir: t.TempDir(), PublicURL: publicURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(context.Background()) })
	return serve(t, srv.Handler()), srv
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// serveTLS runs a handler behind TLS with a certificate for mesh.test; roots holds its authority in PEM.
func serveTLS(t *testing.T, h http.Handler) (addr string, roots []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report every handshake that a test breaks off
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func poolOf(t *testing.T, roots []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(roots) {
		t.Fatal("no certificate")
	}
	return p
}

func proxyOf(t *testing.T, p *proxytest.Proxy, err error) *proxytest.Proxy {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// wantBoth fails unless the broker answers to a request and to a WebSocket by the same address: its own refusal, and a
// challenge.
func wantBoth(t *testing.T, d *Dialer, wsURL string) {
	t.Helper()
	if err := post(t, d, wsURL); protocol.CodeOf(err) != protocol.CodeUnauthorized || !strings.Contains(err.Error(), "the broker refused") {
		t.Errorf("HTTP: %v", err)
	}
	if err := challenge(t, d, wsURL); err != nil {
		t.Errorf("WebSocket: %v", err)
	}
}

// wantFault fails unless request and WebSocket both end with the same cause, and neither tells the password. It returns the
// sentence.
func wantFault(t *testing.T, d *Dialer, wsURL string, cause Cause) *Fault {
	t.Helper()
	var last *Fault
	for what, err := range map[string]error{"HTTP": post(t, d, wsURL), "WebSocket": challenge(t, d, wsURL)} {
		f, ok := errors.AsType[*Fault](err)
		if !ok || f.Cause != cause || f.Sentence == "" || f.Next == "" || strings.HasSuffix(f.Sentence, ".") {
			t.Errorf("%s: %+v (%v), want %s", what, f, err, cause)
			continue
		}
		if told := f.Sentence + f.Next + protocolError(t, f).Message; strings.Contains(told, "s3cret") || strings.Contains(told, "alice") {
			t.Errorf("%s: the proxy's login is told: %s", what, told)
		}
		last = f
	}
	if last == nil {
		t.FailNow()
	}
	return last
}

func protocolError(t *testing.T, err error) *protocol.Error {
	t.Helper()
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok {
		t.Fatalf("%v is no *protocol.Error", err)
	}
	return e
}

func post(t *testing.T, d *Dialer, wsURL string) error {
	t.Helper()
	return d.Post(t.Context(), wsURL, "/api/v1/meshes", "not-the-token", protocol.CreateRequest{}, new(protocol.CreateReply))
}

func challenge(t *testing.T, d *Dialer, wsURL string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ws, err := d.WebSocket(ctx, wsURL)
	if err != nil {
		return err
	}
	defer ws.Close()
	if err := ws.WriteJSON(protocol.HelloChallenge{Tag: protocol.Tag{Type: protocol.TypeHelloChallenge, ReqID: "1"}}); err != nil {
		return err
	}
	var answer protocol.Challenge
	if err := ws.ReadJSON(&answer); err != nil {
		return err
	}
	if answer.Type != protocol.TypeChallenge {
		return errors.New("no challenge: " + answer.Type)
	}
	return nil
}

func writeFile(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
