//go:build linux

package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/localsocket/sockettest"
)

func TestSocketAnswersNoForeigner(t *testing.T) {
	d := startDaemon(t, newHome(t))
	if got := sockettest.Foreigner(t, d.home.Dir(), d.home.SocketFile(), "/v1/health"); got != "" {
		t.Errorf("answered %q", got)
	}
}
