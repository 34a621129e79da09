// Command claudemesh is an end-to-end encrypted mesh between Claude Code sessions, shells and scripts.
// Its subcommands are its roles: the broker relays, the daemon keeps one machine's keys and mail, the verbs use it.
package main

import (
	"os"

	"github.com/claudemesh/claudemesh/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
