//go:build linux

package broker

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/localsocket/sockettest"
)

// The operator's socket makes backups and profiles: it is for who runs the broker.
func TestAdminSocketAnswersNoForeigner(t *testing.T) {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	srv, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close(t.Context())
	l, err := ListenAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: srv.AdminHandler()}
	go hs.Serve(l) // ends with Close
	defer hs.Close()
	if got := sockettest.Foreigner(t, dir, filepath.Join(dir, AdminSocket), "/v1/status"); got != "" {
		t.Errorf("answered %q", got)
	}
}
