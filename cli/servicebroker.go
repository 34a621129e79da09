package cli

import (
	"context"
	"errors"
	"path/filepath"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

func brokerServiceVerbs() []*verb {
	return []*verb{
		{
			name: "install-service", usage: "have systemd run a broker for this machine; takes root",
			flags: []urfave.Flag{
				&urfave.StringFlag{Name: "listen", Usage: "listen on `ADDRESS`", Value: defaultListen},
				&urfave.StringFlag{Name: "public-url", Usage: "the `URL` that clients dial, when a proxy stands in front"},
				&urfave.StringFlag{Name: "tls-cert", Usage: "serve TLS with the certificate chain in `FILE`, read anew at each start of the service"},
				&urfave.StringFlag{Name: "tls-key", Usage: "and its private key in `FILE`"},
				&urfave.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `ADDRESS`, such as 127.0.0.1:7901"},
				&urfave.BoolFlag{Name: "force", Usage: "also in a CI environment or a container"},
				jsonFlag(),
			},
			about: "The broker gets a user of its own, sees nothing of the machine but " + service.BrokerData + " and the network, and comes back after a crash\n" +
				"and at boot. Again after an upgrade, or with other flags.",
			examples: []string{"sudo claudemesh broker install-service --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem"},
			run:      runInstallBroker,
		},
		{
			name: "uninstall-service", usage: "take that back; the broker's data stays",
			flags: []urfave.Flag{jsonFlag()}, examples: []string{"sudo claudemesh broker uninstall-service"},
			run: func(ctx context.Context, c *call) error {
				svc, err := brokerService(service.BrokerOptions{})
				if err != nil {
					return err
				}
				if err := c.uninstallService(ctx, svc); err != nil {
					return err
				}
				if !c.json {
					c.note("its data stays in %s", service.BrokerData)
				}
				return nil
			},
		},
	}
}

func brokerService(o service.BrokerOptions) (*service.Service, error) {
	host, err := service.ThisHost()
	if err != nil {
		return nil, err
	}
	exe, err := service.Executable()
	if err != nil {
		return nil, err
	}
	return service.Broker(host, exe, o), nil
}

// brokerOptions reads the flags, so that what the broker would refuse is refused here and not in its log.
func (c *call) brokerOptions() (o service.BrokerOptions, err error) {
	o = service.BrokerOptions{Listen: c.str("listen"), Metrics: c.str("metrics")}
	if typed := c.str("public-url"); typed != "" {
		if o.PublicURL, err = protocol.NormalizeBrokerURL(typed); err != nil {
			return o, err
		}
	}
	if _, err := c.tlsConfig(); err != nil {
		return o, err
	}
	if cert := c.str("tls-cert"); cert != "" {
		if o.TLSCert, err = filepath.Abs(cert); err == nil {
			o.TLSKey, err = filepath.Abs(c.str("tls-key"))
		}
	}
	return o, err
}

func runInstallBroker(ctx context.Context, c *call) error {
	o, err := c.brokerOptions()
	if err != nil {
		return err
	}
	svc, err := brokerService(o)
	if err != nil {
		return err
	}
	done, err := svc.Install(ctx, service.InstallOptions{Force: c.yes("force")})
	if start, ok := errors.AsType[*service.StartError](err); ok {
		return protocol.Refuse(protocol.CodeServiceNotReady, "service-not-ready: the service is installed and does not start: %s", start.Err).
			WithHint("%s says more; claudemesh broker uninstall-service takes it back", svc.StatusCommand())
	}
	if err != nil {
		return refusedService(err)
	}
	out, err := describeInstalled(ctx, svc, done)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	c.printInstalled(svc, out)
	c.say("    data    %s", service.BrokerData)
	c.say("    next    claudemesh create <slug> --broker %s --token-file %s", brokerAddress(o), filepath.Join(service.BrokerData, "admin-token"))
	return nil
}

// brokerAddress is how clients on this machine dial the broker.
func brokerAddress(o service.BrokerOptions) string {
	switch {
	case o.PublicURL != "":
		return o.PublicURL
	case o.TLSCert != "":
		return "https://" + o.Listen
	}
	return o.Listen
}
