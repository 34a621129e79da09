//go:build e2e && systemd

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for name and its key into the lab, and returns it in PEM.
func (l *lab) certificate(name string, until time.Time) []byte {
	l.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		l.t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until, DNSNames: []string{name},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		l.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		l.t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, b := range map[string][]byte{"/etc/relay.pem": cert, "/etc/relay.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		from := filepath.Join(tempDir(l.t), "file")
		if err := os.WriteFile(from, b, 0o600); err != nil {
			l.t.Fatal(err)
		}
		l.put(from, path)
	}
	return cert
}

// trust makes the lab trust these certificates beside its own.
func (l *lab) trust(certs ...[]byte) {
	from := filepath.Join(tempDir(l.t), "cas")
	if err := os.WriteFile(from, bytes.Join(certs, nil), 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.put(from, "/etc/ssl/certs/lab.pem")
}

// What is in the way is made for real: names, ports, certificates, disks. doctor and the verbs say what it is.
func TestFailuresForReal(t *testing.T) {
	l := bootLab(t)
	good := l.certificate("relay.lab", time.Now().Add(24*time.Hour))
	l.trust(good)
	l.must(l.root("sh", "-c", "echo 127.0.0.1 relay.lab >>/etc/hosts; sed -i 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf"))
	if r := l.result(l.root("claudemesh", "broker", "install-service", "--force", "--listen", "127.0.0.1:7443", "--tls-cert", "/etc/relay.pem", "--tls-key", "/etc/relay.key")); r.code != 0 {
		t.Fatalf("broker: exit %d, %s", r.code, r.err)
	}
	l.must(l.root("install", "-o", "alice", "-m", "600", "/var/lib/claudemesh/admin-token", "/home/alice/token"))
	l.want(0, nil, "create", "acme", "--broker", "wss://relay.lab:7443", "--name", "alice", "--token-file", "/home/alice/token")
	l.want(0, []string{"mesh acme: connected to relay.lab:7443"}, "doctor")
	if r := l.bob("join", l.link(), "--name", "bob"); r.code != 0 {
		t.Fatalf("bob joins: exit %d, %s", r.code, r.err)
	}
	l.bob("daemon", "down")

	l.certificate("relay.lab", time.Now().Add(-time.Hour))
	l.must(l.root("systemctl", "restart", "claudemesh-broker"))
	l.awaitProblem("the certificate of relay.lab expired on", "renew the certificate")
	l.trust(good, l.certificate("other.lab", time.Now().Add(24*time.Hour)))
	l.must(l.root("systemctl", "restart", "claudemesh-broker"))
	l.want(0, nil, "daemon", "down") // a process reads the authorities once
	l.want(0, nil, "daemon", "up")
	l.awaitProblem("the certificate at relay.lab:7443 is for other.lab", "use the name")
	l.must(l.root("systemctl", "stop", "claudemesh-broker"))
	l.awaitProblem("nobody listens on relay.lab:7443", "start the broker")
	l.must(l.root("sh", "-c", "sed '/relay.lab/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts"))
	l.awaitProblem("the name relay.lab does not resolve", "spelling")

	l.parallel()
	l.readOnly()
	l.fullDisk()
}

// awaitProblem wants doctor to find it, once the daemon noticed that its connection is gone.
func (l *lab) awaitProblem(words ...string) {
	l.t.Helper()
	eventually(l.t, words[0], func() bool { r := l.verb("doctor"); return strings.Contains(r.out, words[0]) })
	r := l.want(4, words, "doctor")
	if r.took > 6*time.Second {
		l.t.Errorf("doctor took %s", r.took)
	}
}

// parallel starts twenty verbs at once without a daemon: one daemon comes of it, and all are served.
func (l *lab) parallel() {
	l.t.Helper()
	l.want(0, nil, "daemon", "down")
	out := l.must(l.alice("sh", "-c", "for i in $(seq 20); do (claudemesh mesh list >/dev/null 2>&1; echo $?) & done; wait; pgrep -c -u alice -x claudemesh"))
	if want := strings.Repeat("0\n", 20) + "1\n"; out != want {
		l.t.Errorf("twenty verbs: codes and number of daemons\n%s", out)
	}
}

// readOnly takes the right to write away from the home, as a mount does.
func (l *lab) readOnly() {
	l.t.Helper()
	l.want(0, nil, "daemon", "down")
	l.must(l.root("sh", "-c", "mount --bind $0 $0 && mount -o remount,ro,bind $0", aliceHome))
	l.want(4, []string{"read-only file system", "mount it read-write"}, "doctor")
	r := l.verb("mesh", "list")
	if r.code == 0 || !strings.Contains(r.err, "read-only file system") {
		l.t.Errorf("exit %d: %s", r.code, r.err)
	}
	l.must(l.root("umount", aliceHome))
	l.want(0, nil, "mesh", "list")
}

// fullDisk lets the daemon's disk run full: a send is refused and says so, and works again when there is room.
func (l *lab) fullDisk() {
	l.t.Helper()
	l.want(0, nil, "daemon", "down")
	l.must(l.root("sh", "-c", "cp -a $0 /tmp/home && mount -t tmpfs -o size=4m,mode=700,uid=4242,gid=4242 tmpfs $0 && cp -a /tmp/home/. $0/", aliceHome))
	l.want(0, nil, "daemon", "up")
	l.must(l.alice("sh", "-c", "cat /dev/zero >$HOME/.claudemesh/filler 2>/dev/null; true"))
	body := strings.Repeat("x", 60<<10)
	r := l.verb("send", "bob", body)
	for i := 0; r.code == 0 && i < 50; i++ { // the store has room of its own for some
		r = l.verb("send", "bob", body)
	}
	l.t.Logf("exit %d: %s", r.code, r.err)
	if r.code != 10 || !strings.Contains(r.err, "full") {
		l.t.Errorf("exit %d on a full disk: %s%s", r.code, r.out, r.err)
	}
	l.must(l.alice("sh", "-c", "rm $HOME/.claudemesh/filler"))
	l.want(0, nil, "send", "bob", "there is room again")
	l.want(0, []string{"MESH"}, "mesh", "list")
}
