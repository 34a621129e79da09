//go:build linux

package broker

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/localsocket"
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

// A data directory with a path that is too long for a socket has its operator, too.
func TestAdminSocketOfALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", localsocket.MaxPath))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := ListenAdmin(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := DialAdmin(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := errors.Join(l.Close(), l.Remove()); err != nil {
		t.Error(err)
	}
}
