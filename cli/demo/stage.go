package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// stage is where the demo plays: a directory with the homes, the processes, and the tap on the broker's wire.
type stage struct {
	Screen
	dir  string
	exe  string
	tap  *tap
	up   map[string]*process // by name: broker, alice, bob
	link string
	sent []string // ids of what alice wrote while bob was away
}

func newStage(screen Screen) (*stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this executable: %w", err)
	}
	dir, err := os.MkdirTemp("", "cm") // short: sockets live in it
	if err != nil {
		return nil, fmt.Errorf("make the demo's directory: %w", err)
	}
	return &stage{Screen: screen, dir: dir, exe: exe, up: make(map[string]*process)}, nil
}

// close ends the processes, also after an error or Ctrl-C, and removes what they left.
func (s *stage) close() {
	for _, name := range []string{"alice", "bob", "broker"} { // the broker last: it waits for open connections to drain
		if p := s.up[name]; p != nil {
			p.stop()
		}
	}
	if s.tap != nil {
		s.tap.close()
	}
	if err := os.RemoveAll(s.dir); err != nil {
		s.Note("claudemesh: demo: %s", err)
	}
}

func (s *stage) home(name string) string { return filepath.Join(s.dir, name) }
func (s *stage) brokerDir() string       { return filepath.Join(s.dir, "broker") }
func (s *stage) tokenFile() string       { return filepath.Join(s.brokerDir(), "admin-token") }

// endTimeout is how long a process may take to end: a broker lets its connections drain.
const endTimeout = 15 * time.Second

// process is one running role; its output goes to a file in the stage's directory.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// stop asks the process to end and returns when it has.
func (p *process) stop() {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		_ = p.cmd.Process.Kill() // gone already, or a system without SIGTERM
	}
	select {
	case <-p.done:
	case <-time.After(endTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// start runs a role. What it prints goes to first, as far as that reads, and to the file <name>.log.
func (s *stage) start(name, home string, args ...string) (first io.Reader, err error) {
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(s.exe, args...)
	cmd.Env, cmd.Stderr = demoEnv(home), log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process
		defer close(p.done)
		_ = cmd.Wait()
	}()
	s.up[name] = p
	return out, nil
}

var listening = regexp.MustCompile(`ws://(\S+)/ws`)

// startBroker runs the broker and puts the tap in front of it.
func (s *stage) startBroker(ctx context.Context) error {
	out, err := s.start("broker", s.home("operator"), "broker", "--listen", "127.0.0.1:0", "--data", s.brokerDir())
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := listening.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("the broker did not start: %w", errors.Join(err, s.lastWords("broker")))
	}
	s.tap, err = newTap(m[1])
	return err
}

func (s *stage) lastWords(name string) error {
	b, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	return errors.New(strings.TrimSpace(string(b)))
}

// startDaemon runs somebody's daemon and returns when it answers.
func (s *stage) startDaemon(ctx context.Context, name string) error {
	if _, err := s.start(name, s.home(name), "daemon"); err != nil {
		return err
	}
	return s.until(ctx, name+"'s daemon answers", func() (bool, error) {
		select {
		case <-s.up[name].done:
			return false, s.lastWords(name)
		default:
			return s.run(ctx, nil, name, "daemon", "status", "--json") == nil, nil
		}
	})
}

func (s *stage) stopDaemon(name string) error {
	s.up[name].stop()
	delete(s.up, name)
	return nil
}

// run runs one verb as somebody and decodes what it prints into out, which may be nil.
func (s *stage) run(ctx context.Context, out any, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.exe, args...)
	cmd.Env = demoEnv(s.home(name))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return protocol.Refuse(protocol.CodeTimeout, "interrupted")
	}
	if err != nil {
		var said protocol.ErrorReply
		if json.Unmarshal(stdout.Bytes(), &said) == nil && said.Error.Message != "" {
			return fmt.Errorf("claudemesh %s: %s", args[0], said.Error.Message)
		}
		return fmt.Errorf("claudemesh %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(stdout.Bytes(), out); err != nil {
		return fmt.Errorf("claudemesh %s: read its JSON: %w", args[0], err)
	}
	return nil
}

// read returns somebody's inbox, oldest first, once it holds n messages; more are an error.
func (s *stage) read(ctx context.Context, name string, n int) (got []protocol.InboxMessage, err error) {
	err = s.until(ctx, fmt.Sprintf("%s has %d messages", name, n), func() (bool, error) {
		got = nil
		err := s.run(ctx, &got, name, "inbox", "--all", "--json")
		return len(got) >= n, err
	})
	if err == nil && len(got) != n {
		err = fmt.Errorf("%s has %d messages, not %d", name, len(got), n)
	}
	slices.Reverse(got)
	return got, err
}
