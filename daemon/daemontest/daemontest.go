// Package daemontest has what the tests of the daemon's packages share.
package daemontest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// NewHome is a home with a path short enough for a socket.
func NewHome(t *testing.T) config.Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	home, err := config.OpenHome(dir)
	if err != nil {
		t.Fatal(err)
	}
	return home
}

// WantNothing fails if a refused command left a membership or a key in the home.
func WantNothing(t *testing.T, home config.Home) {
	t.Helper()
	if c, err := home.Load(); err != nil || len(c.Meshes) != 0 {
		t.Errorf("config.json: %v, %v", c, err)
	}
	entries, err := os.ReadDir(home.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "config.json" && !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// WantCode fails the test unless err is a refusal with that code, which it returns.
func WantCode(t *testing.T, what string, err error, want protocol.Code) *protocol.Error {
	t.Helper()
	e, ok := errors.AsType[*protocol.Error](err)
	if !ok || e.Code != want {
		t.Fatalf("%s: error %v (code %q), want code %q", what, err, protocol.CodeOf(err), want)
	}
	return e
}

// WantRefusal goes on with the test whatever err is, and fails it unless err is a refusal of that code.
func WantRefusal(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	if got := protocol.CodeOf(err); got != code {
		t.Errorf("error %v has code %q, want %q", err, got, code)
	}
}
