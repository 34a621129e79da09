//go:build e2e && linux

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const relay = "relay.example"

// authority is pebble, the ACME server that Let's Encrypt tests clients with: it validates as the real one does, and refuses
// one nonce in twenty to see whether they try again. Its own resolver says that every name is this machine.
type authority struct {
	t         *testing.T
	directory string
	ca        string // file: proves the directory's own TLS
	roots     string // file: proves what the authority issues
	*process
}

// newAuthority starts one that validates at the port of addr and whose certificates live for so long.
func newAuthority(t *testing.T, addr string, lifetime time.Duration) *authority {
	t.Helper()
	tools := os.Getenv("PEBBLE_DIR")
	if tools == "" {
		t.Skip("PEBBLE_DIR is not set: go install github.com/letsencrypt/pebble/v2/cmd/{pebble,pebble-challtestsrv} into it")
	}
	dir := tempDir(t)
	a := &authority{t: t, ca: filepath.Join(dir, "ca.pem"), roots: filepath.Join(dir, "roots.pem")}
	selfSigned(t, a.ca, filepath.Join(dir, "key.pem"))
	dns, listen, manage := freePort(t), freePort(t), freePort(t)
	_, port, _ := net.SplitHostPort(addr)
	config := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q,
		"httpPort": 1, "tlsPort": %s, "keyAlgorithm": "ecdsa", "retryAfter": {"authz": 1, "order": 1},
		"profiles": {"default": {"description": "short", "validityPeriod": %d}}}}`,
		listen, manage, a.ca, filepath.Join(dir, "key.pem"), port, int(lifetime.Seconds()))
	if err := os.WriteFile(filepath.Join(dir, "pebble.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	a.run(filepath.Join(tools, "pebble-challtestsrv"), "-dnsserver", dns, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", freePort(t))
	a.process = a.run(filepath.Join(tools, "pebble"), "-config", filepath.Join(dir, "pebble.json"), "-dnsserver", dns)
	a.directory = "https://" + listen + "/dir"

	own := x509.NewCertPool()
	own.AppendCertsFromPEM([]byte(read(t, a.ca)))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own}}}
	eventually(t, "the ACME server gives its root", func() bool {
		resp, err := client.Get("https://" + manage + "/roots/0")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && os.WriteFile(a.roots, b, 0o600) == nil
	})
	return a
}

func (a *authority) run(name string, args ...string) *process {
	a.t.Helper()
	p := spawnCommand(a.t, append(environ(tempDir(a.t)), "PEBBLE_VA_NOSLEEP=1"), exec.Command(name, args...))
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("%s:\n%s", filepath.Base(name), p.log)
		}
	})
	return p
}

// selfSigned makes a certificate for 127.0.0.1 that proves itself.
func selfSigned(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acme"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: b}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// served is the certificate that the broker answers with, proved by the authority's root, or nil.
func (a *authority) served(addr string) *x509.Certificate {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(a.t, a.roots)))
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 15 * time.Second}, Config: &tls.Config{RootCAs: roots, ServerName: relay}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		a.t.Log(err)
		return nil
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// resolving has h's daemon and verbs find relay.example on this machine: /etc/hosts is another one for them.
func (a *authority) resolving(h *home) {
	a.t.Helper()
	hosts := filepath.Join(h.dir, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+relay+"\n"), 0o644); err != nil {
		a.t.Fatal(err)
	}
	h.under = []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}
	h.env = append(h.env, "SSL_CERT_FILE="+a.roots)
	if out, err := exec.Command(h.under[0], append(h.under[1:], "true")...).CombinedOutput(); err != nil {
		a.t.Skipf("no mount namespaces here: %s", out)
	}
}

// A broker fetches its certificate from an ACME authority of the self-hoster's own, over its own port. Alice's daemon trusts that
// authority and connects; the certificate is renewed under way; and after a restart it comes from the disk: the authority is gone.
func TestACME(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: an /etc/hosts of its own")
	}
	addr := freePort(t)
	a := newAuthority(t, addr, 21*time.Second)
	b := &broker{t: t, dir: tempDir(t), addr: addr, args: []string{"--acme-host", relay, "--acme-directory", a.directory, "--acme-ca", a.ca,
		"--public-url", "wss://" + relay + addr[strings.IndexByte(addr, ':'):]}}
	b.env = environ(b.dir)
	b.start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("broker:\n%s", b.log)
		}
	})
	began := time.Now()
	first := a.served(addr)
	if first == nil {
		t.Fatal("no certificate that the authority's root proves")
	}
	t.Logf("certificate after %.1f s, valid for %s", time.Since(began).Seconds(), first.NotAfter.Sub(first.NotBefore))

	alice := newHome(t, "alice")
	a.resolving(alice)
	alice.env = append(alice.env, "CLAUDEMESH_ADMIN_TOKEN="+strings.TrimSpace(read(t, filepath.Join(b.data(), "admin-token"))))
	alice.must("create", "acme", "--broker", "wss://"+relay+addr[strings.IndexByte(addr, ':'):], "--name", "alice")
	alice.startDaemon()
	connected := func() bool {
		var st []struct{ State string }
		alice.json(&st, "mesh", "list")
		return len(st) == 1 && st[0].State == "open"
	}
	eventually(t, "alice is connected", connected)

	var renewed *x509.Certificate
	eventually(t, "the certificate is renewed", func() bool {
		<-time.After(500 * time.Millisecond)
		renewed = a.served(addr)
		return renewed != nil && renewed.SerialNumber.Cmp(first.SerialNumber) != 0
	})
	t.Logf("renewed %.1f s after the first", renewed.NotBefore.Sub(first.NotBefore).Seconds())
	a.kill()
	b.kill()
	b.start()
	cached := a.served(addr)
	if cached == nil || !bytes.Equal(cached.Raw, renewed.Raw) {
		t.Errorf("after a restart the certificate is another one")
	}
	eventually(t, "alice is connected again", connected)
}
