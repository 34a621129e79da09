package service

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// upHint is how to have a daemon without a service.
const upHint = "claudemesh daemon up starts it in the background instead"

// Obstacle returns why the service cannot be installed here, or, unless by force, why it should not; nil means that nothing
// speaks against it.
func (s *Service) Obstacle(ctx context.Context, force bool) *Refusal {
	given, files := s.spec.executable+s.spec.home, ""
	for _, f := range s.spec.broker.Flags {
		if given += f.Value; f.File {
			files += f.Value
		}
	}
	if strings.ContainsAny(given, "\n\r\x00") || strings.Contains(files, "{{") {
		return &Refusal{Reason: "a path with line breaks or double braces in it cannot stand in a unit file", Hint: "move it", Final: true}
	}
	if !filepath.IsAbs(s.spec.executable) {
		return &Refusal{Reason: fmt.Sprintf("the executable's place is not known: %q is not an absolute path", s.spec.executable), Hint: "run claudemesh by its full path", Final: true}
	}
	if s.manager.name() == "systemd" && strings.ContainsAny(s.spec.executable, `"'\`) {
		return &Refusal{Reason: "systemd starts no executable with quotes or backslashes in its path: " + s.spec.executable, Hint: "move it", Final: true}
	}
	switch {
	case s.host.OS != "linux" && s.host.OS != "darwin":
		return &Refusal{Reason: "claudemesh knows no service manager of " + s.host.OS, Hint: upHint, Final: true}
	case s.spec.verb == "broker" && s.host.OS != "linux":
		return &Refusal{Reason: "the broker's service is for systemd, which runs on Linux only", Hint: "run claudemesh broker under a service manager of your choice", Final: true}
	}
	if r := s.host.foreign(); r != nil && !force {
		return r
	}
	if s.spec.verb == "broker" {
		if r := s.host.brokerObstacle(s.spec.executable); r != nil {
			return r
		}
	}
	return s.manager.obstacle(ctx)
}

// foreign recognises machines that live for one job only, on which a service is left behind or never started.
func (h Host) foreign() *Refusal {
	if name := ciEnvironment(os.Getenv); name != "" {
		return &Refusal{Reason: "this is a CI environment (" + name + " is set)", Hint: upHint + "; --force installs it all the same"}
	}
	if h.OS != "linux" {
		return nil
	}
	if kind := h.container(os.Getenv); kind != "" {
		return &Refusal{Reason: "this is a container (" + kind + ")", Hint: upHint + "; --force installs it all the same"}
	}
	return nil
}

func ciEnvironment(getenv func(string) string) string {
	for _, name := range []string{"CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD"} {
		if v := getenv(name); v != "" && v != "false" && v != "0" {
			return name
		}
	}
	return ""
}

// container names what marks this machine as a container. WSL is none: systemd there is the user's own.
func (h Host) container(getenv func(string) string) string {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(h.Root + mark); err == nil {
			return mark
		}
	}
	if b, err := os.ReadFile(h.Root + "/run/systemd/container"); err == nil {
		if kind := strings.TrimSpace(string(b)); kind != "" && kind != "wsl" {
			return kind
		}
	}
	if kind := getenv("container"); kind != "" && kind != "wsl" {
		return "container=" + kind
	}
	return ""
}

// brokerObstacle checks what its unit's hardening hides.
func (h Host) brokerObstacle(executable string) *Refusal {
	if h.UID != 0 {
		return &Refusal{Reason: "a system service takes root", Hint: "sudo claudemesh broker install-service", Final: true}
	}
	for _, hidden := range []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"} {
		if strings.HasPrefix(executable, hidden) {
			return &Refusal{Reason: fmt.Sprintf("the broker's unit cannot see %s", executable),
				Hint: "sudo install claudemesh /usr/local/bin/, then run it from there", Final: true}
		}
	}
	return nil
}

func (m *systemd) obstacle(ctx context.Context) *Refusal {
	if _, err := os.Stat(m.host.Root + "/run/systemd/system"); err != nil {
		return &Refusal{Reason: "systemd does not run this machine (/run/systemd/system is missing)", Hint: upHint, Final: true}
	}
	if !m.user {
		return nil
	}
	// Any property will do: it is the connection that is in question.
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := m.systemctl(ctx, "show", "--property", "Version")
	if err == nil {
		return nil
	}
	r := &Refusal{Reason: "your systemd user manager does not answer: " + err.Error(), Final: true,
		Hint: "log in as this user (su and sudo start no user manager), or: sudo loginctl enable-linger " + m.host.User}
	dir := fmt.Sprintf("/run/user/%d", m.host.UID)
	if _, err := os.Stat(m.host.Root + dir + "/systemd/private"); err == nil && os.Getenv("XDG_RUNTIME_DIR") == "" {
		r.Hint = "it runs, but XDG_RUNTIME_DIR is not set: export XDG_RUNTIME_DIR=" + dir
	}
	return r
}

// A directory of a path that is named after a version: claudemesh-1.2.3, v2.0.1, 1.4.0_1, a store's hash before a name.
var versioned = regexp.MustCompile(`^(.*[-_@])?v?\d+\.\d+(\.\d+)?([-_+].*)?$|^[0-9a-z]{32}-`)

// placeWarnings says what speaks against starting the executable from where it is.
func placeWarnings(executable string) []string {
	dir := filepath.Dir(executable)
	for _, tmp := range []string{os.TempDir(), "/tmp", "/var/tmp", "/private/tmp", "/private/var/folders", "/dev/shm"} {
		if dir == tmp || strings.HasPrefix(dir, strings.TrimRight(tmp, "/")+"/") {
			return []string{fmt.Sprintf("%s is in a temporary directory, which is emptied: move the binary to a lasting place and install again", executable)}
		}
	}
	for _, part := range strings.Split(dir, "/") {
		if part == "go-build" || part == "_npx" || part == ".cache" {
			return []string{fmt.Sprintf("%s is in a cache, which is emptied: move the binary to a lasting place and install again", executable)}
		}
		if versioned.MatchString(part) {
			return []string{fmt.Sprintf("%s is in a directory of one version (%s): after an upgrade, install the service again", executable, part)}
		}
	}
	return nil
}
