package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	way "github.com/claudemesh/claudemesh/daemon/probe"
	"github.com/claudemesh/claudemesh/service"
)

// network has the daemon walk to the brokers, or does it as a daemon would that starts now, and says which proxies and
// certificate authorities the daemon goes by.
func (e *examination) network(ctx context.Context, home config.Home, cfg *config.Config, cl *client.Client) way.Network {
	here := brokerhttp.ProcessEnvironment()
	if cl == nil {
		env := here
		if recorded, ok := serviceEnvironment(home); ok {
			env = recorded
		}
		e.ok("network", "a daemon that starts has %s", variables(env.Shown()))
		return way.Look(ctx, brokersOf(cfg), way.Options{Dialer: brokerhttp.New(brokerhttp.Options{Env: env})})
	}
	n, err := cl.Network(ctx, "")
	if err != nil {
		e.fails("network", "claudemesh daemon down, then up: it is of another version", err)
		return n
	}
	for slug, walk := range way.Look(ctx, untaken(cfg, n), way.Options{Dialer: brokerhttp.New(brokerhttp.Options{Env: here})}).Ways {
		n.Ways[slug] = walk
	}
	there := variables(n.Environment)
	if mine := variables(here.Shown()); mine != there && len(here.Shown()) > 0 {
		next := "claudemesh daemon down, then up, starts it with those of this shell"
		if managedBy(home) != "" {
			next = "claudemesh daemon install-service records those of this shell"
		}
		e.warn("network", next, "the daemon has %s; this shell has %s", there, mine)
		return n
	}
	e.ok("network", "the daemon has %s", there)
	return n
}

// untaken are the brokers of meshes that were joined a moment ago, and that the daemon does not know yet.
func untaken(cfg *config.Config, n way.Network) map[string]string {
	urls := brokersOf(cfg)
	for slug := range n.Ways {
		delete(urls, slug)
	}
	return urls
}

func brokersOf(cfg *config.Config) map[string]string {
	urls := make(map[string]string)
	for _, m := range cfg.Meshes {
		urls[m.Slug] = m.BrokerURL
	}
	return urls
}

// variables says the settings of the network in one line.
func variables(all []brokerhttp.Variable) string {
	if len(all) == 0 {
		return "no proxy, and the system's certificate authorities"
	}
	words := make([]string, len(all))
	for i, v := range all {
		words[i] = v.Name + "=" + v.Value
	}
	return strings.Join(words, " ")
}

// serviceEnvironment is what the home's service has recorded; false where no service runs the daemon.
func serviceEnvironment(home config.Home) (brokerhttp.Environment, bool) {
	if managedBy(home) == "" {
		return nil, false
	}
	svc, err := daemonService(home)
	if err != nil {
		return nil, false
	}
	env, err := svc.Environment()
	return brokerhttp.Environment(env), err == nil
}

// environmentToRecord is what a service installed now is told of the network: what this shell has.
func environmentToRecord() (service.Environment, error) {
	env := service.Environment{}
	for name, value := range brokerhttp.ProcessEnvironment() {
		if name == brokerhttp.SSLCertFile && value != "" {
			abs, err := filepath.Abs(value)
			if err != nil {
				return nil, fmt.Errorf("find %s: %w", value, err)
			}
			value = abs
		}
		if value != "" {
			env[name] = value
		}
	}
	return env, nil
}

// sayRecorded tells what a service was told of the network, and what it was told before and is not any more.
func (c *call) sayRecorded(before, now service.Environment) {
	for _, v := range brokerhttp.Environment(now).Shown() {
		c.say("    network %s=%s", v.Name, v.Value)
	}
	for _, v := range brokerhttp.Environment(before).Shown() {
		if now[v.Name] == "" {
			c.note("note: the service had %s=%s, which this shell has not: it is gone", v.Name, v.Value)
			c.note("    set %s and install again, if it is needed", v.Name)
		}
	}
}
