//go:build unix

package service

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the programs of service managers when it is called by their names. What they are told, and what they
// remember, is in the directory that FAKE_DIR names.
func TestMain(m *testing.M) {
	fake := map[string]func([]string) error{"systemctl": fakeSystemctl, "loginctl": fakeLoginctl, "launchctl": fakeLaunchctl, "journalctl": fakeJournalctl, "launchd": playLaunchd, "agent": playAgent}
	play, ok := fake[filepath.Base(os.Args[0])]
	if !ok {
		os.Exit(m.Run())
	}
	name := filepath.Base(os.Args[0])
	if strings.HasSuffix(name, "ctl") {
		appendFile(fakePath("calls"), name+" "+strings.Join(os.Args[1:], " ")+"\n")
	}
	if err := play(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func fakePath(name string) string { return filepath.Join(os.Getenv("FAKE_DIR"), name) }

func appendFile(path, s string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(s); err != nil {
		panic(err)
	}
}

// machine is a host with fake managers, of one test. The home has a space in it.
type machine struct {
	t    *testing.T
	host Host
	fake string
}

func newMachine(t *testing.T, system string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, fake: filepath.Join(dir, "fake"), host: Host{OS: system, Root: filepath.Join(dir, "root"), Home: filepath.Join(dir, "alice b"), UID: 1000, User: "alice"}}
	for _, d := range []string{m.fake, filepath.Join(dir, "bin"), m.host.Root + "/run/systemd/system", m.host.Root + "/var/lib/systemd/linger", m.host.Home} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"systemctl", "loginctl", "launchctl", "journalctl", "launchd", "agent"} {
		if err := os.Symlink(self, filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", filepath.Join(dir, "bin"))
	t.Setenv("HOME", m.host.Home)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else each fake of a race build takes a second to end
	t.Setenv("FAKE_DIR", m.fake)
	t.Setenv("FAKE_LINGER", m.host.Root+"/var/lib/systemd/linger")
	for _, e := range []string{"CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD", "container"} {
		t.Setenv(e, "")
	}
	return m
}

func (m *machine) home() string { return filepath.Join(m.host.Home, ".claudemesh") }

func (m *machine) daemon() *Service { return Daemon(m.host, "/opt/claude mesh/claudemesh", m.home()) }

// calls returns what the managers were told since the last time.
func (m *machine) calls() string {
	b, _ := os.ReadFile(filepath.Join(m.fake, "calls"))
	os.Remove(filepath.Join(m.fake, "calls"))
	return string(b)
}

// set puts a word where the fakes look for it: fail, for a verb that should fail; state, for what systemctl show says.
func (m *machine) set(name, word string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.fake, name), []byte(word), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// files lists everything below the user's home.
func (m *machine) files() string {
	var all []string
	filepath.WalkDir(m.host.Home, func(p string, _ os.DirEntry, _ error) error {
		rel, _ := filepath.Rel(m.host.Home, p)
		all = append(all, rel)
		return nil
	})
	return strings.Join(all, "\n")
}

func failing(verb string) error {
	b, _ := os.ReadFile(fakePath("fail"))
	for _, v := range strings.Fields(string(b)) {
		if v == verb {
			return errors.New("fake: no " + verb + " today")
		}
	}
	return nil
}

func fakeSystemctl(args []string) error {
	var words []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--property" {
			i++
		} else if !strings.HasPrefix(args[i], "--") {
			words = append(words, args[i])
		}
	}
	verb, dir := words[0], filepath.Join(os.Getenv("HOME"), ".config/systemd/user")
	wants := filepath.Join(dir, "default.target.wants")
	if err := failing(verb); err != nil {
		return err
	}
	state := map[string]string{"start": "active", "restart": "active", "stop": "inactive"}[verb]
	switch verb {
	case "enable":
		os.Mkdir(wants, 0o700)
		return os.Symlink(filepath.Join(dir, words[1]), filepath.Join(wants, words[1]))
	case "disable":
		os.Remove(filepath.Join(wants, words[1]))
		os.Remove(wants)
	case "start", "restart", "stop":
		return os.WriteFile(fakePath("state"), []byte("ActiveState="+state+"\n"), 0o600)
	case "show":
		b, _ := os.ReadFile(fakePath("state"))
		fmt.Printf("LoadState=loaded\n%s", b)
	}
	return nil
}

func fakeJournalctl([]string) error {
	b, err := os.ReadFile(fakePath("journal"))
	fmt.Print(string(b))
	return err
}

func fakeLoginctl(args []string) error {
	verb, user := args[len(args)-2], args[len(args)-1]
	if err := failing(verb); err != nil {
		return err
	}
	path := filepath.Join(os.Getenv("FAKE_LINGER"), user)
	if verb == "disable-linger" {
		return os.Remove(path)
	}
	return os.WriteFile(path, nil, 0o600)
}

// fakeLaunchctl knows one agent, which playLaunchd runs.
func fakeLaunchctl(args []string) error {
	if err := failing(args[0]); err != nil {
		return err
	}
	boss, _ := os.ReadFile(fakePath("launchd.pid"))
	pid, _ := strconv.Atoi(string(boss))
	isAgent := strings.Count(args[1], "/") == 2
	switch {
	case args[0] == "bootstrap" && (pid != 0 || os.Remove(fakePath("busy")) == nil):
		return errors.New("Bootstrap failed: 5: Input/output error")
	case args[0] == "bootstrap":
		return startLaunchd(args[2])
	case args[0] == "enable", args[0] == "print" && !isAgent:
		return nil
	case pid == 0:
		return errors.New(`Could not find service "com.claudemesh.daemon" in domain for user gui: 1000`)
	case args[0] == "print":
		b, err := os.ReadFile(fakePath("print"))
		fmt.Print(string(b))
		return err
	case args[0] == "bootout":
		return syscall.Kill(pid, syscall.SIGTERM)
	}
	return nil
}

func startLaunchd(plist string) error {
	cmd := exec.Command("launchd", plist)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(fakePath("launchd.pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600)
}

// playLaunchd runs the program of a plist as launchd does: RunAtLoad, KeepAlive {SuccessfulExit false}, ThrottleInterval, in
// which a second lasts 10 ms here. It ends by bootout, or with its machine's directory.
func playLaunchd(args []string) error {
	b, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	p, err := parsePlist(b)
	if err != nil || p["RunAtLoad"] != true {
		return fmt.Errorf("plist %v: %w", p, err)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	defer os.Remove(fakePath("launchd.pid"))
	var argv []string
	for _, a := range p["ProgramArguments"].([]any) {
		argv = append(argv, a.(string))
	}
	throttle := time.Duration(p["ThrottleInterval"].(int)) * 10 * time.Millisecond
	for runs := 1; ; runs++ {
		began := time.Now()
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = os.Environ()
		for k, v := range p["EnvironmentVariables"].(map[string]any) {
			cmd.Env = append(cmd.Env, k+"="+v.(string))
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		describe("running", cmd.Process.Pid, runs, "(never exited)")
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err = <-done:
		case <-term:
			cmd.Process.Signal(syscall.SIGTERM)
			<-done
			return nil
		}
		code := cmd.ProcessState.ExitCode()
		again := err != nil && p["KeepAlive"].(map[string]any)["SuccessfulExit"] == false
		describe(map[bool]string{true: "spawn scheduled", false: "not running"}[again], 0, runs, strconv.Itoa(code))
		var next <-chan time.Time
		if again {
			next = time.After(throttle - time.Since(began))
		}
		if !waitNext(next, term) {
			return nil
		}
	}
}

// waitNext reports whether next comes, before a signal and before the machine's directory goes.
func waitNext(next <-chan time.Time, term <-chan os.Signal) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-next:
			return true
		case <-term:
			return false
		case <-tick.C:
			if _, err := os.Stat(os.Getenv("FAKE_DIR")); err != nil {
				return false
			}
		}
	}
}

func describe(state string, pid, runs int, last string) {
	text := fmt.Sprintf("gui/1000/com.claudemesh.daemon = {\n\tactive count = 1\n\tstate = %s\n\n\truns = %d\n\tlast exit code = %s\n\tspawn type = daemon (3)\n\tsockets = {\n\t\tstate = active\n\t}\n", state, runs, last)
	if pid != 0 {
		text += fmt.Sprintf("\tpid = %d\n", pid)
	}
	tmp := fakePath("print.new")
	if os.WriteFile(tmp, []byte(text+"}\n"), 0o600) != nil || os.Rename(tmp, fakePath("print")) != nil {
		os.Exit(1) // the test is over and its directory gone
	}
}

// playAgent is what launchd starts: it ends as the word in the home tells, or at SIGTERM.
func playAgent([]string) error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	home := os.Getenv("CLAUDEMESH_CONFIG_DIR")
	appendFile(filepath.Join(home, "starts"), "x")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-term: // it takes its time, as a daemon does that has something to finish
			<-time.After(100 * time.Millisecond)
			return nil
		case <-tick.C:
		}
		if _, err := os.Stat(os.Getenv("FAKE_DIR")); err != nil {
			return nil // the test is over
		}
		word, err := os.ReadFile(filepath.Join(home, "exit"))
		if err != nil {
			continue
		}
		os.Remove(filepath.Join(home, "exit"))
		code, _ := strconv.Atoi(string(word))
		os.Exit(code)
	}
}
