package cli

import (
	"context"
	"path/filepath"
	"slices"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/protocol"
	"github.com/claudemesh/claudemesh/service"
)

func brokerServiceVerbs() []*verb {
	return []*verb{
		{
			name: "install-service", usage: "have systemd run a broker for this machine; takes root",
			flags: append(serviceFlags(), &urfave.BoolFlag{Name: "force", Usage: "also in a CI environment or a container"}, jsonFlag()),
			about: "The broker gets a user of its own, sees nothing of the machine but " + service.BrokerData + " and the network, and comes back after a crash\n" +
				"and at boot. Again after an upgrade, or with other flags. Files are read anew, as root, at each start of the service.",
			examples: []string{
				"sudo claudemesh broker install-service --listen :443 --acme-host relay.example",
				"sudo claudemesh broker install-service --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem",
			},
			run: runInstallBroker,
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
	host, err := thisHost()
	if err != nil {
		return nil, err
	}
	exe, err := service.Executable()
	if err != nil {
		return nil, err
	}
	return service.Broker(host, exe, o), nil
}

// dataSetting is where a broker keeps everything; the service has a place of its own.
const dataSetting = "data"

// serviceFlags are the flags of the broker that its service may be given.
func serviceFlags() []urfave.Flag {
	return slices.DeleteFunc(brokerFlags(), func(f urfave.Flag) bool { return f.Names()[0] == dataSetting })
}

// brokerInstall is a broker's service as the flags ask for it.
type brokerInstall struct {
	service.BrokerOptions
	address string // how clients on this machine dial it
}

// brokerOptions reads the flags and the file of --config, so that what the broker would refuse is refused here and not in its
// log. The environment does not count: the service has another one. Files that the file names become flags, for the service's
// user may not be able to read them.
func (c *call) brokerOptions() (in brokerInstall, err error) {
	set, err := c.settingsWith(func(string) string { return "" })
	if err != nil {
		return in, err
	}
	if dir := set.file[dataSetting]; dir != "" && filepath.Clean(dir) != service.BrokerData {
		return in, protocol.Refuse(protocol.CodeInvalid, "the service keeps its data in %s, and the file of --config says %s", service.BrokerData, dir).
			WithHint("take that line out of it")
	}
	cfg, err := set.config()
	if err != nil {
		return in, err
	}
	security, plain, err := set.tls(service.BrokerData)
	if err != nil {
		return in, err
	}
	for _, f := range serviceFlags() {
		flag := service.BrokerFlag{Name: f.Names()[0], File: slices.Contains(brokerFiles, f.Names()[0])}
		switch {
		case flag.File:
			if flag.Value = set.str(flag.Name); flag.Value != "" {
				flag.Value, err = filepath.Abs(flag.Value)
			}
		case c.flags.IsSet(flag.Name):
			flag.Value = c.str(flag.Name)
		case flag.Name == "listen" && set.file["listen"] == "":
			flag.Value = defaultListen
		}
		if err != nil {
			return in, err
		}
		if flag.Value != "" {
			in.Flags = append(in.Flags, flag)
		}
	}
	in.Listens = []string{set.str("listen"), set.str("metrics")}
	if plain != nil {
		in.Listens = append(in.Listens, plainListen)
	}
	switch in.address = set.str("listen"); {
	case cfg.PublicURL != "":
		in.address = cfg.PublicURL
	case security != nil:
		in.address = "https://" + in.address
	}
	return in, nil
}

func runInstallBroker(ctx context.Context, c *call) error {
	o, err := c.brokerOptions()
	if err != nil {
		return err
	}
	svc, err := brokerService(o.BrokerOptions)
	if err != nil {
		return err
	}
	done, err := svc.Install(ctx, service.InstallOptions{Force: c.yes("force")})
	if err != nil {
		return notStarted(svc, err)
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
	c.say("    next    claudemesh create <slug> --broker %s --token-file %s", o.address, filepath.Join(service.BrokerData, "admin-token"))
	return nil
}
