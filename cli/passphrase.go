package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/claudemesh/claudemesh/protocol"
)

// maxSecret bounds what is read for a passphrase or a seed.
const maxSecret = 4096

func passphraseFlag(what string) urfave.Flag {
	return &urfave.StringFlag{Name: "passphrase-file", Usage: "read the passphrase " + what + " from `FILE`, - is stdin (default: ask on the terminal)"}
}

// passphrase asks for a passphrase, twice where it is a new one. It never stands on a command line.
func (c *call) passphrase(what string, fresh bool) ([]byte, error) {
	if path := c.str("passphrase-file"); path != "" {
		pass, err := c.secretFile(path, what)
		if err == nil && fresh {
			err = checkStrength(pass, what)
		}
		return pass, err
	}
	if !isTerminal(c.stdin) {
		return nil, protocol.Refuse(protocol.CodeInvalid, "the passphrase %s is needed", what).
			WithHint("--passphrase-file FILE where there is no terminal to ask on; - reads stdin")
	}
	first, err := c.askSecret("passphrase " + what + ": ")
	if err != nil || !fresh {
		return first, err
	}
	if err := checkStrength(first, what); err != nil {
		return nil, err
	}
	again, err := c.askSecret("once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, protocol.Refuse(protocol.CodeInvalid, "the two are not the same")
	}
	return first, nil
}

// A new passphrase has at least minPassphrase characters, minDifferent of them different. Whoever has the file may guess as long
// as he likes, each time for about a second: what is shorter he finds.
const (
	minPassphrase = 12
	minDifferent  = 6
)

// checkStrength refuses a new passphrase that is guessed too easily. One that is in use already is never judged.
func checkStrength(pass []byte, what string) error {
	different := make(map[rune]bool)
	n := 0
	for _, r := range string(pass) {
		different[r] = true
		n++
	}
	if n >= minPassphrase && len(different) >= minDifferent {
		return nil
	}
	return protocol.Refuse(protocol.CodeInvalid, "the passphrase %s is too weak: it must have at least %d characters, %d of them different", what, minPassphrase, minDifferent).
		WithHint("take four words or more; a script may make one: head -c 18 /dev/urandom | base64 > FILE, then --passphrase-file FILE")
}

// askSecret reads a line from the terminal without showing it.
func (c *call) askSecret(prompt string) ([]byte, error) {
	fmt.Fprint(c.stderr, prompt)
	b, err := term.ReadPassword(int(c.stdin.(*os.File).Fd()))
	fmt.Fprintln(c.stderr)
	if err != nil {
		return nil, fmt.Errorf("read from the terminal: %w", err)
	}
	return notEmpty(b, "what was typed")
}

// secretFile reads the first line of a file, or of stdin.
func (c *call) secretFile(path, what string) ([]byte, error) {
	in := c.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("read the passphrase %s: %w", what, err)
		}
		defer f.Close()
		in = f
	}
	return firstLine(in, what)
}

func firstLine(in io.Reader, what string) ([]byte, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxSecret)).ReadString('\n')
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return notEmpty([]byte(strings.TrimRight(line, "\r\n")), what)
}

func notEmpty(b []byte, what string) ([]byte, error) {
	if len(b) == 0 {
		return nil, protocol.Refuse(protocol.CodeInvalid, "%s is empty", what)
	}
	return b, nil
}
