package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// launchd needs a moment after bootout before it takes the same label again, and says that with an I/O error.
const (
	settleTimeout = 10 * time.Second
	settleEvery   = 100 * time.Millisecond
)

// launchd runs a LaunchAgent of the user's graphical session.
type launchd struct {
	host Host
	spec spec
}

func (m *launchd) name() string { return "launchd" }

func (m *launchd) paths(Environment) []string { return []string{m.path()} }

func (m *launchd) comment(words string) string {
	return "<!-- " + strings.ReplaceAll(words, "--", "- -") + " -->\n"
}

func (m *launchd) uncomment(line string) string {
	words, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "<!-- ")
	if words, closed := strings.CutSuffix(words, " -->"); ok && closed {
		return words
	}
	return ""
}

func (m *launchd) path() string {
	return filepath.Join(m.host.Home, "Library", "LaunchAgents", launchdLabel+".plist")
}

func (m *launchd) render(env Environment) string { return renderPlist(m.spec, env) }
func (m *launchd) serves() string                { return homeEntry(m.spec.home) }

func (m *launchd) domain() string { return "gui/" + strconv.Itoa(m.host.UID) }
func (m *launchd) target() string { return m.domain() + "/" + launchdLabel }

func (m *launchd) logCommand() string { return "tail " + logFile(m.spec.home) }

func (m *launchd) statusCommand() string { return "launchctl print " + m.target() }

func (m *launchd) obstacle(ctx context.Context) *Refusal {
	if _, err := ask(ctx, "launchctl", "print", m.domain()); err != nil {
		return &Refusal{Reason: "launchd has no session of yours: " + err.Error(), Hint: "log in at the Mac itself first; ssh alone creates no launchd session", Final: true}
	}
	return nil
}

// place writes the plist, under another name first, so that launchd never reads a half. A label that was disabled by hand
// is enabled again: whoever installs it wants it.
func (m *launchd) place(ctx context.Context, text string, _ Environment) error {
	if err := os.MkdirAll(filepath.Dir(m.path()), 0o700); err != nil {
		return err
	}
	if err := writePrivate(m.path(), []byte(text)); err != nil {
		return err
	}
	_, err := output(ctx, "launchctl", "enable", m.target())
	return err
}

func (m *launchd) swap(ctx context.Context, text string, env Environment) error {
	return m.place(ctx, text, env)
}

// remove takes the plist away. That launchd forgets the label is the part of stop, which Uninstall calls before, and of
// restart, which an upgrade calls after.
func (m *launchd) remove(context.Context) error {
	for _, p := range []string{m.path(), m.path() + ".new"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// start loads the agent, which starts it, or starts a loaded one.
func (m *launchd) start(ctx context.Context) error {
	if m.loaded(ctx) {
		_, err := output(ctx, "launchctl", "kickstart", m.target())
		return err
	}
	return m.bootstrap(ctx)
}

func (m *launchd) loaded(ctx context.Context) bool {
	_, err := ask(ctx, "launchctl", "print", m.target())
	return err == nil
}

// bootstrap loads the plist, more than once while launchd still clears away an earlier load.
func (m *launchd) bootstrap(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for {
		_, err := output(ctx, "launchctl", "bootstrap", m.domain(), m.path())
		if err == nil || !strings.Contains(err.Error(), "Input/output error") || !pause(ctx) {
			return err
		}
	}
}

// stop unloads the agent, because KeepAlive brings back what is only killed, and returns when launchd forgot it.
func (m *launchd) stop(ctx context.Context) error {
	if !m.loaded(ctx) {
		return nil
	}
	_, err := output(ctx, "launchctl", "bootout", m.target())
	if err != nil && !strings.Contains(err.Error(), "Operation now in progress") {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout+20*time.Second) // ExitTimeOut
	defer cancel()
	for m.loaded(ctx) {
		if !pause(ctx) {
			return fmt.Errorf("launchd still runs %s", launchdLabel)
		}
	}
	return nil
}

// restart loads the plist anew: kickstart -k would keep what launchd knows of the old one.
func (m *launchd) restart(ctx context.Context) error {
	if err := m.stop(ctx); err != nil {
		return err
	}
	return m.bootstrap(ctx)
}

func (m *launchd) status(ctx context.Context) (Status, error) {
	out, err := ask(ctx, "launchctl", "print", m.target())
	if err != nil {
		return Status{State: Stopped, Detail: "not loaded"}, ctx.Err()
	}
	st := readPrint(out)
	if st.failing {
		st.add(lastLine(logFile(m.spec.home)))
	}
	return st.Status, nil
}

// lastLine returns the last line of a file that has one within its last 4 KiB.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 4 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else it is read from its beginning, and cut
	}
	b, _ := io.ReadAll(io.LimitReader(f, most)) // a part is better than nothing
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// readPrint turns what `launchctl print` says of a service into a status. Only the service's own fields count, not those of
// the blocks in it, which are indented twice.
func readPrint(out string) seen {
	p := map[string]string{}
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "\t\t") {
			continue
		}
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " = "); ok {
			p[k] = v
		}
	}
	st := seen{Status: Status{Detail: p["state"]}}
	st.PID, _ = strconv.Atoi(p["pid"]) // 0 where none runs
	last, exited := p["last exit code"]
	exited = exited && !strings.Contains(last, "never exited")
	bad := exited && last != "0" && !strings.HasPrefix(last, "0:")
	switch {
	case p["state"] == "running":
		st.State = Running
	case strings.HasPrefix(p["state"], "spawn"), p["state"] == "waiting":
		st.State = Starting
	case bad:
		st.State = Failed
	default:
		st.State = Stopped
	}
	if bad {
		st.failing = st.State != Running
		st.Detail += ", last exit code " + last
	}
	if n := p["runs"]; n != "" && n != "1" && n != "0" {
		st.Detail += ", started " + n + " times"
	}
	return st
}

// pause waits for settleEvery between two looks; false means that ctx ended.
func pause(ctx context.Context) bool {
	t := time.NewTimer(settleEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
