package registry

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// sleeper is a real process that lives until it is killed.
func sleeper(t *testing.T) (*exec.Cmd, Process) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperSleeper$")
	cmd.Env = append(os.Environ(), "REGISTRY_SLEEPER=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	reap := func() { once.Do(func() { cmd.Process.Kill(); cmd.Wait(); in.Close() }) }
	t.Cleanup(reap)
	p, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, p
}

// TestHelperSleeper is the body of sleeper's process: it waits for its standard input to end.
func TestHelperSleeper(t *testing.T) {
	if os.Getenv("REGISTRY_SLEEPER") == "" {
		return
	}
	os.Stdin.Read(make([]byte, 1))
}

// ends collects OnEnd calls.
type ends struct {
	ch chan string
}

func newEnds() ends { return ends{make(chan string, 1000)} }

func (e ends) on(s Session, reason string) { e.ch <- s.ID + " " + reason }

func (e ends) want(t *testing.T, what string) {
	t.Helper()
	select {
	case got := <-e.ch:
		if got != what {
			t.Fatalf("ended: %q, want %q", got, what)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing ended, want %q", what)
	}
}

func (e ends) none(t *testing.T) {
	t.Helper()
	select {
	case got := <-e.ch:
		t.Fatalf("ended: %q, want nothing", got)
	default:
	}
}

func open(t *testing.T, saved []byte, o Options) *Registry {
	t.Helper()
	r, err := Open(saved, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func register(t *testing.T, r *Registry, id, cwd, name string, p Process) Session {
	t.Helper()
	s, err := r.Register(Session{ID: id, Cwd: cwd, Process: p}, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKilledSessionIsNoticedAtOnce(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	cmd, p := sleeper(t)
	register(t, r, "alice-1", "/src/api", "", p)
	e.none(t)
	cmd.Process.Kill()
	e.want(t, "alice-1 exited") // no sweep runs here: the system told
	if live := r.Live(); len(live) != 0 {
		t.Errorf("still live: %v", live)
	}
}

func TestDeadProcessIsRefused(t *testing.T) {
	r := open(t, nil, Options{})
	cmd, p := sleeper(t)
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := r.Register(Session{ID: "x", Cwd: "/", Process: p}, ""); err == nil {
		t.Error("a session of a dead process was taken")
	}
}

func TestCheck(t *testing.T) {
	_, p := sleeper(t)
	if p.Start == 0 {
		t.Skip("no start times on this system")
	}
	other := func(change func(*Process)) Process { q := p; change(&q); return q }
	for _, tt := range []struct {
		name string
		p    Process
		want Liveness
	}{
		{"alive with matching start", p, Alive},
		{"alive with another start: the number was recycled", other(func(q *Process) { q.Start++; q.Inode = 0 }), Dead},
		{"no start recorded: bare liveness decides", Process{PID: p.PID}, Alive},
		{"of another boot", other(func(q *Process) { q.Boot = "another" }), Dead},
		{"no such process", Process{PID: 1 << 22, Start: 1}, Dead},
		{"no process at all", Process{PID: 0}, Dead},
	} {
		if got := Check(tt.p); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if p.Inode != 0 {
		if got := Check(other(func(q *Process) { q.Inode++ })); got != Dead {
			t.Errorf("same start, another pidfd inode: %v, want dead", got)
		}
	}
}

func TestZombieIsDead(t *testing.T) {
	cmd, p := sleeper(t)
	r := open(t, nil, Options{})
	e := make(chan struct{})
	cancel, told := r.watch.add(p, func() { close(e) })
	defer cancel()
	if !told {
		t.Skip("the system does not tell here")
	}
	cmd.Process.Kill()
	<-e // it has ended, and nobody has waited for it
	if got := Check(p); got != Dead {
		t.Errorf("a zombie is %v, want dead", got)
	}
	if got := Check(Process{PID: p.PID}); got != Dead {
		t.Errorf("a zombie without a start time is %v, want dead", got)
	}
}

func TestSweepFindsWhatWasNotTold(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	cmd, p := sleeper(t)
	register(t, r, "bob-1", "/src", "", p)
	r.watch.close() // as on a system that does not tell
	cmd.Process.Kill()
	cmd.Wait()
	e.none(t)
	r.Sweep()
	e.want(t, "bob-1 exited")
}

func TestTwoHundredKilledAtOnce(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	var cmds []*exec.Cmd
	for i := range 200 {
		cmd, p := sleeper(t)
		cmds = append(cmds, cmd)
		register(t, r, fmt.Sprintf("s%03d", i), "/src", "", p)
	}
	if n := len(r.Live()); n != 200 {
		t.Fatalf("%d live, want 200", n)
	}
	for _, cmd := range cmds {
		cmd.Process.Kill()
	}
	ended := map[string]bool{}
	for range cmds {
		select {
		case id := <-e.ch:
			ended[id] = true
		case <-time.After(10 * time.Second):
			t.Fatalf("%d of 200 were noticed", len(ended))
		}
	}
	if len(ended) != 200 {
		t.Errorf("%d different sessions ended, want 200", len(ended))
	}
}

func TestTwoSessionsInOneDirectoryAreTwo(t *testing.T) {
	r := open(t, nil, Options{})
	_, p1 := sleeper(t)
	_, p2 := sleeper(t)
	a := register(t, r, "a", "/home/alice/src/api", "", p1)
	b := register(t, r, "b", "/home/alice/src/api", "", p2)
	if a.Label != "api" || b.Label != "api-2" {
		t.Errorf("labels %q and %q, want api and api-2", a.Label, b.Label)
	}
}

func TestResumeKeepsLabelAndMovesProcess(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	first, p1 := sleeper(t)
	_, p2 := sleeper(t)
	register(t, r, "a", "/src/api", "web", p1)
	s := register(t, r, "a", "/src/api", "", p2) // claude --resume before the old one is quite gone
	if s.Label != "web" {
		t.Errorf("label %q, want web", s.Label)
	}
	first.Process.Kill()
	first.Wait()
	r.Sweep()
	e.none(t)
	if live := r.Live(); len(live) != 1 || live[0].Process != p2 {
		t.Errorf("live: %+v", live)
	}
}

func TestClearRebindsTheProcess(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	cmd, p := sleeper(t)
	register(t, r, "before", "/src/api", "web", p)
	s := register(t, r, "after", "/src/api", "", p)
	e.want(t, "before replaced")
	if s.Label != "web" {
		t.Errorf("label %q, want web", s.Label)
	}
	cmd.Process.Kill()
	e.want(t, "after exited")
}

func TestRestartTakesUpLiveSessionsOnly(t *testing.T) {
	var saved []byte
	keep := func(b []byte) error { saved = bytes.Clone(b); return nil }
	r := open(t, nil, Options{Save: keep})
	dead, p1 := sleeper(t)
	alive, p2 := sleeper(t)
	register(t, r, "dead", "/src/a", "", p1)
	register(t, r, "alive", "/src/b", "", p2)
	r.Close() // the daemon stops; then one of them ends
	dead.Process.Kill()
	dead.Wait()

	e := newEnds()
	var started []string
	again := open(t, saved, Options{OnStart: func(s Session) { started = append(started, s.ID+"/"+s.Label) }, OnEnd: e.on})
	if !slices.Equal(started, []string{"alive/b"}) {
		t.Errorf("started: %v, want alive/b", started)
	}
	e.none(t) // nobody is told of an end that nobody saw begin
	alive.Process.Kill()
	e.want(t, "alive exited")
	again.Close()
}

func TestEndIsIdempotent(t *testing.T) {
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	_, p := sleeper(t)
	register(t, r, "a", "/src", "", p)
	r.End("a")
	r.End("a")
	e.want(t, "a ended")
	e.none(t)
}

func TestLabels(t *testing.T) {
	for in, want := range map[string]string{
		"api": "api", "My Project": "my-project", "/": "session", "": "session", "..": "session", "-x-": "x", "Ünïcode": "n-code",
		"a.b_c": "a.b_c", "0123456789012345678901234567890123456789": "01234567890123456789012345678901",
	} {
		if got := Label(in); got != want {
			t.Errorf("Label(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOwnerSkipsShells(t *testing.T) {
	if got := Owner(os.Getpid()); got != os.Getpid() {
		t.Errorf("owner of the test is %d, want itself (%d)", got, os.Getpid())
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	cmd := exec.Command(sh, "-c", "echo; read line")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	out.Read(make([]byte, 1)) // the shell runs
	if got := Owner(cmd.Process.Pid); got != os.Getpid() {
		t.Errorf("owner of a shell is %d, want its parent %d", got, os.Getpid())
	}
}

func TestUpdateIsKept(t *testing.T) {
	var saved []byte
	r := open(t, nil, Options{Save: func(b []byte) error { saved = bytes.Clone(b); return nil }})
	_, p := sleeper(t)
	register(t, r, "a", "/src/api", "", p)
	if _, ok := r.Update("nobody", func(*Session) {}); ok {
		t.Error("an unknown session was changed")
	}
	r.Update("a", func(s *Session) { s.Status, s.Label = "dnd", "other" })
	r.Close()
	again := open(t, saved, Options{})
	if s, _ := again.Get("a"); s.Status != "dnd" || s.Label != "api" {
		t.Errorf("after a restart: %+v", s)
	}
}
