//go:build e2e

// Package e2e runs the real executable as its users do: brokers, daemons and verbs as processes of their own, in homes of their own,
// that are killed, cut off and looked into. It is slower than `go test ./...` and has a name of its own: go test -tags e2e ./e2e
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var bin string // the executable under test

func TestMain(m *testing.M) {
	if bin = os.Getenv("CLAUDEMESH_E2E_BIN"); bin != "" { // this very test, run again in a network namespace
		os.Exit(m.Run())
	}
	if mcp := os.Getenv("E2E_OWNER"); mcp != "" { // an agent process of its own, which newAgent starts: it starts the tool server as its child
		cmd := exec.Command(mcp, "mcp")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Run()
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "cme2e")
	if err != nil {
		panic(err)
	}
	bin = filepath.Join(dir, "claudemesh")
	build := exec.Command("go", "build", "-o", bin, "..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// alone runs this test again in namespaces of its own, which flags of unshare(1) name.
func alone(t *testing.T, flags ...string) {
	t.Helper()
	if err := exec.Command("unshare", append(flags, "true")...).Run(); err != nil {
		t.Skipf("no namespaces can be made here: %v", err)
	}
	run := "-test.run=" + t.Name() + "$"
	if only := os.Getenv("CLAUDEMESH_E2E_ONLY"); only != "" {
		run = "-test.run=" + t.Name() + "/^(" + only + ")$"
	}
	cmd := exec.Command("unshare", append(flags, os.Args[0], run, "-test.v", "-test.timeout=15m")...)
	cmd.Env = append(os.Environ(), "CLAUDEMESH_E2E_BIN="+bin)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in the namespace: %v", err)
	}
}

// process is a long-running claudemesh that the test may kill.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{}
}

func spawn(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return spawnCommand(t, env, exec.Command(bin, args...))
}

func spawnCommand(t *testing.T, env []string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, log: &buffer{}, done: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(p.kill)
	return p
}

// kill is kill -9, and waits until the process is gone. Killing twice is fine.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// buffer collects output of a process while the test reads it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// broker is a broker process on a fixed port and data directory, so that it can come back.
type broker struct {
	t    *testing.T
	dir  string
	addr string
	env  []string
	args []string
	*process
}

func newBroker(t *testing.T, args ...string) *broker {
	t.Helper()
	b := &broker{t: t, dir: tempDir(t), addr: freePort(t), args: args}
	b.env = environ(b.dir)
	b.start()
	return b
}

func (b *broker) data() string { return filepath.Join(b.dir, "data") }

func (b *broker) start() {
	b.t.Helper()
	b.process = spawn(b.t, b.env, append([]string{"broker", "--listen", b.addr, "--data", b.data()}, b.args...)...)
	eventually(b.t, "broker listens", func() bool {
		c, err := net.Dial("tcp", b.addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// home is one person's machine: a config directory, and perhaps a daemon.
type home struct {
	t    *testing.T
	name string
	dir  string
	env  []string
	// under is what runs the executable: a command that changes its surroundings and executes what follows; nil is nothing.
	under []string
	*process
}

func (h *home) command(args ...string) *exec.Cmd {
	line := append(append(slices.Clone(h.under), bin), args...)
	return exec.Command(line[0], line[1:]...)
}

func newHome(t *testing.T, name string) *home {
	t.Helper()
	dir := tempDir(t)
	h := &home{t: t, name: name, dir: dir, env: environ(dir)}
	t.Cleanup(func() { h.try("daemon", "down") })
	return h
}

// startDaemon starts a daemon as a process of the test's, which kill reaches. One that a verb or a session starts goes, also when
// it comes while this one starts. At most one call for a home at a time.
func (h *home) startDaemon() {
	h.t.Helper()
	var p *process
	eventually(h.t, h.name+"'s daemon answers", func() bool {
		if p == nil || p.ended() {
			h.try("daemon", "down")
			p = spawnCommand(h.t, h.env, h.command("daemon"))
		}
		var st struct{ PID int }
		r := h.try("daemon", "status", "--json")
		return json.Unmarshal([]byte(r.out), &st) == nil && st.PID == p.cmd.Process.Pid
	})
	h.process = p
}

// sees waits until a member or session is among h's peers: what happens at the other end is told, not known at once.
func (h *home) sees(name string) {
	h.t.Helper()
	eventually(h.t, h.name+" sees "+name, func() bool { return strings.Contains(h.must("peers"), name) })
}

// result is what a verb printed and how it ended.
type result struct {
	out, err string
	code     int
	took     time.Duration
}

func (h *home) try(args ...string) result { return h.tryIn("", args...) }

func (h *home) tryIn(stdin string, args ...string) result {
	h.t.Helper()
	cmd := h.command(args...)
	cmd.Env = h.env
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	err := cmd.Run()
	r := result{out: out.String(), err: errs.String(), took: time.Since(began)}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		r.code = exit.ExitCode()
	} else if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *home) must(args ...string) string {
	h.t.Helper()
	r := h.try(args...)
	if r.code != 0 {
		h.t.Fatalf("%s: claudemesh %s: exit %d\n%s%s", h.name, strings.Join(args, " "), r.code, r.out, r.err)
	}
	return r.out
}

func (h *home) json(v any, args ...string) {
	h.t.Helper()
	out := h.must(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		h.t.Fatalf("%s: claudemesh %s: %v\n%s", h.name, strings.Join(args, " "), err, out)
	}
}

// mesh makes a mesh on b with the first home as owner and admits the others under their names.
func mesh(t *testing.T, b *broker, url string, people ...*home) {
	t.Helper()
	token := strings.TrimSpace(read(t, filepath.Join(b.data(), "admin-token")))
	owner := people[0]
	owner.env = append(owner.env, "CLAUDEMESH_ADMIN_TOKEN="+token)
	owner.must("create", "acme", "--broker", url, "--name", owner.name)
	if owner.process == nil {
		owner.startDaemon()
	}
	for _, p := range people[1:] {
		link := ""
		for _, word := range strings.Fields(owner.must("invite")) {
			if strings.HasPrefix(word, "ic://join/") {
				link = word
			}
		}
		if out := p.must("join", link, "--name", p.name); !strings.Contains(out, "verified") {
			t.Fatalf("%s joins: %s", p.name, out)
		}
		if p.process == nil {
			p.startDaemon()
		}
	}
}

// tap is a TCP proxy that keeps every byte, and can be cut.
type tap struct {
	ln   net.Listener
	to   string
	seen *buffer
}

func newTap(t *testing.T, to string) *tap {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{ln: ln, to: to, seen: &buffer{}}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *tap) url() string { return "ws://" + p.ln.Addr().String() + "/ws" }

func (p *tap) serve(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer up.Close()
	go func() { io.Copy(io.MultiWriter(up, unmasked(p.seen)), c); up.Close() }()
	io.Copy(io.MultiWriter(c, p.seen), up)
}

// unmasked undoes the WebSocket masking of client frames (RFC 6455 section 5.3) on the way into w, so that plaintext would be found.
func unmasked(w io.Writer) io.Writer { return &unmasker{w: w} }

type unmasker struct {
	w        io.Writer
	buf      []byte
	upgraded bool
}

func (u *unmasker) Write(p []byte) (int, error) {
	u.buf = append(u.buf, p...)
	if !u.upgraded {
		i := bytes.Index(u.buf, []byte("\r\n\r\n"))
		if i < 0 {
			return len(p), nil
		}
		u.w.Write(u.buf[:i+4])
		if !bytes.Contains(bytes.ToLower(u.buf[:i]), []byte("upgrade: websocket")) {
			u.w.Write(u.buf[i+4:])
			u.buf = nil
			return len(p), nil
		}
		u.buf, u.upgraded = u.buf[i+4:], true
	}
	for {
		n, payload := frame(u.buf)
		if n == 0 {
			return len(p), nil
		}
		u.w.Write(payload)
		u.buf = u.buf[n:]
	}
}

func frame(b []byte) (int, []byte) {
	if len(b) < 6 {
		return 0, nil
	}
	n, at := int(b[1]&0x7f), 2
	switch n {
	case 126:
		n, at = int(b[2])<<8|int(b[3]), 4
	case 127:
		if len(b) < 14 {
			return 0, nil
		}
		n, at = int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9]), 10
	}
	if len(b) < at+4+n {
		return 0, nil
	}
	mask, out := b[at:at+4], make([]byte, n)
	for i := range out {
		out[i] = b[at+4+i] ^ mask[i%4]
	}
	return at + 4 + n, out
}

// eventually polls a condition of another process for at most 20 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

// environ is an environment with nothing of the caller's but the path.
func environ(dir string) []string {
	return []string{"HOME=" + dir, "CLAUDEMESH_CONFIG_DIR=" + filepath.Join(dir, ".claudemesh"), "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "NO_COLOR=1"}
}

func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
