//go:build !windows

package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// fullDisk takes no byte.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A script that keeps what a verb prints must learn that it was not kept, whatever the verb.
func TestOutputThatCannotBeWritten(t *testing.T) {
	newApp(nil, io.Discard, io.Discard).root.walk(nil, func(path []string, v *verb) {
		var stderr bytes.Buffer
		if code := newApp(strings.NewReader(""), fullDisk{}, &stderr).run(t.Context(), append(path, "--help")); code != exitIO && !v.silent {
			t.Errorf("%s --help: exit %d", strings.Join(path, " "), code)
		}
		if v.run == nil || v.silent {
			return
		}
		a := newApp(strings.NewReader(""), fullDisk{}, &stderr)
		speaks := func(_ context.Context, c *call) error { c.say("something"); return nil }
		a.root.walk(nil, func(_ []string, v *verb) { v.run = speaks })
		stderr.Reset()
		if code := a.run(t.Context(), append(path, samples(v)...)); code != exitIO || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%s: exit %d, %s", strings.Join(path, " "), code, stderr.String())
		}
	})
}

// samples are as many arguments as the verb wants.
func samples(v *verb) []string {
	args := make([]string, v.min)
	for i := range args {
		args[i] = "x"
	}
	return args
}

// cmdUnwritable runs a verb whose output goes nowhere: `unwritable CODE stdout|stderr full|closed PERSON VERB…`.
func cmdUnwritable(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 {
		ts.Fatalf("usage: unwritable CODE stdout|stderr full|closed PERSON VERB…")
	}
	sink, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	ts.Check(err)
	if args[2] == "closed" {
		r, w, err := os.Pipe()
		ts.Check(err)
		r.Close()
		sink.Close()
		sink = w
	}
	defer sink.Close()
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	cmd := exec.Command(exe, args[4:]...)
	cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH"), "CLAUDEMESH_CONFIG_DIR=" + ts.MkAbs(args[3])}
	var other bytes.Buffer
	cmd.Stdout, cmd.Stderr = sink, &other
	if args[1] == "stderr" {
		cmd.Stdout, cmd.Stderr = &other, sink
	}
	_ = cmd.Run() // the code tells
	ts.Logf("%s", other.String())
	ts.Check(os.WriteFile(ts.MkAbs("said"), other.Bytes(), 0o600))
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("%s: exit %s, want %s", strings.Join(args[3:], " "), got, args[0])
	}
}
