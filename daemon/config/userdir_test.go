package config

import (
	"errors"
	"os/user"
	"testing"

	"github.com/claudemesh/claudemesh/protocol"
)

// Service managers and containers may set no HOME.
func TestUserDirWithoutHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("USERPROFILE", "")
	dir, err := UserDir()
	u, known := user.Current()
	if known == nil && u.HomeDir != "" {
		if dir != u.HomeDir || err != nil {
			t.Errorf("%q, %v; the password file says %q", dir, err, u.HomeDir)
		}
		return
	}
	if e, ok := errors.AsType[*protocol.Error](err); !ok || e.Code != protocol.CodeInvalid || e.Hint == "" {
		t.Errorf("%q, %v: want an error that says what to set", dir, err)
	}
}
