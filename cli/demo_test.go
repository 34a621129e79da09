//go:build !windows

package cli

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/registry"
)

// Ctrl-C in the middle leaves no process and no file.
func TestDemoCleansUpWhenInterrupted(t *testing.T) {
	tmp, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	exe, err := exec.LookPath("claudemesh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "3.") {
			break
		}
	}
	running := daemonsBelow(t, tmp)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Error("an interrupted demo ended with 0")
	}
	for _, p := range running {
		if registry.Check(p) != registry.Dead {
			t.Errorf("process %d is left", p.PID)
		}
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func daemonsBelow(t *testing.T, dir string) (all []registry.Process) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "daemon.pid"))
	if err != nil || len(files) != 2 {
		t.Errorf("%d daemons, want 2 (%v)", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := registry.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
