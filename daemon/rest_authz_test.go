package daemon

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// knock makes a request to the port and returns its status.
func (d *testDaemon) knock(addr, method, path string, header ...string) int {
	d.t.Helper()
	r, err := http.NewRequest(method, "http://"+addr+path, strings.NewReader("{}"))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") != "text/event-stream" { // a stream does not end
		io.Copy(io.Discard, res.Body)
	}
	if res.Header.Get("Access-Control-Allow-Origin") != "" {
		d.t.Errorf("%s %s lets pages in", method, path)
	}
	return res.StatusCode
}

// On the port a request needs the token, whatever the route, and comes from no page; what is not for the port is not there.
func TestAuthorityOnThePort(t *testing.T) {
	d := startDaemon(t, newHome(t))
	addr := d.port()
	_, number, _ := strings.Cut(addr, ":")
	const good = "Bearer token"
	for _, pattern := range slices.Sorted(maps.Keys(d.api.RESTTable())) {
		method, path, _ := strings.Cut(strings.ReplaceAll(pattern, "{id}", "abcdefgh"), " ")
		for _, c := range []struct {
			who    string
			header []string
			status int
		}{
			{"nobody", nil, 401},
			{"a wrong token", []string{"Authorization", "Bearer wrong"}, 401},
			{"the token without its kind", []string{"Authorization", "token"}, 401},
			{"the token and more", []string{"Authorization", good + "x"}, 401},
			{"a page without the token", []string{"Origin", "https://evil.example"}, 403},
			{"a page with the token", []string{"Origin", "https://evil.example", "Authorization", good}, 403},
			{"a page of this machine", []string{"Origin", "http://" + addr, "Authorization", good}, 403},
			{"a name bent to this machine", []string{"Host", "evil.example:" + number, "Authorization", good}, 403},
			{"the name of another port", []string{"Host", "127.0.0.1:1", "Authorization", good}, 403},
		} {
			if got := d.knock(addr, method, path, c.header...); got != c.status {
				t.Errorf("%s by %s: %d, want %d", pattern, c.who, got, c.status)
			}
		}
		for _, host := range []string{addr, "localhost:" + number} {
			if got := d.knock(addr, method, path, "Authorization", good, "Host", host); got == 401 || got == 403 {
				t.Errorf("%s with the token at %s: %d", pattern, host, got)
			}
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(d.api.Table())) {
		method, path, _ := strings.Cut(strings.ReplaceAll(pattern, "{id}", "abcdefgh"), " ")
		if got := d.knock(addr, method, path, "Authorization", good); got != 404 {
			t.Errorf("%s on the port: %d", pattern, got)
		}
		if got := d.knock(addr, method, path); got != 401 {
			t.Errorf("%s on the port without the token: %d", pattern, got)
		}
	}
	if _, err := d.Health(t.Context()); err != nil {
		t.Errorf("the daemon was stopped by a stranger: %v", err)
	}
}

// On the socket there is no token, for it lets in its user alone; what a browser could be made to send is refused on every route.
func TestNoPagesOnTheSocket(t *testing.T) {
	d := startDaemon(t, newHome(t))
	tables := d.api.Table()
	maps.Copy(tables, d.api.RESTTable())
	for _, pattern := range slices.Sorted(maps.Keys(tables)) {
		method, path, _ := strings.Cut(strings.ReplaceAll(pattern, "{id}", "abcdefgh"), " ")
		for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Host", "evil.example"}, {"Host", "127.0.0.1"}} {
			if status, body := d.raw(method, path, "{}", header...); status != 403 {
				t.Errorf("%s with %v: %d %s", pattern, header, status, body)
			}
		}
	}
	if _, err := d.Health(t.Context()); err != nil {
		t.Errorf("the daemon was stopped by a page: %v", err)
	}
}
