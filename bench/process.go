package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a broker or a floor: one that we started, or one that only has an address.
type process struct {
	url   string
	token string
	exe   string
	args  []string
	dir   string // removed at the end
	cmd   *exec.Cmd
	exit  chan struct{} // closed when it has ended
	said  *tail
}

// startTimeout is how long a process may take until it listens.
const startTimeout = 20 * time.Second

// startBroker starts a broker in a directory of its own.
func startBroker(ctx context.Context, o Options) (*process, error) {
	dir, err := os.MkdirTemp(o.Dir, "claudemesh-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{"broker", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data")}
	if o.NoLimits {
		args = append(args, "--limit", "burst=1000000000,rate=1000000000,queue-messages=1000000000,queue-bytes=1000000000000,share-messages=1000000000,share-bytes=1000000000000")
	}
	p, err := startProcess(ctx, o.Executable, args...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p.dir = dir
	token, err := os.ReadFile(filepath.Join(dir, "data", "admin-token"))
	if err != nil {
		p.remove()
		return nil, err
	}
	p.token = strings.TrimSpace(string(token))
	return p, nil
}

// startProcess runs exe until it says on which ws:// address it listens.
func startProcess(ctx context.Context, exe string, args ...string) (*process, error) {
	p := &process{exe: exe, args: args}
	return p, p.start(ctx)
}

func (p *process) start(ctx context.Context) error {
	p.cmd = exec.Command(p.exe, p.args...)
	p.said = &tail{}
	p.cmd.Stderr = p.said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.exit = make(chan struct{})
	url := make(chan string, 1)
	go func() { // ends with the process
		defer close(p.exit)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			for _, word := range strings.Fields(lines.Text()) {
				if strings.HasPrefix(word, "ws://") {
					select {
					case url <- word:
					default:
					}
				}
			}
		}
		_ = p.cmd.Wait() // how it ended matters only to those who did not ask for it
	}()
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case p.url = <-url:
		return nil
	case <-p.exit:
		return fmt.Errorf("%s %s ended: %s", filepath.Base(p.exe), p.args[0], p.said)
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = fmt.Errorf("%s %s does not listen after %s: %s", filepath.Base(p.exe), p.args[0], startTimeout, p.said)
	}
	_ = p.cmd.Process.Kill()
	<-p.exit
	return err
}

// stop asks the process to end and waits.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil { // Windows knows no such thing
		_ = p.cmd.Process.Kill()
	}
	<-p.exit
}

// Kill ends it at once, as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exit
}

func (p *process) remove() {
	p.stop()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // a temporary directory
	}
}

// usage is what a process has used.
type usage struct {
	cpu       time.Duration
	rss, peak float64 // MiB
}

// clockTick is the kernel's USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// usage reads /proc; where there is none, or the process is on another machine, it is zero.
func (p *process) usage() (u usage) {
	if p.cmd == nil {
		return u
	}
	return usageOf(strconv.Itoa(p.cmd.Process.Pid))
}

// ownUsage is what this process has used.
func ownUsage() usage { return usageOf("self") }

func usageOf(pid string) (u usage) {
	dir := "/proc/" + pid + "/"
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third, proc(5)
	for _, i := range []int{11, 12} {                                         // utime, stime
		ticks, _ := strconv.Atoi(fields[i])
		u.cpu += time.Duration(ticks) * clockTick
	}
	status, _ := os.ReadFile(dir + "status")
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		switch name {
		case "VmRSS":
			u.rss = kib / 1024
		case "VmHWM":
			u.peak = kib / 1024
		}
	}
	return u
}

func loadAverage() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	word, _, _ := strings.Cut(string(b), " ")
	load, _ := strconv.ParseFloat(word, 64)
	return load
}

// tail keeps the last words of a process.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > 4<<10 {
		t.b = append([]byte(nil), t.b[len(t.b)-2<<10:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// pin has the next start listen where this one did.
func (p *process) pin() {
	addr := strings.TrimSuffix(strings.TrimPrefix(p.url, "ws://"), "/ws")
	for i, a := range p.args {
		if a == "--listen" {
			p.args[i+1] = addr
		}
	}
}
