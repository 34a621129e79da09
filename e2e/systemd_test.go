//go:build e2e && systemd

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const aliceHome = "/home/alice/.claudemesh"

// verb runs claudemesh in the lab as alice.
func (l *lab) verb(args ...string) result {
	l.t.Helper()
	return l.result(l.alice(append([]string{"claudemesh"}, args...)...))
}

func (l *lab) result(cmd *exec.Cmd) result {
	l.t.Helper()
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String(), took: time.Since(began)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// bob runs claudemesh in another home of the same user, which has no service and a daemon of its own.
func (l *lab) bob(args ...string) result {
	l.t.Helper()
	return l.result(l.alice(append([]string{"env", "CLAUDEMESH_CONFIG_DIR=/home/alice/bob", "claudemesh"}, args...)...))
}

// link invites somebody into alice's mesh.
func (l *lab) link() string {
	l.t.Helper()
	for word := range strings.FieldsSeq(l.must(l.alice("claudemesh", "invite"))) {
		if strings.HasPrefix(word, "ic://join/") {
			return word
		}
	}
	l.t.Fatal("no link")
	return ""
}

// want runs a verb that must end with the code and say the words, on whichever stream.
func (l *lab) want(code int, words []string, args ...string) result {
	l.t.Helper()
	r := l.verb(args...)
	l.t.Logf("$ claudemesh %s   (exit %d, %s)\n%s%s", strings.Join(args, " "), r.code, r.took.Round(time.Millisecond), r.out, r.err)
	if r.code != code {
		l.t.Fatalf("exit %d, want %d", r.code, code)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			l.t.Errorf("it does not say %q", w)
		}
	}
	return r
}

// daemon returns alice's running daemon's process id, 0 where none answers.
func (l *lab) daemon() int {
	var st struct{ PID int }
	_ = json.Unmarshal([]byte(l.verb("daemon", "status", "--json").out), &st)
	return st.PID
}

func (l *lab) property(name string) string {
	return strings.TrimSpace(l.must(l.alice("systemctl", "--user", "show", "--value", "--property", name, "claudemesh-daemon")))
}

// login opens a session of alice's as sshd does, through PAM and logind; logout ends it.
func (l *lab) login() {
	l.must(l.root("systemd-run", "--quiet", "--unit=alice-session", "--property=User=alice", "--property=PAMName=login", "sleep", "infinity"))
	eventually(l.t, "alice's manager is up", func() bool {
		return l.alice("systemctl", "--user", "show", "--property", "Version").Run() == nil
	})
}

func (l *lab) logout() {
	l.must(l.root("systemctl", "stop", "alice-session"))
	eventually(l.t, "alice has no session any more", func() bool {
		out, _ := l.root("loginctl", "--no-legend", "list-sessions").Output()
		return !strings.Contains(string(out), "alice")
	})
}

// manager tells whether alice's user manager runs.
func (l *lab) manager() bool {
	return l.root("systemctl", "is-active", "--quiet", "user@"+strconv.Itoa(labAlice)).Run() == nil
}

// files lists what alice has beside her daemon's home and what her shell and manager keep for themselves.
func (l *lab) files() string {
	return l.must(l.alice("sh", "-c", "find $HOME -path $HOME/.claudemesh -prune -o -print | sort; ls /var/lib/systemd/linger 2>/dev/null; true"))
}

func TestServiceUnderSystemd(t *testing.T) {
	l := bootLab(t)
	before := l.files()
	l.want(1, []string{"user manager does not answer", "enable-linger alice"}, "daemon", "install-service", "--force")
	l.login()
	l.want(7, []string{"container", "--force", "daemon up"}, "daemon", "install-service")
	if got := l.files(); got != before {
		t.Fatalf("a refusal left something behind:\n%s", got)
	}

	// Over a daemon that runs already, started by a verb.
	l.want(0, nil, "daemon", "up")
	loose := l.daemon()
	l.want(0, []string{"made room", "systemd runs the daemon", "/usr/local/bin/claudemesh", "without lingering", "at your next login"}, "daemon", "install-service", "--force")
	first := l.daemon()
	if first == 0 || first == loose || strconv.Itoa(first) != l.property("MainPID") {
		t.Fatalf("daemon %d, before %d, the unit's %s", first, loose, l.property("MainPID"))
	}
	if got := l.property("StatusText"); !strings.Contains(got, "daemon.sock") {
		t.Errorf("the unit's status is %q", got)
	}
	l.want(0, []string{"under systemd"}, "daemon", "status")
	l.want(0, []string{`"managed_by": "systemd"`}, "daemon", "status", "--json")
	if out := l.must(l.alice("systemd-analyze", "--user", "verify", "--man=no", "/home/alice/.config/systemd/user/claudemesh-daemon.service")); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	l.hardened(first)

	l.comesBack(first)
	l.watched()
	l.stopsAndWaits()
	l.remembersProxy()
	l.followsUpgrade()
	l.lingers()

	l.want(0, []string{"stopped and removed"}, "daemon", "uninstall-service")
	if got := l.files(); got != before {
		t.Errorf("uninstall left something behind:\n%s", got)
	}
	if got := l.property("LoadState"); got != "not-found" {
		t.Errorf("systemd still knows the unit: %s", got)
	}
	if out := l.must(l.alice("systemctl", "--user", "--no-legend", "list-units", "--all", "--failed")); strings.Contains(out, "claudemesh") {
		t.Errorf("failed units: %s", out)
	}
	l.want(0, []string{"no service was installed"}, "daemon", "uninstall-service")
	l.want(0, nil, "daemon", "up") // and without a unit verbs start it again
}

// hardened checks on the process itself that the unit's restrictions hold.
func (l *lab) hardened(pid int) {
	l.t.Helper()
	status := l.must(l.root("cat", fmt.Sprintf("/proc/%d/status", pid)))
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "Umask:\t0077"} {
		if !strings.Contains(status, want) {
			l.t.Errorf("the daemon's process has not %q", want)
		}
	}
}

// comesBack kills the daemon: systemd starts it again, and a verb that comes in between waits for it.
func (l *lab) comesBack(first int) {
	l.t.Helper()
	l.must(l.root("kill", "-KILL", strconv.Itoa(first)))
	l.want(0, nil, "mesh", "list")
	second := l.daemon()
	if second == 0 || second == first || l.property("NRestarts") != "1" {
		l.t.Fatalf("daemon %d, restarted %s times", second, l.property("NRestarts"))
	}
}

// watched stops the daemon's process in its tracks: the watchdog, quicker here than in the unit, replaces it. One that works
// is left alone. What the user put beside the unit counts, and stays.
func (l *lab) watched() {
	l.t.Helper()
	const dropIn = "/home/alice/.config/systemd/user/claudemesh-daemon.service.d"
	l.must(l.alice("sh", "-c", "mkdir $0 && printf '[Service]\\nWatchdogSec=1\\nTimeoutAbortSec=1\\n' >$0/quick.conf && systemctl --user daemon-reload && systemctl --user restart claudemesh-daemon", dropIn))
	before := l.daemon()
	l.must(l.alice("sleep", "3"))
	if now := l.daemon(); now != before {
		l.t.Errorf("the watchdog replaced a daemon that works: %d, before %d", now, before)
	}
	l.must(l.root("kill", "-STOP", strconv.Itoa(before)))
	eventually(l.t, "the watchdog replaces a daemon that hangs", func() bool { return l.property("MainPID") != strconv.Itoa(before) && l.daemon() != 0 })
	l.must(l.alice("sh", "-c", "rm -r $0 && systemctl --user daemon-reload && systemctl --user restart claudemesh-daemon", dropIn))
}

// stopsAndWaits stops the unit: nothing starts another daemon, verbs wait 8 s and say what is the matter.
func (l *lab) stopsAndWaits() {
	l.t.Helper()
	l.want(0, []string{"daemon stopped", "at your next login", "daemon up"}, "daemon", "down")
	l.want(4, []string{"inactive (dead)", "systemctl --user status claudemesh-daemon"}, "daemon", "status")
	r := l.want(4, []string{"service-not-ready", "the service is stopped", "claudemesh daemon up"}, "peers")
	if r.took < 8*time.Second || r.took > 11*time.Second {
		l.t.Errorf("waited %s, want 8 s", r.took)
	}
	if out := l.must(l.root("sh", "-c", "pgrep -u alice -x claudemesh || true")); out != "" {
		l.t.Errorf("something started a daemon: %s", out)
	}
	// A verb that waits while the unit comes up is served.
	waiting := l.alice("claudemesh", "mesh", "list")
	if err := waiting.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.want(0, []string{"running under systemd"}, "daemon", "up")
	if err := waiting.Wait(); err != nil {
		l.t.Errorf("the verb that waited: %v", err)
	}
	// A unit that cannot start is not the same as one that was stopped.
	l.want(0, nil, "daemon", "down")
	l.must(l.root("chmod", "000", "/usr/local/bin/claudemesh"))
	l.must(l.root("cp", "--preserve=timestamps", "/usr/local/bin/claudemesh", "/usr/local/bin/other"))
	l.must(l.root("chmod", "755", "/usr/local/bin/other"))
	l.result(l.alice("systemctl", "--user", "start", "claudemesh-daemon"))
	r = l.result(l.alice("other", "daemon", "status"))
	if r.code != 4 || !strings.Contains(r.err, "exit code 203") && !strings.Contains(r.err, "exit-code") {
		l.t.Errorf("exit %d: %s", r.code, r.err)
	}
	l.must(l.root("chmod", "755", "/usr/local/bin/claudemesh"))
	l.must(l.root("rm", "/usr/local/bin/other"))
	l.want(0, nil, "daemon", "up")
}

// remembersProxy installs the service from a shell behind a proxy: the daemon has what the shell had, nobody else may read
// it, and the next installation from a shell without takes it away.
func (l *lab) remembersProxy() {
	l.t.Helper()
	const dropIn = "/home/alice/.config/systemd/user/claudemesh-daemon.service.d/10-claudemesh-environment.conf"
	const proxy = "http://alice:s3%20cret$x@proxy.test:3128"
	r := l.result(l.alice("env", "HTTPS_PROXY="+proxy, "no_proxy=.corp.test", "claudemesh", "daemon", "install-service", "--force"))
	if r.code != 0 || !strings.Contains(r.out, "HTTPS_PROXY=http://***@proxy.test:3128") || strings.Contains(r.out+r.err, "cret") {
		l.t.Fatalf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if mode := strings.TrimSpace(l.must(l.root("stat", "-c", "%a", dropIn))); mode != "600" {
		l.t.Errorf("mode %s", mode)
	}
	environ := l.must(l.root("cat", fmt.Sprintf("/proc/%d/environ", l.daemon())))
	if !strings.Contains(environ, "HTTPS_PROXY="+proxy+"\x00") || !strings.Contains(environ, "NO_PROXY=.corp.test\x00") {
		l.t.Errorf("the daemon's environment is %q", environ)
	}
	l.want(0, []string{"network: the daemon has HTTPS_PROXY=http://***@proxy.test:3128 NO_PROXY=.corp.test"}, "doctor")
	l.want(0, []string{"HTTPS_PROXY=http://***@proxy.test:3128, which this shell has not"}, "daemon", "install-service", "--force")
	l.want(0, []string{"network: the daemon has no proxy"}, "doctor")
	if r := l.result(l.alice("ls", filepath.Dir(dropIn))); r.code == 0 {
		l.t.Errorf("left behind: %s", r.out)
	}
}

// followsUpgrade puts another build in place: the idle daemon takes it over by itself, in the same process; installing the
// service again does it at once.
func (l *lab) followsUpgrade() {
	l.t.Helper()
	old, restarts := l.daemon(), l.property("NRestarts")
	build := func() string {
		var st struct{ Health struct{ Build string } }
		_ = json.Unmarshal([]byte(l.verb("daemon", "status", "--json").out), &st)
		return st.Health.Build
	}
	was := build()
	newer := filepath.Join(tempDir(l.t), "claudemesh")
	cmd := exec.Command("go", "build", "-ldflags", "-X github.com/claudemesh/claudemesh/cli.release=9.9.9", "-o", newer, "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("build: %v\n%s", err, out)
	}
	l.put(newer, "/usr/local/bin/claudemesh")
	l.want(0, []string{"another build"}, "mesh", "list")
	eventually(l.t, "the idle daemon follows the upgrade", func() bool { b := build(); return b != "" && b != was })
	if now := l.daemon(); now != old || l.property("NRestarts") != restarts || strconv.Itoa(now) != l.property("MainPID") {
		l.t.Errorf("daemon %d, before %d, the unit's %s, restarted %s times", now, old, l.property("MainPID"), l.property("NRestarts"))
	}
	l.want(0, []string{"9.9.9"}, "daemon", "status")

	l.put(bin, "/usr/local/bin/claudemesh")
	l.want(0, []string{"service replaced"}, "daemon", "install-service", "--force")
	if b := build(); b != was && l.daemon() == old {
		l.t.Errorf("build %s after the service was installed again", b)
	}
	if r := l.verb("mesh", "list"); strings.Contains(r.err, "another build") {
		l.t.Errorf("still skewed: %s", r.err)
	}
}

// lingers ends alice's last login with lingering off and on.
func (l *lab) lingers() {
	l.t.Helper()
	running := func() bool {
		return l.must(l.root("sh", "-c", "pgrep -u alice -x claudemesh || true")) != ""
	}
	l.logout()
	eventually(l.t, "without lingering her manager ends with her session", func() bool { return !l.manager() })
	if running() {
		l.t.Error("the daemon runs on after logout, without lingering")
	}
	l.login()
	eventually(l.t, "the next login starts it", func() bool { return l.daemon() != 0 })
	l.want(0, []string{"when the machine starts"}, "daemon", "install-service", "--force", "--linger")
	l.logout()
	if !l.manager() || !running() || l.daemon() == 0 {
		l.t.Error("with lingering, the daemon is gone after logout")
	}
	l.login()
}

func TestBrokerUnderSystemd(t *testing.T) {
	l := bootLab(t)
	broker := func(args ...string) result {
		return l.result(l.root(append([]string{"claudemesh", "broker"}, args...)...))
	}
	if r := l.verb("broker", "install-service", "--force"); r.code != 1 || !strings.Contains(r.err, "takes root") {
		t.Errorf("as alice: exit %d, %s", r.code, r.err)
	}
	r := broker("install-service", "--force", "--metrics", "127.0.0.1:7901")
	t.Logf("%s%s", r.out, r.err)
	if r.code != 0 || !strings.Contains(r.out, "systemd runs the broker") {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, l.must(l.root("journalctl", "--no-pager", "-u", "claudemesh-broker")))
	}
	pid := func() string {
		return strings.TrimSpace(l.must(l.root("systemctl", "show", "--value", "--property", "MainPID", "claudemesh-broker")))
	}
	if user := l.must(l.root("ps", "-o", "user=", "-p", pid())); strings.HasPrefix(user, "root") {
		t.Error("the broker runs as root")
	}
	security := l.must(l.root("systemd-analyze", "security", "--no-pager", "claudemesh-broker"))
	score := strings.TrimSpace(security[strings.LastIndex(security, "Overall"):])
	t.Log(score)
	if exposure, err := strconv.ParseFloat(strings.Fields(score)[5], 64); err != nil || exposure > 1.2 {
		t.Errorf("more exposed than it was:\n%s", security)
	}

	// A mesh, a message, and the broker killed in between.
	token := "/var/lib/claudemesh/admin-token"
	l.login()
	l.must(l.root("install", "-o", "alice", "-m", "600", token, "/home/alice/token"))
	l.want(0, nil, "create", "acme", "--broker", "127.0.0.1:7900", "--name", "alice", "--token-file", "/home/alice/token")
	if r := l.bob("join", l.link(), "--name", "bob"); r.code != 0 {
		t.Fatalf("bob joins: exit %d, %s", r.code, r.err)
	}
	first := pid()
	l.must(l.root("kill", "-KILL", first))
	eventually(t, "systemd restarts the broker", func() bool { p := pid(); return p != "0" && p != first })
	l.want(0, []string{"broker connected (mesh=acme)"}, "daemon", "install-service", "--force", "--require-broker")
	l.want(0, []string{"delivered to bob"}, "send", "bob", "the broker is back", "--wait", "20s", "--require", "delivered")
	if r := l.bob("inbox"); r.code != 0 || !strings.Contains(r.out, "the broker is back") {
		t.Errorf("bob's inbox: exit %d, %s%s", r.code, r.out, r.err)
	}
	if r := l.bob("daemon", "install-service", "--force"); r.code != 6 || !strings.Contains(r.err, "another directory") {
		t.Errorf("a second service: exit %d, %s", r.code, r.err)
	}
	if r := l.bob("daemon", "down"); r.code != 0 || l.daemon() == 0 {
		t.Errorf("bob's daemon goes down alone: exit %d, %s", r.code, r.err)
	}

	// Stopped: the daemon's service goes on, and says what is in the way.
	l.must(l.root("systemctl", "stop", "claudemesh-broker"))
	l.want(4, []string{"warning: acme is still", "nobody listens on 127.0.0.1:7900", "start the broker"}, "daemon", "install-service", "--force", "--require-broker")

	// With other flags, over the old one: a low port takes one capability.
	if r := broker("install-service", "--force", "--listen", "127.0.0.1:80"); r.code != 0 {
		t.Errorf("low port: exit %d, %s\n%s", r.code, r.err, l.must(l.root("journalctl", "--no-pager", "-u", "claudemesh-broker")))
	}
	// With a file that only root reads, and what systemd is told.
	l.must(l.root("sh", "-c", "umask 077 && printf 'limit = rate=51\\n' > /etc/relay.conf"))
	if r := broker("install-service", "--force", "--config", "/etc/relay.conf"); r.code != 0 {
		t.Errorf("with a file: exit %d, %s\n%s", r.code, r.err, l.must(l.root("journalctl", "--no-pager", "-u", "claudemesh-broker")))
	}
	if r := broker("limits", "--data", "/var/lib/claudemesh"); !strings.Contains(r.out, "51") {
		t.Errorf("limits: %s%s", r.out, r.err)
	}
	if show := l.must(l.root("systemctl", "show", "--property", "WatchdogTimestampMonotonic,StatusText", "claudemesh-broker")); strings.Contains(show, "Monotonic=0\n") || !strings.Contains(show, "listens on") {
		t.Errorf("systemd knows %s", show)
	}
	if r := broker("uninstall-service"); r.code != 0 || !strings.Contains(r.out+r.err, "/var/lib/claudemesh") {
		t.Errorf("uninstall: exit %d, %s%s", r.code, r.out, r.err)
	}
	if left := l.must(l.root("sh", "-c", "find /etc/systemd -name 'claudemesh*'; systemctl --no-legend list-units --all 'claudemesh*'; test -e "+token)); left != "" {
		t.Errorf("left behind: %s", left)
	}
}
