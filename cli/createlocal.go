package cli

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

// localTimeout is how long the daemon may take to hear of config.json and to have its own broker listen.
const localTimeout = 6 * time.Second

// localURL has this machine's daemon run a broker, unless it does already, and returns its address once it answers.
func (c *call) localURL(ctx context.Context, home config.Home) (string, error) {
	addr, fresh, err := claimLocal(home)
	if err != nil {
		return "", err
	}
	if _, err := c.daemon(ctx); err != nil {
		return "", err
	}
	if awaitHTTP(ctx, "http://"+addr+"/health") {
		return addr, nil
	}
	if fresh {
		err = home.Update(func(cfg *config.Config) error {
			cfg.LocalBroker = ""
			return nil
		})
	}
	if err != nil {
		return "", err
	}
	return "", protocol.Refuse(protocol.CodeUnavailable, "the daemon's broker on %s did not start", addr).WithHint("claudemesh daemon logs tells why")
}

// claimLocal writes the address of the local broker into config.json, where there is none yet: the usual port, or any where that is taken.
func claimLocal(home config.Home) (addr string, fresh bool, err error) {
	err = home.Update(func(cfg *config.Config) error {
		if addr = cfg.LocalBroker; addr != "" {
			return nil
		}
		fresh = true
		addr, err = freeAddress()
		cfg.LocalBroker = addr
		return err
	})
	return addr, fresh, err
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", defaultListen)
	if err != nil {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// awaitHTTP reports whether a URL answers with 200 in time.
func awaitHTTP(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, localTimeout)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		if req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil); err == nil {
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return true
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}
