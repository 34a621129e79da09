package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/backup"
	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func backupVerb() *verb {
	return &verb{
		name: "backup", heading: headRun, usage: "write your keys, meshes and mail into one file under a passphrase", args: "<file>", min: 1, max: 1,
		flags: []urfave.Flag{passphraseFlag("of the backup"), jsonFlag()},
		about: `The file holds all that a new machine needs: config.json, owner keys that are here, member and session keys, what is believed
of others, the inbox, and what was accepted and not yet sent: whichever machine sends it, it arrives once.`,
		examples: []string{"claudemesh backup acme.cmb", "claudemesh backup acme.cmb --passphrase-file pass"},
		run:      runBackup,
	}
}

func runBackup(ctx context.Context, c *call) error {
	path := c.arg(0)
	if _, err := os.Lstat(path); err == nil {
		return protocol.Refuse(protocol.CodeExists, "%s is there already", path)
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	pass, err := c.passphrase("of the backup", true)
	if err != nil {
		return err
	}
	sealing := config.NewSealing(pass)
	cl := client.Dial(home)
	defer cl.Close()
	sealed, err := cl.Backup(ctx, sealing)
	if protocol.CodeOf(err) == protocol.CodeUnavailable { // no daemon runs: the store is free
		sealed, err = backup.Make(home, sealing)
	}
	if err != nil {
		return err
	}
	if err := config.CreateFile(path, sealed); err != nil {
		return err
	}
	return c.done("wrote %s, %s; without the passphrase nobody opens it, you neither", path, bytesText(len(sealed)))
}

func bytesText(n int) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func restoreVerb() *verb {
	return &verb{
		name: "restore", heading: headRun, usage: "make this home from a backup", args: "<file>", min: 1, max: 1,
		flags: []urfave.Flag{passphraseFlag("of the backup"), jsonFlag()},
		about: `The home must be empty. If the old machine still runs it has the same keys: the broker lets only one of the two in. Say
claudemesh daemon accept-host where they shall be.`,
		examples: []string{"claudemesh restore acme.cmb"},
		run:      runRestore,
	}
}

// restored is what `restore --json` prints.
type restored struct {
	OK        bool      `json:"ok"`
	MadeAt    time.Time `json:"made_at"`
	Meshes    []string  `json:"meshes"`
	OwnerKeys []string  `json:"owner_keys"`
}

func runRestore(ctx context.Context, c *call) error {
	file, err := os.ReadFile(c.arg(0))
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	if err := stopIdle(ctx, home); err != nil {
		return err
	}
	pass, err := c.passphrase("of the backup", false)
	if err != nil {
		return err
	}
	got, err := backup.Restore(home, file, pass)
	if err != nil {
		return err
	}
	if c.json {
		c.printJSON(restored{OK: true, MadeAt: got.Made, Meshes: list(got.Meshes), OwnerKeys: list(got.Owner)})
		return nil
	}
	c.say("restored what was backed up on %s", got.Made.Local().Format("2006-01-02 15:04"))
	for _, slug := range got.Meshes {
		c.say("    %s", slug)
	}
	c.note("what others sent since then and the broker gave to the old machine is not here")
	c.note("hint: claudemesh daemon accept-host, if the old machine is to stay out")
	return nil
}

// stopIdle stops a daemon that no mesh keeps busy, so that its store can be replaced.
func stopIdle(ctx context.Context, home config.Home) error {
	cl := client.Dial(home)
	defer cl.Close()
	h, err := cl.Health(ctx)
	if protocol.CodeOf(err) == protocol.CodeUnavailable {
		return nil
	}
	if err != nil {
		return err
	}
	if len(h.Meshes) > 0 {
		return protocol.Refuse(protocol.CodeExists, "%s has joined meshes already", home.Dir()).
			WithHint("restore into an empty home: %s=<dir> claudemesh restore …", config.EnvDir)
	}
	if err := cl.Shutdown(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if _, err := cl.Probe(ctx); protocol.CodeOf(err) == protocol.CodeUnavailable {
			return nil
		}
		select {
		case <-time.After(settleEvery):
		case <-ctx.Done():
		}
	}
	return errors.Join(ctx.Err())
}

func acceptHostVerb() *verb {
	return &verb{
		name: "accept-host", usage: "say that your keys are at home here: a copy of them elsewhere gives way",
		flags: []urfave.Flag{yesFlag(), jsonFlag()},
		about: `For a home that was copied or restored, when the broker refuses it as cloned. The numbers of your messages begin anew, so that
others do not take them for those of the copy.`,
		examples: []string{"claudemesh daemon accept-host"},
		run:      runAcceptHost,
	}
}

func runAcceptHost(ctx context.Context, c *call) error {
	cl, err := c.daemon(ctx)
	if err != nil {
		return err
	}
	if err := c.confirm("end the connections of every other copy of this home?"); err != nil {
		return err
	}
	if err := cl.AcceptHost(ctx); err != nil {
		return err
	}
	return c.done("your keys are at home here")
}
