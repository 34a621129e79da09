package cli

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/protocol"
)

// brokerEnv is what stands before the name of a flag in the environment: CLAUDEMESH_BROKER_PUBLIC_URL is --public-url.
const brokerEnv = "CLAUDEMESH_BROKER_"

// settings are what a broker is told, by flag, environment or file, under the same names. The flag counts most, then the
// environment, then the file.
type settings struct {
	c    *call
	env  func(name string) string
	file map[string]string
}

func (c *call) settings() (*settings, error) { return c.settingsWith(os.Getenv) }

// settingsWith reads the file, if there is one.
func (c *call) settingsWith(env func(string) string) (*settings, error) {
	s := &settings{c: c, env: env}
	path := s.str("config")
	if path == "" {
		return s, nil
	}
	var known []string
	for _, f := range brokerVerb().flags {
		known = append(known, f.Names()[0])
	}
	var err error
	s.file, err = readSettings(path, known)
	return s, err
}

// readSettings reads lines of name = value; # begins a comment.
func readSettings(path string, known []string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := make(map[string]string)
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		name = strings.TrimSpace(name)
		switch {
		case !ok:
			return nil, protocol.Refuse(protocol.CodeInvalid, "%s, line %d: not name = value", path, n)
		case !slices.Contains(known, name) || name == "config":
			e := protocol.Refuse(protocol.CodeInvalid, "%s, line %d: there is no %s", path, n, name)
			if near := nearest(name, known); near != "" {
				e.Hint = "did you mean " + near + "?"
			}
			return nil, e
		case name == "limit" && all[name] != "": // one on a line
			all[name] += ","
		case all[name] != "":
			return nil, protocol.Refuse(protocol.CodeInvalid, "%s, line %d: %s is there twice", path, n, name)
		}
		all[name] += strings.TrimSpace(value)
	}
	return all, lines.Err()
}

// str returns the value of a setting.
func (s *settings) str(name string) string {
	if s.c.flags.IsSet(name) {
		return s.c.str(name)
	}
	if v := s.env(brokerEnv + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))); v != "" {
		return v
	}
	if v := s.file[name]; v != "" {
		return v
	}
	return s.c.str(name) // the default
}

// config makes the broker's own configuration.
func (s *settings) config() (cfg broker.Config, err error) {
	if cfg.Dir = s.str("data"); cfg.Dir == "" {
		cfg.Dir, err = s.c.brokerDir()
	} else {
		cfg.Dir, err = filepath.Abs(cfg.Dir)
	}
	if err != nil {
		return cfg, err
	}
	if typed := s.str("public-url"); typed != "" {
		if cfg.PublicURL, err = protocol.NormalizeBrokerURL(typed); err != nil {
			return cfg, err
		}
	} else if host := s.str("acme-host"); host != "" {
		cfg.PublicURL = "wss://" + host + "/ws"
	}
	if text := s.str("limit"); text != "" {
		if err := cfg.Limits.Set(text); err != nil {
			return cfg, err
		}
	}
	for text := range strings.SplitSeq(s.str("trusted-proxy"), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := parseNetwork(text)
		if err != nil {
			return cfg, protocol.Refuse(protocol.CodeInvalid, "--trusted-proxy takes addresses or networks such as 10.0.0.0/8, not %q", text)
		}
		cfg.TrustedProxies = append(cfg.TrustedProxies, p)
	}
	return cfg, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// tls makes the TLS configuration, or nil for none: of files, or of certificates that an ACME authority gives. Those are
// proved on the broker's own port (RFC 8737), which must then be 443 from outside; http, unless nil, also answers the
// challenge on port 80 and sends people on to https.
func (s *settings) tls(dir string) (security *tls.Config, plain http.Handler, err error) {
	host := s.str("acme-host")
	if host == "" {
		if s.str("acme-directory") != "" || s.str("acme-ca") != "" {
			return nil, nil, protocol.Refuse(protocol.CodeInvalid, "--acme-directory and --acme-ca belong to --acme-host")
		}
		security, err = tlsFromFiles(s.str("tls-cert"), s.str("tls-key"))
		return security, nil, err
	}
	if s.str("tls-cert") != "" || s.str("tls-key") != "" {
		return nil, nil, protocol.Refuse(protocol.CodeInvalid, "--acme-host and --tls-cert exclude each other")
	}
	if net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return nil, nil, protocol.Refuse(protocol.CodeInvalid, "--acme-host takes the public name of this machine, not %q", host)
	}
	client, err := acmeClient(s.str("acme-directory"), s.str("acme-ca"))
	if err != nil {
		return nil, nil, err
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(host), Cache: autocert.DirCache(filepath.Join(dir, "acme")), Client: client,
	}
	security = m.TLSConfig()
	security.MinVersion = tls.VersionTLS12
	security.NextProtos = []string{"http/1.1", "acme-tls/1"} // a WebSocket begins as HTTP/1.1
	return security, m.HTTPHandler(nil), nil
}

// acmeClient talks to another authority than Let's Encrypt, or to one whose own certificate only the roots in file prove. It is
// nil where neither is asked for.
func acmeClient(directory, file string) (*acme.Client, error) {
	if directory == "" && file == "" {
		return nil, nil
	}
	c := &acme.Client{DirectoryURL: directory}
	if directory != "" && !strings.HasPrefix(directory, "https://") {
		return nil, protocol.Refuse(protocol.CodeInvalid, "--acme-directory takes the https URL of an ACME directory, not %q", directory)
	}
	if file == "" {
		return c, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the roots of the ACME authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, protocol.Refuse(protocol.CodeInvalid, "--acme-ca: no certificate in %s", file)
	}
	c.HTTPClient = &http.Client{
		Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}
	return c, nil
}

// plainListen is where ACME authorities and people who type no scheme come.
const plainListen = ":80"

// servePlain answers on port 80 for the ACME authority, if it may. A broker that cannot have the port does without.
func servePlain(h http.Handler, tell func(string, ...any)) (stop func()) {
	if h == nil {
		return func() {}
	}
	ln, err := net.Listen("tcp", plainListen)
	if err != nil {
		tell("note: port 80 is not ours (%s); the certificate is proved on the broker's own port", err)
		return func() {}
	}
	hs := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.Serve(ln) // ends with Close
	}()
	return func() {
		_ = hs.Close()
		<-done
	}
}

// brokerFiles are the flags of the broker whose value is a file.
var brokerFiles = []string{"tls-cert", "tls-key", "acme-ca", "config"}

// brokerFlags are all that a broker is told: by its verb, by its service, in the environment and in the file of --config.
func brokerFlags() []urfave.Flag {
	return []urfave.Flag{
		&urfave.StringFlag{Name: "listen", Usage: "listen on `ADDRESS`", Value: defaultListen},
		&urfave.StringFlag{Name: "data", Usage: "keep everything in `DIR` (default ~/.claudemesh/broker)"},
		&urfave.StringFlag{Name: "public-url", Usage: "the `URL` that clients dial, when a proxy stands in front"},
		&urfave.StringFlag{Name: "trusted-proxy", Usage: "believe X-Forwarded-For of `ADDRESSES` or networks, separated by commas (default this machine)"},
		&urfave.StringFlag{Name: "tls-cert", Usage: "serve TLS with the certificate chain in `FILE`"},
		&urfave.StringFlag{Name: "tls-key", Usage: "and its private key in `FILE`"},
		&urfave.StringFlag{Name: "acme-host", Usage: "serve TLS with a certificate from Let's Encrypt for `HOST`"},
		&urfave.StringFlag{Name: "acme-directory", Usage: "or from the ACME authority with this directory `URL`"},
		&urfave.StringFlag{Name: "acme-ca", Usage: "which the root certificates in `FILE` prove"},
		&urfave.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDRESS`, such as 127.0.0.1:7901"},
		&urfave.StringFlag{Name: "limit", Usage: "other limits than the usual: `NAME=VALUE`, several separated by commas"},
		&urfave.StringFlag{Name: "config", Usage: "read what is not given here from `FILE`: lines of name = value"},
	}
}
