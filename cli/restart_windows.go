package cli

import (
	"context"
	"errors"

	"github.com/claudemesh/claudemesh/daemon/client"
)

var errUpgraded = errors.New("the executable was replaced")

// watchUpgrade waits for ctx only: Windows does not let anybody replace the file of a running program.
func watchUpgrade(ctx context.Context, _ *client.Client, _ string) error {
	<-ctx.Done()
	return nil
}

func become(string) error { return errors.ErrUnsupported }
