// Command apikey writes to a member of a mesh, and reads what was written to it, with nothing but an API key: no daemon, no
// joined mesh. It talks to the broker's REST interface, and seals and opens by itself.
//
//	claudemesh apikey create ci --cap read,send > ci.key
//	CLAUDEMESH_BROKER_URL=https://relay.example CLAUDEMESH_API_KEY_FILE=ci.key apikey send bob "main is red"
//	CLAUDEMESH_BROKER_URL=https://relay.example CLAUDEMESH_API_KEY_FILE=ci.key apikey read
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/claudemesh/claudemesh/protocol"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apikey:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: apikey send [-topic <topic>] <name> <text…> | apikey read")

func run(ctx context.Context, args []string, out io.Writer) error {
	secret, err := readSecret()
	if err != nil {
		return err
	}
	c, err := open(ctx, os.Getenv("CLAUDEMESH_BROKER_URL"), secret)
	if err != nil {
		return err
	}
	topic := ""
	if len(args) > 2 && args[0] == "send" && args[1] == "-topic" {
		topic, args = args[2], append(args[:1:1], args[3:]...)
	}
	switch {
	case len(args) >= 3 && args[0] == "send":
		id, err := c.send(ctx, args[1], topic, strings.Join(args[2:], " "))
		if err == nil {
			fmt.Fprintln(out, "queued", id)
		}
		return err
	case len(args) == 1 && args[0] == "read":
		return c.read(ctx, func(m *protocol.Message) {
			text, trust := m.Text()
			fmt.Fprintf(out, "%s (%s): %s\n", m.Name(), trust, text)
		})
	}
	return errUsage
}

// readSecret takes the secret from a file or the environment, never from the command line, where others can see it.
func readSecret() (*protocol.APISecret, error) {
	text := os.Getenv("CLAUDEMESH_API_KEY")
	if path := os.Getenv("CLAUDEMESH_API_KEY_FILE"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if text == "" {
		return nil, errors.New("no key: set CLAUDEMESH_API_KEY_FILE or CLAUDEMESH_API_KEY")
	}
	return protocol.ParseAPISecret(text)
}
