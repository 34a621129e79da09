package protocol

import (
	"net/netip"
	"net/url"
	"strings"
)

// NormalizeBrokerURL turns what a person typed (host, host:port, or an http, https, ws or wss URL) into the URL of the
// broker's WebSocket. Without a scheme it is wss, for loopback ws. A path is the prefix under which a proxy serves the
// broker: https://h/mesh is wss://h/mesh/ws. Errors are *Error of CodeInvalid. CheckBrokerURL tells whether the result may
// be used.
func NormalizeBrokerURL(typed string) (string, error) {
	s := strings.TrimSpace(typed)
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	}
	switch scheme = strings.ToLower(scheme); scheme {
	case "", "wss", "ws":
	case "https":
		scheme = "wss"
	case "http":
		scheme = "ws"
	default:
		return "", errBrokerURL("the scheme of a broker is wss or ws")
	}
	u, err := parseBrokerURL("wss://" + rest)
	if err != nil {
		return "", err
	}
	if u.Scheme = scheme; scheme == "" {
		u.Scheme = "wss"
		if loopback(u.Hostname()) {
			u.Scheme = "ws"
		}
	}
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), ":")
	return withPath(u, "/ws"), nil
}

// CheckBrokerURL returns nil when u is a URL to dial and to put into a link: wss://, or ws:// to loopback. With insecure, ws://
// to anywhere: then the network sees who talks when to whom, though never what. Errors are *Error of CodeInvalid or
// CodeForbidden.
func CheckBrokerURL(u string, insecure bool) error {
	if !validURL(u) {
		return errBrokerURL("it must be %s", ruleURL.words)
	}
	parsed, err := parseBrokerURL(u)
	if err != nil {
		return err
	}
	if parsed.Scheme == "ws" && !insecure && !loopback(parsed.Hostname()) {
		return Refuse(CodeForbidden, "the broker %s is reached without TLS", parsed.Host).
			WithHint("use wss://, or --insecure if you accept that the network sees who talks to whom")
	}
	return nil
}

// BrokerHost returns the host[:port] that a client sends as Host when it dials wsURL, in lower case, and "" for a URL that
// CheckBrokerURL refuses with insecure too. A hello is bound to it.
func BrokerHost(wsURL string) string {
	u, err := parseBrokerURL(wsURL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Host), ":")
}

// WebSocketURL returns the URL under which the broker of wsURL takes WebSockets, and "" where BrokerHost does. Of a URL
// that NormalizeBrokerURL made it is the same URL; others may lack /ws at their end.
func WebSocketURL(wsURL string) string {
	u, err := parseBrokerURL(wsURL)
	if err != nil {
		return ""
	}
	return withPath(u, "/ws")
}

// HTTPBase returns the URL under which the broker of wsURL answers HTTP, without a slash at its end, and "" where BrokerHost
// does.
func HTTPBase(wsURL string) string {
	u, err := parseBrokerURL(wsURL)
	if err != nil {
		return ""
	}
	if u.Scheme == "wss" {
		u.Scheme = "https"
	} else {
		u.Scheme = "http"
	}
	return withPath(u, "")
}

// PathPrefix returns the path under which a proxy serves the broker of wsURL, "" for none, and "" where BrokerHost does.
func PathPrefix(wsURL string) string {
	u, err := parseBrokerURL(wsURL)
	if err != nil {
		return ""
	}
	return prefixOf(u.Path)
}

// withPath returns u with a path of the broker's behind its prefix.
func withPath(u *url.URL, path string) string {
	v := *u
	v.Path = prefixOf(u.Path) + path
	if u.RawPath != "" {
		v.RawPath = prefixOf(u.RawPath) + path
	}
	return v.String()
}

// prefixOf is a URL's path without the WebSocket's own part.
func prefixOf(path string) string {
	return strings.TrimRight(strings.TrimSuffix(strings.TrimRight(path, "/"), "/ws"), "/")
}

// parseBrokerURL parses a ws or wss URL that has a host and nothing secret or superfluous.
func parseBrokerURL(s string) (*url.URL, error) {
	if !only(s, func(c byte) bool { return printable(c) && c != ' ' && c != '|' }) {
		return nil, errBrokerURL("it holds a character that is not allowed; write a foreign host name in its xn-- form")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errBrokerURL("it is not a URL")
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errBrokerURL("the scheme of a broker is wss or ws")
	case !validHost(strings.TrimSuffix(strings.ToLower(u.Host), ":")):
		return nil, errBrokerURL("the host is missing or malformed")
	case u.User != nil:
		return nil, errBrokerURL("a password has no place in it")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errBrokerURL("it goes up to the path, without ? and #")
	}
	return u, nil
}

func errBrokerURL(format string, args ...any) *Error {
	e := Refuse(CodeInvalid, format, args...)
	e.Message = "the broker's URL does not fit: " + e.Message
	return e.WithHint("for example wss://mesh.example.com/ws")
}

// loopback reports whether host never leaves this machine.
func loopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
