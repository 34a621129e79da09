package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Cause names what is in the way, for programs. Causes may be added, never renamed.
type Cause string

const (
	CauseURL           Cause = "bad_url"
	CauseName          Cause = "name_not_resolved"
	CauseResolver      Cause = "resolver_unreachable"
	CausePort          Cause = "port_closed"
	CauseRoute         Cause = "no_route"
	CauseSilent        Cause = "no_answer"
	CauseNotTLS        Cause = "not_tls"
	CauseTLS           Cause = "tls_failed"
	CauseExpired       Cause = "certificate_expired"
	CauseNotYetValid   Cause = "certificate_not_yet_valid"
	CauseWrongName     Cause = "certificate_wrong_name"
	CauseAuthority     Cause = "certificate_unknown_authority"
	CauseProxy         Cause = "proxy_in_between"
	CauseNotBroker     Cause = "not_a_broker"
	CauseUnhealthy     Cause = "broker_unhealthy"
	CauseUpgrade       Cause = "upgrade_refused"
	CauseOldBroker     Cause = "broker_too_old"
	CauseClock         Cause = "clock_off"
	CauseConnectionEnd Cause = "connection_ended"
)

// fault is a cause with its sentence and the one next step.
type fault struct {
	cause          Cause
	sentence, next string
}

func (r *run) resolveFault(err error) *fault {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return &fault{CauseName, fmt.Sprintf("the name %s does not resolve", r.host),
			"check the spelling of the broker's address, and that its DNS record exists"}
	}
	return &fault{CauseResolver, fmt.Sprintf("no name server told the address of %s", r.host),
		"check this machine's network and DNS settings, or a VPN that is off"}
}

func (r *run) connectFault(err error) *fault {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return &fault{CausePort, fmt.Sprintf("nobody listens on %s", r.addr), "start the broker, or check the port in its address"}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return &fault{CauseRoute, fmt.Sprintf("there is no way to %s from here", r.addr), "check this machine's network, or a VPN that is off"}
	case isTimeout(err):
		return r.silent("no answer to a connection", "a firewall may drop it: check the port, and that the machine is up")
	}
	return &fault{CauseRoute, fmt.Sprintf("no connection to %s: %v", r.addr, err), "check this machine's network"}
}

func (r *run) tlsFault(err error, now time.Time) *fault {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		from, until := invalid.Cert.NotBefore.UTC(), invalid.Cert.NotAfter.UTC()
		if now.Before(from) {
			return &fault{CauseNotYetValid, fmt.Sprintf("the certificate of %s is valid only from %s on, and this machine's clock says %s", r.host, stamp(from), stamp(now)),
				"set this machine's clock; if it is right, the broker's operator must mend the certificate"}
		}
		return &fault{CauseExpired, fmt.Sprintf("the certificate of %s expired on %s (this machine's clock says %s)", r.host, stamp(until), stamp(now)),
			"the broker's operator must renew the certificate"}
	}
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return &fault{CauseWrongName, fmt.Sprintf("the certificate at %s is for %s", r.addr, names(name.Certificate)),
			"use the name that the certificate is for, or have the broker's operator get one for " + r.host}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &fault{CauseAuthority, fmt.Sprintf("nobody whom this machine trusts signed the certificate of %s", r.host),
			"install the authority's certificate on this machine, or check whether a proxy reads along"}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return &fault{CauseNotTLS, fmt.Sprintf("%s does not speak TLS", r.addr), "the broker may be meant to be dialled with ws://, or through the proxy in front of it"}
	}
	if isTimeout(err) {
		return r.silent("no answer to the TLS handshake", "something accepts connections and passes nothing on: check the proxy or firewall in front")
	}
	if ended(err) {
		return &fault{CauseConnectionEnd, fmt.Sprintf("%s ends the connection during the TLS handshake", r.addr), "check the proxy or firewall in front of the broker"}
	}
	return &fault{CauseTLS, fmt.Sprintf("no TLS with %s: %v", r.addr, err), "check the broker's TLS settings"}
}

// exchangeFault is for an HTTP request or a WebSocket that got no answer at all.
func (r *run) exchangeFault(err error, what string) *fault {
	if isTimeout(err) {
		return r.silent("no answer to "+what, "something accepts connections and does not answer: check the broker, and the proxy in front of it")
	}
	if ended(err) {
		return &fault{CauseConnectionEnd, fmt.Sprintf("%s ends the connection instead of answering %s", r.addr, what), "check the broker's log, and the proxy in front of it"}
	}
	return &fault{CauseNotBroker, fmt.Sprintf("%s does not answer %s as a broker does", r.addr, what), "check the port in the broker's address"}
}

func (r *run) silent(what, next string) *fault {
	return &fault{CauseSilent, fmt.Sprintf("%s from %s in time", what, r.addr), next}
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

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
