package broker

import (
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/store"
)

// Config of a broker. Only Dir must be set.
type Config struct {
	// Dir is the data directory, made with mode 0700 when missing. One broker at a time holds it.
	Dir string

	// PublicURL is how clients dial this broker (wss://host/ws). Its host is accepted in a hello beside the Host header of
	// the request, which a proxy may have changed. Empty means the Host header alone.
	PublicURL string

	// TrustedProxies are those whose X-Forwarded-For is believed. Nil means this machine's own.
	TrustedProxies []netip.Prefix

	// Limits are what the operator may change; each zero field means its default.
	Limits Limits

	// Logger takes the reason of every end and refusal, never content. Nil means no log.
	Logger *slog.Logger

	// Now is the clock that statements and envelopes are judged by. Nil means time.Now.
	Now func() time.Time

	// Version is told by /health.
	Version string

	disk store.FS // that the journal lies on; nil is the operating system's
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// loopback is where a proxy on the same machine comes from.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// trusts tells whether host is a proxy that says the truth about its clients.
func (c Config) trusts(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	trusted := c.TrustedProxies
	if trusted == nil {
		trusted = loopback
	}
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}

// publicHost returns the host[:port] of PublicURL in lower case, or "".
func (c Config) publicHost() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

// retentionDays is what a client tells its user: the whole days that a message is kept.
func (l Limits) retentionDays() int { return int(l.Retention / (24 * time.Hour)) }

// capabilities are what this broker offers on a hop.
func capabilities() []string { return protocol.Capabilities() }
