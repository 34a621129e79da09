//go:build linux

package localsocket_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/localsocket/sockettest"
)

// Another user gets no answer, even where the modes were opened by mistake; this one does.
func TestForeignUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	refused := make(chan uint32, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) })}
	go srv.Serve(localsocket.Guard(ln, func(uid uint32, err error) { refused <- uid })) // ends with Close
	defer srv.Close()
	if got := sockettest.Foreigner(t, dir, path, "/"); got != "" {
		t.Errorf("answered %q", got)
	}
	if uid := <-refused; uid != 65534 {
		t.Errorf("refused user %d", uid)
	}
	client := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !strings.HasPrefix(res.Status, "200") {
		t.Errorf("this user: %s", res.Status)
	}
}
