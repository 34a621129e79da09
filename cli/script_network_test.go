//go:build !windows

package cli

import (
	"net"
	"net/http/httptest"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/claudemesh/claudemesh/daemon/brokerhttp/proxytest"
)

type networkKey struct{}

// network is what stands between the people of a story and its broker.
type network struct{ ends []func() }

func (n *network) end() {
	for _, end := range n.ends {
		end()
	}
}

// cmdProxy starts a forward proxy and sets PROXY to its address. It reaches the broker for who asks for NAME, host:port.
func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	start := map[string]func(map[string]string, string, string) (*proxytest.Proxy, error){"http": proxytest.HTTP, "socks": proxytest.SOCKS}
	if neg || len(args) != 4 || start[args[0]] == nil {
		ts.Fatalf("usage: proxy http|socks NAME USER PASSWORD")
	}
	p, err := start[args[0]](map[string]string{args[1]: ts.Getenv("BROKER")}, args[2], args[3])
	ts.Check(err)
	n := ts.Value(networkKey{}).(*network)
	n.ends = append(n.ends, p.Close)
	ts.Setenv("PROXY", p.Addr())
}

// cmdFront starts a reverse proxy that serves the broker under a path, and sets FRONT to its address.
func cmdFront(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: front PATH [no-upgrade]")
	}
	front := proxytest.Reverse{Prefix: args[0], DropUpgrade: len(args) == 2}
	s := httptest.NewUnstartedServer(front.Handler(ts.Getenv("BROKER")))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s.Listener.Close()
	s.Listener = ln
	s.Start()
	n := ts.Value(networkKey{}).(*network)
	n.ends = append(n.ends, s.Close)
	ts.Setenv("FRONT", ln.Addr().String())
}
