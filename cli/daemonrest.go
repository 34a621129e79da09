package cli

import (
	"context"
	"net/http"
	"time"

	urfave "github.com/urfave/cli/v2"

	"github.com/claudemesh/claudemesh/daemon/client"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

func restVerb() *verb {
	return &verb{
		name: "rest", usage: "the daemon's HTTP interface on this machine, for curl and scripts",
		flags: []urfave.Flag{jsonFlag()}, run: runRESTStatus,
		about: `Off until you switch it on. It listens on loopback, wants the token in each request, and refuses web pages. What it takes is sealed
here, and what it gives was opened here. On the daemon's socket the same routes are always there.`,
		examples: []string{"claudemesh daemon rest on", "curl -H \"Authorization: Bearer $(claudemesh daemon rest token)\" http://127.0.0.1:7902/api/v1/peers"},
		subs: []*verb{
			{name: "on", usage: "switch it on; returns when it answers",
				flags: []urfave.Flag{&urfave.StringFlag{Name: "listen", Usage: "loopback `ADDRESS`", Value: config.DefaultRESTListen}, jsonFlag()}, run: runRESTOn},
			{name: "off", usage: "switch it off", flags: []urfave.Flag{jsonFlag()}, run: runRESTOff},
			{name: "token", usage: "print the token", run: runRESTToken},
		},
	}
}

// restStatus is what `daemon rest --json` prints. The token is in its file.
type restStatus struct {
	On        bool   `json:"on"`
	URL       string `json:"url,omitempty"`
	TokenFile string `json:"token_file,omitempty"`
}

func restStatusOf(home config.Home, listen string) restStatus {
	if listen == "" {
		return restStatus{}
	}
	return restStatus{On: true, URL: "http://" + listen + "/api/v1", TokenFile: home.RESTTokenFile()}
}

func runRESTStatus(_ context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	cfg, err := home.Load()
	if err != nil {
		return err
	}
	st := restStatusOf(home, cfg.RESTListen)
	switch {
	case c.json:
		c.printJSON(st)
	case st.On:
		c.say("on: %s, token in %s", st.URL, st.TokenFile)
	default:
		c.say("off")
	}
	return nil
}

func runRESTOn(ctx context.Context, c *call) error {
	listen := c.str("listen")
	if err := config.CheckLoopback(listen); err != nil {
		return err
	}
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	token, err := home.RESTToken()
	if err != nil {
		return err
	}
	if err := setREST(home, listen); err != nil {
		return err
	}
	if _, err := c.daemon(ctx); err != nil {
		return err
	}
	if err := awaitREST(ctx, listen, token); err != nil {
		return err
	}
	st := restStatusOf(home, listen)
	if c.json {
		c.printJSON(st)
		return nil
	}
	c.say("on: %s", st.URL)
	c.note("each request needs the token in %s", st.TokenFile)
	return nil
}

func setREST(home config.Home, listen string) error {
	return home.Update(func(cfg *config.Config) error {
		cfg.RESTListen = listen
		return nil
	})
}

// awaitREST returns when our own daemon answers there.
func awaitREST(ctx context.Context, listen, token string) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+"/api/v1/peers", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return protocol.Refuse(protocol.CodeUnavailable, "the daemon does not answer on %s", listen).
				WithHint("something else may listen there: claudemesh daemon logs, or another --listen")
		}
	}
}

func runRESTOff(ctx context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	cfg, err := home.Load()
	if err != nil {
		return err
	}
	was := cfg.RESTListen
	if err := setREST(home, ""); err != nil {
		return err
	}
	awaitNoREST(ctx, home, was)
	return c.done("off")
}

// awaitNoREST returns when a running daemon has stopped listening. None is started.
func awaitNoREST(ctx context.Context, home config.Home, was string) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	cl := client.Dial(home)
	defer cl.Close()
	for {
		if _, err := cl.Probe(ctx); err != nil || was == "" {
			return
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+was+"/api/v1/peers", nil)
		if err != nil {
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return
		}
		res.Body.Close()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func runRESTToken(_ context.Context, c *call) error {
	home, err := config.DefaultHome()
	if err != nil {
		return err
	}
	token, err := home.RESTToken()
	if err != nil {
		return err
	}
	c.say("%s", token)
	return nil
}
