package cli

import (
	"context"
	"os"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/enrol"
	"github.com/claudemesh/claudemesh/protocol"
)

// EnvBroker names the broker that `create` uses where no --broker is given.
const EnvBroker = "CLAUDEMESH_BROKER_URL"

func createVerb() *verb {
	return &verb{
		name: "create", heading: headStart, usage: "make a mesh on a broker and join it as its first admin",
		args: "<slug>", min: 1, max: 1,
		flags: []urfave.Flag{
			&urfave.StringFlag{Name: "broker", Usage: "the broker's `URL`: host, host:port, or with ws, wss, http or https in front (default: " + EnvBroker + ", else --local)"},
			&urfave.StringFlag{Name: "name", Usage: "your `NAME` in the mesh (default: your login name)"},
			&urfave.StringFlag{Name: "token-file", Usage: "the broker's admin token in `FILE` (default: " + enrol.EnvAdminToken + ", or that of a broker on this machine)"},
			&urfave.BoolFlag{Name: "local", Usage: "have this machine's daemon run the broker, on loopback"},
			&urfave.BoolFlag{Name: "no-recovery", Usage: "make no recovery key: whoever steals the owner key keeps the mesh"},
			insecureFlag(), jsonFlag(),
		},
		about: `The owner key goes into a file of its own; everyday work does not need it. The seed of the recovery key is printed once, on
stderr: write it down.`,
		examples: []string{
			"claudemesh create acme --broker relay.example --token-file admin-token",
			"claudemesh create acme --local --name alice",
		},
		run: runCreate,
	}
}

func insecureFlag() urfave.Flag {
	return &urfave.BoolFlag{Name: "insecure", Usage: "allow ws:// to another host: the network then sees who talks to whom, never what"}
}

// created is what `create --json` prints. The recovery seed is a secret and never in it.
type created struct {
	OK           bool            `json:"ok"`
	Mesh         string          `json:"mesh"`
	MeshID       protocol.MeshID `json:"mesh_id"`
	Broker       string          `json:"broker"`
	Name         string          `json:"name"`
	Pubkey       string          `json:"pubkey"`
	OwnerKeyFile string          `json:"owner_key_file"`

	Error *protocol.ErrorBody `json:"error,omitempty"` // the mesh is made, and the daemon does not reach its broker
}

func runCreate(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	url, err := c.brokerURL(ctx, home)
	if err != nil {
		return err
	}
	made, err := enrol.Create(ctx, enrol.CreateOptions{Home: home, Slug: c.arg(0), BrokerURL: url, Name: c.str("name"),
		TokenFile: c.str("token-file"), NoRecovery: c.yes("no-recovery"), Insecure: c.yes("insecure")})
	if err != nil {
		return err
	}
	if err := c.showRecovery(made); err != nil { // first: nothing that comes may keep it from being seen
		return err
	}
	m := made.Membership
	out := created{OK: true, Mesh: m.Slug, MeshID: m.MeshID, Broker: m.BrokerURL, Name: m.Name, Pubkey: m.Key.Public().String(), OwnerKeyFile: made.OwnerKeyFile}
	if off := c.connected(ctx, m.Slug); off != nil {
		if c.json {
			out.OK, out.Error = false, errorBody(off)
			c.printJSON(out)
			return saidError{off}
		}
		c.note("made %s on %s; the owner key is in %s", m.Slug, protocol.BrokerHost(m.BrokerURL), made.OwnerKeyFile)
		return off
	}
	if c.json {
		c.printJSON(out)
		return nil
	}
	c.say("made %s on %s, you are %s", c.paint(bold, m.Slug), protocol.BrokerHost(m.BrokerURL), m.Name)
	c.say("    owner key  %s", made.OwnerKeyFile)
	c.say("    next       claudemesh invite")
	return nil
}

// showRecovery prints the recovery seed, and removes the file that keeps it until it was printed.
func (c *call) showRecovery(made *enrol.Created) error {
	if made.Recovery == nil {
		return nil
	}
	c.note("recovery seed, shown only now: %s", made.RecoverySeed())
	c.note("whoever has it can take the mesh over; keep it offline")
	if err := c.stderr.failed(); err != nil {
		return protocol.Refuse(protocol.CodeStoreFailed, "made %s, but its recovery seed could not be shown: %v", made.Membership.Slug, err).
			WithHint("the seed lies in %s: copy it to a place that is offline, then remove the file", made.RecoveryFile)
	}
	return os.Remove(made.RecoveryFile)
}

// brokerURL returns the broker to make the mesh on, and says which when nobody named one.
func (c *call) brokerURL(ctx context.Context, home config.Home) (string, error) {
	url := c.str("broker")
	switch {
	case c.yes("local") && url != "":
		return "", protocol.Refuse(protocol.CodeInvalid, "--broker and --local exclude each other")
	case url != "":
		return url, nil
	case !c.yes("local") && os.Getenv(EnvBroker) != "":
		c.note("broker from %s: %s", EnvBroker, os.Getenv(EnvBroker))
		return os.Getenv(EnvBroker), nil
	}
	addr, err := c.localURL(ctx, home)
	if err == nil {
		c.note("broker run by this machine's daemon: %s", addr)
	}
	return addr, err
}
