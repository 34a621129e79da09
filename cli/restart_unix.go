//go:build unix

package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/daemon/client"
)

// How often the daemon looks whether its executable was replaced, and how long the new one may take to say its version.
const (
	upgradeEvery   = 5 * time.Second
	versionTimeout = 5 * time.Second
)

var errUpgraded = errors.New("the executable was replaced")

// watchUpgrade returns errUpgraded once another executable is in place, works, and nobody needs the daemon: no session is
// live and nothing waits to leave. It returns nil when ctx ends.
func watchUpgrade(ctx context.Context, cl *client.Client, exe string) error {
	tick := time.NewTicker(upgradeEvery)
	defer tick.Stop()
	first := fileID(exe)
	last := first
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := fileID(exe)
		settled := now == last // seen twice: it is not being written any more
		last = now
		if now != "" && now != first && settled && idle(ctx, cl) && works(ctx, exe) {
			return errUpgraded
		}
	}
}

func idle(ctx context.Context, cl *client.Client) bool {
	h, err := cl.Health(ctx)
	if err != nil || h.Sessions > 0 {
		return false
	}
	for _, m := range h.Meshes {
		if m.Queued > 0 {
			return false
		}
	}
	return true
}

func works(ctx context.Context, exe string) bool {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	return exec.CommandContext(ctx, exe, "--version").Run() == nil
}

// become replaces this process by the executable, with the same arguments and the same process id, so that a service
// manager sees nothing of it. It returns only when that went wrong.
func become(exe string) error {
	return syscall.Exec(exe, os.Args, os.Environ())
}
