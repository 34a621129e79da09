// Package service lets the machine's service manager run claudemesh: the daemon for one user (a systemd user unit, or a
// LaunchAgent on macOS), and the broker for the whole machine (a systemd system unit).
//
//	daemon  linux   ~/.config/systemd/user/claudemesh-daemon.service
//	daemon  darwin  ~/Library/LaunchAgents/com.claudemesh.daemon.plist
//	broker  linux   /etc/systemd/system/claudemesh-broker.service
//
// This package generates the files. On Linux kardianos/service installs, enables and removes them.
// It is not used to start a service or to query its state, because it drops the output of systemctl.
// It is not used for the LaunchAgent: it would load it with deprecated launchctl verbs, and it could
// be tested only on a Mac.
//
// A file without our mark in its first lines belongs to somebody else (an original claudemesh uses
// the same names). It is never overwritten and never removed.
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
)

// Errors of this package that callers tell apart.
var (
	ErrNotInstalled = errors.New("no service is installed")
	ErrForeign      = errors.New("the file is not ours")
)

// Refusal says why a service cannot be installed here, or only by force, and what to do instead.
type Refusal struct {
	Reason, Hint string
	Final        bool // Force does not help
}

func (r *Refusal) Error() string { return r.Reason }

// State is what the service manager says of a service.
type State string

const (
	NotInstalled State = "not-installed"
	Stopped      State = "stopped"
	Starting     State = "starting" // also between two tries
	Running      State = "running"
	Failed       State = "failed" // the manager has given up
)

// Status of a service. Detail is in the manager's own words.
type Status struct {
	State  State
	PID    int
	Detail string
}

// Service is one unit or agent, installed or not. Its methods may be called by one goroutine at a time.
type Service struct {
	host    Host
	spec    spec
	manager manager
}

// manager is what differs between systemd and launchd.
type manager interface {
	name() string
	path() string
	paths(Environment) []string                       // of every file that it makes
	comment(string) string                            // a line that the manager skips
	uncomment(line string) string                     // its words, or ""
	render(Environment) string                        // the file as it should be
	recorded(text string) (Environment, error)        // what the installed file, or one beside it, tells the service
	serves() string                                   // the line in a file that names the home, or ""
	obstacle(context.Context) *Refusal                // what only asking the manager shows
	place(context.Context, string, Environment) error // puts new files in place, so that the next login starts it
	swap(context.Context, string, Environment) error  // puts others in the place of those that are there; the files are, whatever the error
	remove(ctx context.Context) error                 // the inverse of place, of whatever is there
	start(context.Context) error
	stop(context.Context) error
	restart(context.Context) error // with what the file says now
	status(context.Context) (Status, error)
	statusCommand() string
	logCommand() string
}

// spec is what is to run.
type spec struct {
	verb       string // daemon or broker
	executable string
	home       string // the daemon's
	broker     BrokerOptions
}

// Host is the machine as this package sees it.
type Host struct {
	OS   string // as runtime.GOOS
	Root string // where /etc, /run and / of the checks are; empty in reality
	Home string // the user's home directory
	UID  int
	User string
}

// ThisHost is the machine and the user that we run as, whose home directory that is.
func ThisHost(home string) Host {
	h := Host{OS: runtime.GOOS, Home: home, UID: os.Getuid()}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	return h
}

// Daemon is the service of this user's daemon with that home. The executable is the absolute path to pin.
func Daemon(h Host, executable, home string) *Service {
	s := &Service{host: h, spec: spec{verb: "daemon", executable: executable, home: home}}
	if h.OS == "darwin" {
		s.manager = &launchd{host: h, spec: s.spec}
	} else {
		s.manager = &systemd{host: h, spec: s.spec, unit: "claudemesh-daemon", user: true}
	}
	return s
}

// Broker is the service of a broker on this machine.
func Broker(h Host, executable string, o BrokerOptions) *Service {
	s := &Service{host: h, spec: spec{verb: "broker", executable: executable, broker: o}}
	s.manager = &systemd{host: h, spec: s.spec, unit: "claudemesh-broker"}
	return s
}

// Managed names the service manager that runs the daemon of that home ("systemd", "launchd"), or returns "". It looks at
// one file and asks nobody. A file that it may not read counts as one for this home: the manager may read it.
func Managed(h Host, home string) string {
	s := Daemon(h, "", home)
	text, err := s.installed()
	switch {
	case errors.Is(err, fs.ErrPermission):
	case err != nil, !strings.Contains(text, s.manager.serves()):
		return ""
	}
	return s.manager.name()
}

// Path is where the unit or plist is, or would be.
func (s *Service) Path() string { return s.manager.path() }

// Executable is the path that is pinned.
func (s *Service) Executable() string { return s.spec.executable }

// Verb is what it runs: "daemon" or "broker".
func (s *Service) Verb() string { return s.spec.verb }

// Manager is "systemd" or "launchd".
func (s *Service) Manager() string { return s.manager.name() }

// StatusCommand is what a person types to see what the manager says.
func (s *Service) StatusCommand() string { return s.manager.statusCommand() }

// LogCommand is what a person types to see what the service said.
func (s *Service) LogCommand() string { return s.manager.logCommand() }

// Returns says when a service that was stopped by hand runs again.
func (s *Service) Returns() string {
	switch {
	case s.spec.verb == "broker":
		return "when the machine starts"
	case s.host.Lingers():
		return "when the machine starts, or at your next login"
	}
	return "at your next login"
}

// Current tells whether the installed file is what Install would write now: the same executable, home and kind of unit. The
// environment is what is recorded.
func (s *Service) Current() (bool, error) {
	text, err := s.installed()
	if err != nil {
		return false, err
	}
	env, err := s.manager.recorded(text)
	if err != nil {
		return false, err
	}
	body, _, _ := s.read(text)
	return body == s.manager.render(env), nil
}

// Other tells whether a service of ours is installed that runs the daemon of another home: there is one for each user.
func (s *Service) Other() bool {
	text, err := s.installed()
	return err == nil && !strings.Contains(text, s.manager.serves())
}

// Start starts an installed service and returns when it runs.
func (s *Service) Start(ctx context.Context) error { return s.manager.start(ctx) }

// Stop stops it until Returns, and returns when it is gone.
func (s *Service) Stop(ctx context.Context) error { return s.manager.stop(ctx) }

// Restart starts it anew, with the executable that is in place now.
func (s *Service) Restart(ctx context.Context) error { return s.manager.restart(ctx) }

// Status asks the service manager.
func (s *Service) Status(ctx context.Context) (Status, error) {
	if _, err := s.installed(); errors.Is(err, ErrNotInstalled) {
		return Status{State: NotInstalled}, nil
	}
	return s.manager.status(ctx)
}

// installed returns the text of the file in place. It may be somebody else's.
func (s *Service) installed() (string, error) {
	b, err := os.ReadFile(s.manager.path())
	if errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotInstalled
	}
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(b), fileMark(s.spec.verb)) {
		return "", fmt.Errorf("%s: %w", s.manager.path(), ErrForeign)
	}
	return string(b), nil
}

// fileMark is in a comment at the top of every file that we write.
func fileMark(verb string) string {
	return "claudemesh " + verb + " install-service wrote this file"
}

// removeEmpty removes directories that hold nothing, from the innermost on, up to and without the end.
func removeEmpty(dir, end string) {
	for dir != end && strings.HasPrefix(dir, end) && os.Remove(dir) == nil {
		dir = filepath.Dir(dir)
	}
}
