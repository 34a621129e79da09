//go:build !windows

package cli

import (
	"bufio"
	"encoding/base64"
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

// A search proves something only if it finds what is there, however it is encoded and whatever stands before it.
func TestEncodingsFindASecret(t *testing.T) {
	secret := []byte("the nightly build is green")
	for _, before := range []string{"", "x", "xy", "xyz"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			stack := enc.EncodeToString([]byte(before + string(secret) + "behind"))
			found := false
			for _, n := range encodings("it", secret) {
				found = found || strings.Contains(stack, n.text)
			}
			if !found {
				t.Errorf("not found behind %q in %s", before, stack)
			}
		}
	}
}

func TestWebSocketMessagesAreDecoded(t *testing.T) {
	long := strings.Repeat("a", 300)
	stream := "GET /ws HTTP/1.1\r\n\r\n" +
		"\x81\x85\x01\x02\x03\x04" + "\x69\x67\x6f\x68\x6e" + // masked "hello"
		"\x89\x00" + // ping
		"\x01\x03one" + "\x80\x03two" + // in two fragments
		"\x81\x7e\x01\x2c" + long + "\x81\x05cut"
	got := messages([]byte(stream))
	if len(got) != 3 || got[0] != "hello" || got[1] != "onetwo" || got[2] != long {
		t.Errorf("got %q", got)
	}
}
