package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// journalTries bounds the wait for what a service said last: the journal hears of it a moment after its end.
const journalTries = 5

// systemd runs a unit of the user's manager, or of the system's.
type systemd struct {
	host Host
	spec spec
	unit string // without .service
	user bool
}

func (m *systemd) name() string { return "systemd" }

// dir is where the manager looks for units that were made by hand.
func (m *systemd) dir() string {
	if m.user {
		return filepath.Join(m.host.Home, ".config", "systemd", "user")
	}
	return "/etc/systemd/system"
}

func (m *systemd) path() string { return filepath.Join(m.dir(), m.unit+".service") }

// paths count the link that enables the unit: systemctl leaves its directory.
func (m *systemd) paths(env Environment) []string {
	wants := "multi-user.target.wants"
	if m.user {
		wants = "default.target.wants"
	}
	paths := []string{m.path(), filepath.Join(m.dir(), wants, m.unit+".service")}
	if len(env) > 0 {
		paths = append(paths, m.dropIn())
	}
	return paths
}

func (m *systemd) comment(words string) string { return "# " + words + "\n" }

func (m *systemd) uncomment(line string) string {
	words, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "# ")
	if !ok {
		return ""
	}
	return words
}

// render needs no environment: that is in the drop-in.
func (m *systemd) render(Environment) string {
	if m.user {
		return renderDaemonUnit(m.spec)
	}
	return renderBrokerUnit(m.spec)
}

func (m *systemd) serves() string {
	if m.user {
		return homeLine(m.spec.home)
	}
	return ""
}

// place writes the environment first: systemd reads both when the unit is put in place.
func (m *systemd) place(_ context.Context, text string, env Environment) error {
	if err := m.placeEnvironment(env); err != nil {
		return err
	}
	return m.kardianosInstall(text)
}

// swap leaves the link by which the unit is enabled: whether the manager answers or not, the unit stays in force.
func (m *systemd) swap(ctx context.Context, text string, env Environment) error {
	err := errors.Join(m.placeEnvironment(env), writeNew(m.path(), []byte(text), 0o644))
	if err != nil {
		return err
	}
	if enabled, _ := filepath.Glob(filepath.Join(m.dir(), "*.wants", m.unit+".service")); len(enabled) == 0 {
		_, err = m.systemctl(ctx, "enable", m.unit)
	}
	_, reload := m.systemctl(ctx, "daemon-reload")
	return errors.Join(err, reload)
}

// remove undoes place, and half of it as well.
func (m *systemd) remove(ctx context.Context) error {
	if err := m.removeEnvironment(); err != nil {
		return err
	}
	disabled := m.kardianosUninstall()
	if err := os.Remove(m.path()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(disabled, err)
	}
	if disabled == nil {
		return nil
	}
	// The manager did not answer, so the links are ours to remove; it reads the directory anew when it starts.
	if err := m.unlink(); err != nil {
		return errors.Join(disabled, err)
	}
	return nil
}

// unlink removes the links by which the unit is enabled.
func (m *systemd) unlink() error {
	links, err := filepath.Glob(filepath.Join(m.dir(), "*.wants", m.unit+".service"))
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := os.Remove(l); err != nil {
			return err
		}
		removeEmpty(filepath.Dir(l), m.dir())
	}
	return nil
}

// start forgets earlier failures: whoever starts it by hand has mended them.
func (m *systemd) start(ctx context.Context) error {
	_, _ = m.systemctl(ctx, "reset-failed", m.unit) // fails where there is nothing to forget
	return m.act(ctx, "start")
}

func (m *systemd) restart(ctx context.Context) error {
	_, _ = m.systemctl(ctx, "reset-failed", m.unit)
	return m.act(ctx, "restart")
}

func (m *systemd) stop(ctx context.Context) error {
	if _, err := m.systemctl(ctx, "stop", m.unit); err != nil {
		return err
	}
	_, _ = m.systemctl(ctx, "reset-failed", m.unit) // so that an uninstalled unit leaves no failed one in the lists
	return nil
}

// act runs a verb that returns when the unit has told that it is ready, and adds the unit's own words to its failure.
func (m *systemd) act(ctx context.Context, verb string) error {
	_, err := m.systemctl(ctx, verb, m.unit)
	if err == nil {
		return nil
	}
	if st, serr := m.status(ctx); serr == nil && st.Detail != "" {
		return fmt.Errorf("%s: %s", m.unit, st.Detail)
	}
	return err
}

func (m *systemd) systemctl(ctx context.Context, args ...string) (string, error) {
	if m.user {
		args = append([]string{"--user"}, args...)
	}
	return output(ctx, "systemctl", append([]string{"--no-ask-password"}, args...)...)
}

func (m *systemd) statusCommand() string {
	if m.user {
		return "systemctl --user status " + m.unit
	}
	return "systemctl status " + m.unit
}

func (m *systemd) logCommand() string {
	if m.user {
		return "journalctl --user --unit " + m.unit
	}
	return "journalctl --unit " + m.unit
}

func (m *systemd) status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := m.systemctl(ctx, "show", "--property", "LoadState,ActiveState,SubState,Result,MainPID,ExecMainCode,ExecMainStatus,StatusText,NRestarts,UnitFileState", m.unit)
	if err != nil {
		return Status{}, err
	}
	st := readShow(out)
	for i := 0; st.failing && i < journalTries; i++ {
		if words := m.lastWords(ctx); words != "" {
			st.add(words)
			break
		}
		if !pause(ctx) {
			break
		}
	}
	return st.Status, nil
}

// lastWords is the last line that the service printed, which nearly always says why it ended. Where there is no journal, or
// not for this user, there are none.
func (m *systemd) lastWords(ctx context.Context) string {
	unit := "--unit=" + m.unit
	if m.user {
		unit = "--user-unit=" + m.unit
	}
	out, err := output(ctx, "journalctl", unit, "--lines=1", "--output=cat", "--no-pager", "--quiet", "_TRANSPORT=stdout")
	if err != nil {
		return ""
	}
	return out
}

// seen is a status as it was read, and whether the service ended badly.
type seen struct {
	Status
	failing bool
}

// add appends what the service itself said to what its manager says.
func (s *seen) add(words string) {
	words = strings.TrimPrefix(strings.Join(strings.Fields(words), " "), "claudemesh: ")
	if words != "" {
		s.Detail += "; it said: " + words
	}
}

// readShow turns the properties of `systemctl show` into a status.
func readShow(out string) seen {
	p := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			p[k] = v
		}
	}
	st := seen{Status: Status{Detail: p["ActiveState"] + " (" + p["SubState"] + ")"}}
	st.PID, _ = strconv.Atoi(p["MainPID"]) // 0 where none runs
	switch p["ActiveState"] {
	case "active", "reloading":
		st.State = Running
	case "activating":
		st.State = Starting
	case "failed":
		st.State = Failed
	default:
		st.State = Stopped
	}
	if p["LoadState"] == "not-found" || p["LoadState"] == "bad-setting" || p["LoadState"] == "masked" {
		st.Detail += ", " + p["LoadState"]
	}
	if r := p["Result"]; r != "" && r != "success" {
		st.failing = st.State != Running
		st.Detail += ", " + r
	}
	if code := p["ExecMainStatus"]; code != "" && code != "0" {
		kind := map[string]string{"2": "signal", "3": "signal"}[p["ExecMainCode"]] // CLD_KILLED, CLD_DUMPED
		if kind == "" {
			kind = "exit code"
		}
		st.Detail += ", last " + kind + " " + code
	}
	if n := p["NRestarts"]; n != "" && n != "0" {
		st.Detail += ", restarted " + n + " times"
	}
	if p["StatusText"] != "" && st.PID != 0 { // systemd keeps the last words of a process that ended
		st.Detail += ": " + p["StatusText"]
	}
	return st
}
