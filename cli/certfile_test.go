package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// selfSigned returns a certificate for name and its key, as PEM.
func selfSigned(name string) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), err
}

func writeCert(t *testing.T, c *certFile, name string, at time.Time) {
	t.Helper()
	cert, key, err := selfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string][]byte{c.cert: cert, c.key: key} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

func (c *certFile) name(t *testing.T) string {
	t.Helper()
	pair, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.Subject.CommonName
}

func TestARenewedCertificateIsServed(t *testing.T) {
	dir := t.TempDir()
	c := &certFile{cert: filepath.Join(dir, "c.pem"), key: filepath.Join(dir, "k.pem")}
	if _, err := c.get(nil); err == nil {
		t.Error("a missing certificate was loaded")
	}
	now := time.Now().Truncate(time.Second)
	writeCert(t, c, "first", now)
	if got := c.name(t); got != "first" {
		t.Errorf("got %s", got)
	}
	writeCert(t, c, "second", now.Add(time.Minute))
	if got := c.name(t); got != "second" {
		t.Errorf("got %s after the renewal", got)
	}
	if err := os.WriteFile(c.cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.name(t); got != "second" {
		t.Errorf("got %s from a file that is half written", got)
	}
	if err := os.Remove(c.cert); err != nil {
		t.Fatal(err)
	}
	if got := c.name(t); got != "second" {
		t.Errorf("got %s without a file", got)
	}
}
