package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// LingerReason is why somebody may want it.
const LingerReason = "without lingering, systemd stops your daemon when your last login ends, and messages wait at the broker until you come back"

// Lingers tells whether this user's services run without a login. LaunchAgents never do.
func (h Host) Lingers() bool {
	if h.OS != "linux" || h.User == "" {
		return false
	}
	_, err := os.Stat(filepath.Join(h.Root+"/var/lib/systemd/linger", h.User))
	return err == nil
}

func (h Host) setLinger(ctx context.Context, on bool) error {
	verb, does := "enable-linger", "turn lingering on"
	if !on {
		verb, does = "disable-linger", "turn lingering off"
	}
	if _, err := output(ctx, "loginctl", "--no-ask-password", verb, h.User); err != nil {
		return fmt.Errorf("%s (sudo loginctl %s %s does): %w", does, verb, h.User, err)
	}
	return nil
}
