//go:build linux

package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

const (
	brokenPipe = 4096 // bytes that the pipe of a broken reader holds
	brokenHalf = 2000 // of which half takes so many
)

// cmdBroken runs a verb whose reader fails: `broken HOW stdout|stderr STDIN PERSON VERB…`. STDIN is a file. HOW is
//
//	closed  the reader has gone before
//	full    /dev/full: every write fails
//	stuck   the reader takes nothing, until the verb has ended by itself
//	half    the reader takes some, and goes
//	killed  the reader takes nothing, and the verb is killed while it prints or waits
//
// Of a tool server the answer to the first line of STDIN is read; the others are for the broken reader. In SESSION is the id
// of its session. Its stdin stays open until it has answered.
// BROKEN becomes the exit code, -1 where the verb was killed.
func cmdBroken(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 5 {
		ts.Fatalf("usage: broken HOW stdout|stderr STDIN PERSON VERB…")
	}
	how, which, verb := args[0], args[1], args[4:]
	exe, err := exec.LookPath("claudemesh")
	ts.Check(err)
	cmd := exec.Command(exe, verb...)
	cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH"), "CLAUDEMESH_CONFIG_DIR=" + ts.MkAbs(args[3]), "GORACE=" + ts.Getenv("GORACE")}
	if id := ts.Getenv("SESSION"); id != "" {
		cmd.Env = append(cmd.Env, "CLAUDE_CODE_SESSION_ID="+id)
	}
	cmd.Dir = ts.MkAbs(".")
	stdin, answered := lastingInput(ts, ts.MkAbs(args[2]), verb[0] == "mcp")
	cmd.Stdin = stdin
	r, w, err := os.Pipe()
	ts.Check(err)
	defer r.Close()
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, brokenPipe)
	ts.Check(err)
	if how == "full" {
		w.Close()
		w, err = os.OpenFile("/dev/full", os.O_WRONLY, 0)
		ts.Check(err)
	}
	if how == "closed" {
		r.Close()
	}
	var other bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &other
	if which == "stderr" {
		cmd.Stdout, cmd.Stderr = &other, w
	}
	ts.Check(cmd.Start())
	w.Close()
	stdin.Close()
	if verb[0] == "mcp" {
		ts.Check(skipLine(r))
		ts.Check(holdsSome(r))
	}
	switch how {
	case "half":
		io.CopyN(io.Discard, r, brokenHalf)
		r.Close()
	case "killed":
		ts.Check(holdsSome(r))
		ts.Check(cmd.Process.Kill())
	}
	answered()
	_ = cmd.Wait() // the code tells
	ts.Logf("%s exit %d %s", how, cmd.ProcessState.ExitCode(), other.String())
	ts.Setenv("BROKEN", strconv.Itoa(cmd.ProcessState.ExitCode()))
}

// lastingInput is a file as stdin, which with lasting does not end before the other function is called.
func lastingInput(ts *testscript.TestScript, path string, lasting bool) (*os.File, func()) {
	if !lasting {
		f, err := os.Open(path)
		ts.Check(err)
		return f, func() {}
	}
	b, err := os.ReadFile(path)
	ts.Check(err)
	r, w, err := os.Pipe()
	ts.Check(err)
	_, err = w.Write(b) // a pipe holds more
	ts.Check(err)
	return r, func() { w.Close() }
}

// skipLine reads a line, and nothing behind it.
func skipLine(r io.Reader) error {
	for b := make([]byte, 1); b[0] != '\n'; {
		if _, err := r.Read(b); err != nil {
			return err
		}
	}
	return nil
}

// holdsSome waits until something can be read from a pipe, and reads nothing.
func holdsSome(r *os.File) error {
	poll := []unix.PollFd{{Fd: int32(r.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 20_000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return errors.New("the verb printed nothing")
		}
		return nil
	}
}

// cmdAgain runs user-prompt-submit as bob's session: `again yes|no ID TEXT`. It wants the message there, marked as perhaps
// shown before or not, and it wants of alice's side that she was told nothing before, and is told now.
func cmdAgain(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: again yes|no ID TEXT")
	}
	status := func() string {
		ts.Check(runAs(ts, "alice", []string{"message", "status", args[1]}))
		return ts.ReadFile("stdout")
	}
	if s := status(); !strings.Contains(s, "delivered") {
		ts.Fatalf("before anybody has read it: %s", s)
	}
	ts.Setenv("CLAUDEMESH_CONFIG_DIR", ts.MkAbs("bob"))
	ts.Check(ts.Exec("sh", "-c", "claudemesh hook user-prompt-submit <prompt.json"))
	out := ts.ReadFile("stdout")
	if !strings.Contains(out, args[2]) {
		ts.Fatalf("the message does not come again: %s", out)
	}
	if marked := strings.Contains(out, "(again)"); marked != (args[0] == "yes") {
		ts.Fatalf("marked %v: %s", marked, out)
	}
	for range 200 {
		if strings.Contains(status(), "shown") {
			return
		}
		ts.Check(ts.Exec("sleep", "0.05"))
	}
	ts.Fatalf("the sender is not told that it was shown: %s", status())
}
