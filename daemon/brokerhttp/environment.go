package brokerhttp

import (
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// The variables of an Environment. Each may also be written in lower case, which counts first.
const (
	HTTPSProxy  = "HTTPS_PROXY"
	HTTPProxy   = "HTTP_PROXY"
	AllProxy    = "ALL_PROXY"
	NoProxy     = "NO_PROXY"
	SSLCertFile = "SSL_CERT_FILE"
	SSLCertDir  = "SSL_CERT_DIR"
)

// Names lists the variables that say how a process reaches the network.
func Names() []string {
	return []string{HTTPSProxy, HTTPProxy, AllProxy, NoProxy, SSLCertFile, SSLCertDir}
}

// Environment is what a process was told of its way to the network, by name in upper case. It may hold passwords: show
// Shown, never its values.
type Environment map[string]string

// ReadEnvironment reads the variables with lookup, such as os.LookupEnv. One that is set and empty counts as told: no
// proxy.
func ReadEnvironment(lookup func(string) (string, bool)) Environment {
	e := Environment{}
	for _, name := range Names() {
		for _, n := range []string{strings.ToLower(name), name} {
			if v, ok := lookup(n); ok {
				e[name] = v
				break
			}
		}
	}
	return e
}

// ProcessEnvironment is the Environment of this process.
func ProcessEnvironment() Environment { return ReadEnvironment(os.LookupEnv) }

// Variable is one variable of an Environment as it may be shown.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"` // without the name and password of a proxy
}

// Shown lists the variables that are not empty, fit for anybody's eyes.
func (e Environment) Shown() []Variable {
	var all []Variable
	for _, name := range Names() {
		if v := e[name]; v != "" {
			if isProxy(name) {
				v = shownProxy(v)
			}
			all = append(all, Variable{Name: name, Value: v})
		}
	}
	return all
}

func isProxy(name string) bool { return name == HTTPSProxy || name == HTTPProxy || name == AllProxy }

// shownProxy is a proxy's URL without its secret.
func shownProxy(value string) string {
	u := parseProxy(value)
	if u == nil {
		return "(not the URL of a proxy)"
	}
	return shownURL(u)
}

func shownURL(u *url.URL) string {
	who := ""
	if u.User != nil {
		who = "***@"
	}
	return u.Scheme + "://" + who + u.Host
}

// parseProxy reads the URL of a proxy, which may lack its scheme. It returns nil for a malformed URL.
func parseProxy(value string) *url.URL {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	return u
}

// proxyPorts are the schemes of proxies that we can use, with the ports that they imply.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// proxyFor returns the proxy for an address, nil for none. This machine itself is never reached by a proxy.
func (e Environment) proxyFor(secure bool, addr string) (*url.URL, error) {
	scheme, name := "http", HTTPProxy
	if secure {
		scheme, name = "https", HTTPSProxy
	}
	if e[name] == "" {
		name = AllProxy
	}
	if e[name] == "" {
		return nil, nil
	}
	// Only the exceptions are asked for here: what is no URL would count as no proxy.
	const some = "http://proxy.invalid"
	rule := httpproxy.Config{HTTPProxy: some, HTTPSProxy: some, NoProxy: e[NoProxy]}
	if u, err := rule.ProxyFunc()(&url.URL{Scheme: scheme, Host: addr}); u == nil || err != nil {
		return nil, err
	}
	u := parseProxy(e[name])
	if u == nil {
		return nil, &Fault{Cause: CauseProxySetting, Unsent: true, Sentence: name + " does not hold the URL of a proxy",
			Next: "write it as http://host:port or socks5://host:port; special characters in a password as %XX"}
	}
	if proxyPorts[u.Scheme] == "" {
		return nil, &Fault{Cause: CauseProxySetting, Unsent: true, Sentence: name + " names a proxy of the kind " + u.Scheme + ", which claudemesh does not speak",
			Next: "http, https, socks5 and socks5h are possible"}
	}
	return u, nil
}
