package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/protocol"
)

const (
	startTimeout = 8 * time.Second
	startBackoff = 30 * time.Second      // after a start that went wrong, so that a script's loop does not spin
	pollEvery    = 30 * time.Millisecond // while a daemon starts
	maxBootText  = 4 << 10               // bytes of a failed start's output that are shown
)

// exitExists is how a daemon ends that finds another one: see the exit codes of the command line.
const exitExists = 6

// EnsureOptions of Ensure; the zero value starts this executable's own daemon.
type EnsureOptions struct {
	// Managed names the service manager that keeps the daemon running ("systemd", "launchd"), or is empty where none
	// does. Under a manager Ensure only waits: two that start daemons would race. Nil means that there is none.
	Managed func(context.Context) string

	// Command is the daemon's command line. Nil means this executable with the argument "daemon".
	Command []string

	// Now disregards a failure of the last seconds: for a person who asks for a start in so many words.
	Now bool

	// Started is told the process that Ensure started, once it answers. May be nil.
	Started func(pid int)
}

// Ensure returns a client of a daemon that answered. Where nobody listens it starts one, once, however many processes
// call at the same moment. A daemon that is there and slow is waited for and left alone. The errors say what the started
// daemon said.
func Ensure(ctx context.Context, home config.Home, o EnsureOptions) (*Client, error) {
	c := Dial(home)
	err := c.look(ctx)
	if !isAbsentError(err) {
		return c, err
	}
	if o.Managed != nil {
		if by := o.Managed(ctx); by != "" {
			return c, c.awaitService(ctx, by)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	lock, err := lockSpawn(ctx, home)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	if err := c.find(ctx); !isAbsentError(err) {
		return c, err // somebody else started it while we waited for the lock
	}
	if err := lastFailure(home); err != nil && !o.Now {
		return nil, err
	}
	pid, err := c.start(ctx, o.Command)
	if err != nil {
		recordFailure(home, err)
		return nil, err
	}
	forgetFailure(home)
	if o.Started != nil && pid != 0 {
		o.Started(pid)
	}
	return c, nil
}

// Found is what the daemon said of itself when Ensure found or started it: who needs no more than that asks no second time.
// It is empty in a client of Dial's.
func (c *Client) Found() protocol.Health { return c.found }

// find probes and keeps the answer.
func (c *Client) find(ctx context.Context) (err error) {
	c.found, err = c.Probe(ctx)
	return err
}

// look probes, and again while connections end without an answer: such a daemon is on its way out, and in a moment nobody
// listens or its successor does.
func (c *Client) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ProbeTimeout)
	defer cancel()
	for {
		err := c.find(ctx)
		if protocol.CodeOf(err) != protocol.CodeUnavailable || isAbsentError(err) || !sleep(ctx, pollEvery) {
			return err
		}
	}
}

func isAbsentError(err error) bool {
	_, ok := errors.AsType[absentError](err)
	return ok
}

// lockSpawn waits for the lock that callers of Ensure share.
func lockSpawn(ctx context.Context, home config.Home) (*config.Lock, error) {
	for {
		lock, err := home.TryLock("spawn")
		if err != nil && !errors.Is(err, config.ErrLocked) {
			return nil, spawnError(err)
		}
		if err == nil {
			return lock, nil
		}
		if !sleep(ctx, pollEvery) {
			return nil, protocol.Refuse(protocol.CodeTimeout, "the daemon is being started by another command, which takes too long").
				WithHint("wait for that command, or: claudemesh doctor")
		}
	}
}

// awaitService waits for a daemon that a service manager starts.
func (c *Client) awaitService(ctx context.Context, by string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := c.await(ctx, nil)
	if errors.Is(err, errNoAnswer) {
		return protocol.Refuse(protocol.CodeServiceNotReady, "service-not-ready: %s runs the daemon, which did not answer within %s", by, startTimeout).
			WithHint("claudemesh doctor").RetryAfter(0)
	}
	return err
}

var errNoAnswer = errors.New("no answer")

// await polls until the daemon answers, the started process ends without another daemon to blame, or ctx ends.
func (c *Client) await(ctx context.Context, ended <-chan error) error {
	for {
		err := c.find(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errNoAnswer
		}
		if code := protocol.CodeOf(err); code != protocol.CodeUnavailable && code != protocol.CodeTimeout {
			return err
		}
		select {
		case err := <-ended:
			if exitCode(err) != exitExists {
				return fmt.Errorf("the daemon ended at once: %w", errors.Join(err, errEnded))
			}
			ended = nil // another one holds the store and will answer
		default:
		}
		if !sleep(ctx, pollEvery) {
			return errNoAnswer
		}
	}
}

var errEnded = errors.New("see its output")

// start spawns the daemon and waits until it answers. The process id is zero when another daemon turned out to be there.
func (c *Client) start(ctx context.Context, command []string) (int, error) {
	if command == nil {
		exe, err := executable()
		if err != nil {
			return 0, protocol.Refuse(protocol.CodeSpawnFailed, "spawn-failed: start the daemon: find this executable: %v", err).
				WithHint("mount /proc (mount -t proc proc /proc), or call claudemesh by its full path")
		}
		command = []string{exe, "daemon"}
	}
	boot := filepath.Join(c.home.Dir(), "daemon.boot")
	pid, ended, err := spawn(c.home, command, boot)
	if err != nil {
		return 0, spawnError(err)
	}
	err = c.await(ctx, ended)
	switch {
	case err == nil:
		if c.found.PID != pid {
			pid = 0
		}
		return pid, nil
	case errors.Is(err, errEnded):
		return 0, protocol.Refuse(protocol.CodeSpawnFailed, "spawn-failed: the daemon did not start: %s", bootText(boot)).WithHint("claudemesh doctor")
	case errors.Is(err, errNoAnswer):
		return 0, protocol.Refuse(protocol.CodeSpawnFailed, "spawn-failed: the daemon (pid %d) did not answer within %s: %s", pid, startTimeout, bootText(boot)).
			WithHint("claudemesh doctor looks what is wrong")
	}
	return 0, err
}

// spawnError says why this process could not start a daemon.
func spawnError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return protocol.Refuse(protocol.CodeForbidden, "start the daemon: %v", err).WithHint("%s", deniedHint(err))
	}
	return protocol.Refuse(protocol.CodeSpawnFailed, "spawn-failed: start the daemon: %v", err)
}

// executable finds this program, also on a Linux without /proc.
func executable() (string, error) {
	exe, err := os.Executable()
	if err == nil {
		return exe, nil
	}
	if exe, err = exec.LookPath(os.Args[0]); err != nil {
		return "", err
	}
	return filepath.Abs(exe)
}

// bootText is what a daemon said before its log was open.
func bootText(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "it said nothing"
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxBootText)) // a part of the text is better than none
	text := strings.TrimPrefix(strings.Join(strings.Fields(string(b)), " "), "claudemesh: ")
	if text == "" {
		return "it said nothing"
	}
	return text
}

// failure is the record of a start that went wrong.
type failure struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}

func failurePath(home config.Home) string { return filepath.Join(home.Dir(), "daemon.failed") }

// lastFailure returns the error of a start that went wrong within startBackoff.
func lastFailure(home config.Home) error {
	b, err := os.ReadFile(failurePath(home))
	if err != nil {
		return nil
	}
	var f failure
	if json.Unmarshal(b, &f) != nil {
		return nil
	}
	rest := startBackoff - time.Since(f.At)
	if rest <= 0 || rest > startBackoff { // a time ahead of us is of a clock that was set back
		return nil
	}
	return protocol.Refuse(protocol.CodeSpawnFailed, "%s (not tried again for %d s)", f.Message, int(rest.Seconds())+1).
		WithHint("claudemesh doctor looks what is wrong").RetryAfter(rest)
}

// recordFailure and forgetFailure are called under the spawn lock. That they go wrong costs a second try, no more.
func recordFailure(home config.Home, cause error) {
	b, err := json.Marshal(failure{At: time.Now(), Message: cause.Error()})
	if err == nil {
		_ = config.WriteFile(failurePath(home), b)
	}
}

func forgetFailure(home config.Home) { _ = os.Remove(failurePath(home)) }
