//go:build linux

package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	urfave "github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/protocol"
)

// terminal is a pseudo terminal: what a user types goes into user, the verb reads from tty.
func terminal(t *testing.T) (user, tty *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here:", err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return user, tty
}

// asking is a call whose stdin is in, with the flags of backup.
func asking(t *testing.T, in io.Reader, args ...string) (*call, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	a := newApp(in, &out, &out)
	var c *call
	app := &urfave.App{Flags: []urfave.Flag{passphraseFlag("of the backup"), yesFlag()}, Action: func(x *urfave.Context) error {
		c = &call{app: a, flags: x}
		return nil
	}}
	if err := app.Run(append([]string{"x"}, args...)); err != nil {
		t.Fatal(err)
	}
	return c, &out
}

// A passphrase is typed twice and never shown.
func TestPassphraseOnATerminal(t *testing.T) {
	for typed, want := range map[string]protocol.Code{
		"correct horse\ncorrect horse\n": "", "correct horse\ncorrect house\n": protocol.CodeInvalid, "\n\n": protocol.CodeInvalid,
	} {
		user, tty := terminal(t)
		if _, err := user.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		c, out := asking(t, tty)
		got, err := c.passphrase("of the backup", true)
		if protocol.CodeOf(err) != want || want == "" && string(got) != "correct horse" {
			t.Errorf("typed %q: %q, %v", typed, got, err)
		}
		if strings.Contains(out.String(), "horse") || !strings.Contains(out.String(), "passphrase of the backup: ") {
			t.Errorf("shown: %q", out)
		}
	}
}

func TestPassphraseWithoutATerminal(t *testing.T) {
	c, _ := asking(t, strings.NewReader("correct horse\n"))
	if _, err := c.passphrase("of the backup", false); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("read from a pipe unasked: %v", err)
	}
	c, _ = asking(t, strings.NewReader("correct horse\r\nnext"), "--passphrase-file", "-")
	if got, err := c.passphrase("of the backup", true); err != nil || string(got) != "correct horse" {
		t.Errorf("from stdin: %q, %v", got, err)
	}
	c, _ = asking(t, strings.NewReader(""), "--passphrase-file", "-")
	if _, err := c.passphrase("of the backup", true); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("an empty one: %v", err)
	}
}

// A new passphrase that is guessed at once is refused, on a terminal before it is typed again, and one that a script made is taken.
// What opens a file that is there already is not judged.
func TestWeakPassphrase(t *testing.T) {
	for pass, want := range map[string]protocol.Code{
		"x": protocol.CodeInvalid, "elevenchars": protocol.CodeInvalid, "aaaaaaaaaaaaaaaaaaaa": protocol.CodeInvalid, "ababcabababcab": protocol.CodeInvalid,
		"ééééééé":       protocol.CodeInvalid, // 14 bytes
		"correct horse": "", "пароль длинный": "", "q2Vd5n0GQm1aX8sT9uKp3w==": "",
	} {
		c, _ := asking(t, strings.NewReader(pass+"\n"), "--passphrase-file", "-")
		got, err := c.passphrase("of the backup", true)
		if protocol.CodeOf(err) != want || want == "" && string(got) != pass {
			t.Errorf("%q from a file: %q, %v", pass, got, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), "at least 12 characters") || strings.Contains(err.Error(), pass)) {
			t.Errorf("%q: %v", pass, err)
		}
		c, _ = asking(t, strings.NewReader(pass+"\n"), "--passphrase-file", "-")
		if got, err := c.passphrase("of the backup", false); err != nil || string(got) != pass {
			t.Errorf("%q opens nothing: %q, %v", pass, got, err)
		}
	}
	user, tty := terminal(t)
	if _, err := user.WriteString("x\n"); err != nil {
		t.Fatal(err)
	}
	c, out := asking(t, tty)
	if _, err := c.passphrase("of the backup", true); protocol.CodeOf(err) != protocol.CodeInvalid || strings.Contains(out.String(), "once more") {
		t.Errorf("typed x: %v, shown %q", err, out)
	}
}

func TestConfirmOnATerminal(t *testing.T) {
	for typed, want := range map[string]protocol.Code{"y\n": "", "yes\n": "", "n\n": protocol.CodeForbidden, "\n": protocol.CodeForbidden} {
		user, tty := terminal(t)
		if _, err := user.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		c, _ := asking(t, tty)
		if err := c.confirm("remove %s?", "bob"); protocol.CodeOf(err) != want {
			t.Errorf("%q: %v", typed, err)
		}
	}
}
