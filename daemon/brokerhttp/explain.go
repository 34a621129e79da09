package brokerhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// ResolveFault explains why the first name on the way has no address.
func ResolveFault(r Route, err error) *Fault {
	host, _ := r.First()
	what, next := "the broker's address", "check this machine's network and DNS settings, or a VPN that is off"
	if r.Proxy != nil {
		what, next = "the proxy's address", "check the proxy in the environment, and this machine's DNS settings"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return &Fault{Cause: CauseName, Unsent: true, Err: err, Sentence: fmt.Sprintf("the name %s does not resolve", host),
			Next: "check the spelling of " + what + ", and that its DNS record exists"}
	}
	return &Fault{Cause: CauseResolver, Unsent: true, Err: err, Sentence: fmt.Sprintf("no name server told the address of %s", host), Next: next}
}

func connectFault(r Route, err error) *Fault {
	_, addr := r.First()
	who, start := "", "start the broker, or check the port in its address"
	if r.Proxy != nil {
		who, start = "the proxy ", "check the proxy in the environment: its address, and that it runs"
	}
	f := &Fault{Unsent: true, Err: err}
	switch {
	case isDNS(err):
		return ResolveFault(r, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Cause, f.Sentence, f.Next = CausePort, fmt.Sprintf("nobody listens on %s%s", who, addr), start
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		f.Cause, f.Sentence, f.Next = CauseRoute, fmt.Sprintf("there is no way to %s%s from here", who, addr), "check this machine's network, or a VPN that is off"
	case isTimeout(err):
		f.Cause, f.Sentence, f.Next = CauseSilent, fmt.Sprintf("no answer to a connection from %s%s in time", who, addr), "a firewall may drop it: check the port, and that the machine is up"
	default:
		f.Cause, f.Sentence, f.Next = CauseRoute, fmt.Sprintf("no connection to %s%s: %v", who, addr, err), "check this machine's network"
	}
	return f
}

func isDNS(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func tlsFault(host, addr string, err error, now time.Time) *Fault {
	f := certificateFault(host, addr, err, now)
	f.Unsent, f.Err = true, err
	return f
}

func certificateFault(host, addr string, err error, now time.Time) *Fault {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return validityFault(host, invalid.Cert, now)
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return &Fault{Cause: CauseWrongName, Sentence: fmt.Sprintf("the certificate at %s is for %s", addr, names(name.Certificate)),
			Next: "use the name that the certificate is for, or have its operator get one for " + host}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &Fault{Cause: CauseAuthority, Sentence: fmt.Sprintf("nobody whom this machine trusts signed the certificate of %s", host),
			Next: "install the authority's certificate on this machine or name it in " + SSLCertFile + ", or check whether a proxy reads along"}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &Fault{Cause: CauseNotTLS, Sentence: fmt.Sprintf("%s does not speak TLS", addr), Next: "the broker may be meant to be dialled with ws://, or through the proxy in front of it"}
	}
	if isTimeout(err) {
		return &Fault{Cause: CauseSilent, Sentence: fmt.Sprintf("no answer to the TLS handshake from %s in time", addr), Next: "something accepts connections and passes nothing on: check the proxy or firewall in front"}
	}
	if ended(err) {
		return &Fault{Cause: CauseConnectionEnd, Sentence: fmt.Sprintf("%s ends the connection during the TLS handshake", addr), Next: "check the proxy or firewall in front of the broker"}
	}
	return &Fault{Cause: CauseTLS, Sentence: fmt.Sprintf("no TLS with %s: %v", addr, err), Next: "check the broker's TLS settings"}
}

// validityFault is for a certificate outside its time, or for a clock that is.
func validityFault(host string, cert *x509.Certificate, now time.Time) *Fault {
	from, until := cert.NotBefore.UTC(), cert.NotAfter.UTC()
	if now.Before(from) {
		return &Fault{Cause: CauseNotYetValid, Sentence: fmt.Sprintf("the certificate of %s is valid only from %s on, and this machine's clock says %s", host, Stamp(from), Stamp(now)),
			Next: "set this machine's clock; if it is right, the broker's operator must mend the certificate"}
	}
	return &Fault{Cause: CauseExpired, Sentence: fmt.Sprintf("the certificate of %s expired on %s (this machine's clock says %s)", host, Stamp(until), Stamp(now)),
		Next: "set this machine's clock if it is wrong; otherwise the broker's operator must renew the certificate"}
}

const proxyNext = "ask the operator of the proxy to allow tunnels to the broker, or name the broker in " + NoProxy + " if there is a direct way"

// proxyRefused explains a proxy's answer to CONNECT.
func proxyRefused(r Route, status int) *Fault {
	f := &Fault{Cause: CauseProxy, Unsent: true, Next: proxyNext,
		Sentence: fmt.Sprintf("the proxy %s makes no tunnel to %s: it answers %d %s", r.Through(), r.Addr, status, http.StatusText(status))}
	switch status {
	case http.StatusProxyAuthRequired:
		f.Cause, f.Sentence = CauseProxyLogin, fmt.Sprintf("the proxy %s wants a name and a password", r.Through())
		f.Next = "write them into the proxy's URL: http://name:password@host:port"
		if r.Proxy.User != nil {
			f.Sentence = fmt.Sprintf("the proxy %s does not take the name and password that its URL holds", r.Through())
			f.Next = "correct them in the environment; a daemon that runs keeps those that it was started with"
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.Next = "the proxy does not reach the broker: check the broker's address, and that it runs"
	}
	return f
}

// proxyBroke explains a proxy that does not answer as one does.
func proxyBroke(ctx context.Context, r Route, err error) *Fault {
	_, addr := r.First()
	switch {
	case isTimeout(err), ctx.Err() != nil:
		return &Fault{Cause: CauseSilent, Unsent: true, Err: err, Sentence: fmt.Sprintf("no answer from the proxy %s in time", addr), Next: "check the proxy, and whether it can reach the broker"}
	case ended(err):
		return &Fault{Cause: CauseConnectionEnd, Unsent: true, Err: err, Sentence: fmt.Sprintf("the proxy %s ends the connection instead of making a tunnel", addr), Next: "check that the environment names the right kind of proxy and port"}
	}
	return &Fault{Cause: CauseProxy, Unsent: true, Err: err, Sentence: fmt.Sprintf("%s does not answer as a proxy of the kind %s: %v", addr, r.Proxy.Scheme, err),
		Next: "check that the environment names the right kind of proxy and port"}
}

// ExchangeFault is for a request that went out and got no answer. What says which kind: "an HTTP request".
func ExchangeFault(r Route, err error, what string) *Fault {
	f := &Fault{Err: err}
	switch {
	case isTimeout(err):
		f.Cause, f.Sentence, f.Next = CauseSilent, fmt.Sprintf("no answer to %s from %s in time", what, r.Addr), "something accepts connections and does not answer: check the broker, and the proxy in front of it"
	case ended(err):
		f.Cause, f.Sentence, f.Next = CauseConnectionEnd, fmt.Sprintf("%s ends the connection instead of answering %s", r.Addr, what), "check the broker's log, and the proxy in front of it"
	default:
		f.Cause, f.Sentence, f.Next = CauseNotBroker, fmt.Sprintf("%s does not answer %s as a broker does", r.Addr, what), "check the port in the broker's address"
	}
	return f
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// names lists whom a certificate is for, shortened.
func names(c *x509.Certificate) string {
	all := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all"
	}
	if len(all) > 3 {
		all = append(all[:3], "others")
	}
	return strings.Join(all, ", ")
}

// Stamp is how times are written in a Fault.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
