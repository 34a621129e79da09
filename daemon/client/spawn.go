package client

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/claudemesh/claudemesh/daemon/config"
)

// spawn starts the command detached from this process and its terminal, with its output in the boot file. The channel
// gets the error of the process when it ends while we are here.
func spawn(home config.Home, command []string, boot string) (pid int, ended <-chan error, err error) {
	if err := config.WriteFile(boot, nil); err != nil {
		return 0, nil, err
	}
	out, err := os.OpenFile(boot, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return 0, nil, err
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = home.Dir() // not the caller's, which may be a mount that somebody wants to take away
	cmd.Env = daemonEnv(home, os.Environ())
	cmd.SysProcAttr = detached()
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("run %s: %w", command[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }() // ends with the daemon or with this process
	return cmd.Process.Pid, done, nil
}

// daemonEnv is the environment without what belongs to one Claude session, and with the home in so many words.
func daemonEnv(home config.Home, environ []string) []string {
	var env []string
	for _, v := range environ {
		if !strings.HasPrefix(v, "CLAUDE_CODE_") && !strings.HasPrefix(v, "CLAUDECODE=") && !strings.HasPrefix(v, config.EnvDir+"=") {
			env = append(env, v)
		}
	}
	return append(env, config.EnvDir+"="+home.Dir())
}

// exitCode is the code of a process that exited, -1 of one that a signal ended, 0 where there is no error.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
