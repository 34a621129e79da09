//go:build linux

package registry

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// A recycled pid, forced in a pid namespace of its own: the number lives, the process is another one.
func TestRecycledPID(t *testing.T) {
	if os.Getenv("REGISTRY_NAMESPACE") == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root for a pid namespace; .ci/run runs as root")
		}
		unshare, err := exec.LookPath("unshare")
		if err != nil {
			t.Skip("no unshare(1)")
		}
		cmd := exec.Command(unshare, "--pid", "--fork", "--mount-proc", os.Args[0], "-test.run=^TestRecycledPID$", "-test.v")
		cmd.Env = append(os.Environ(), "REGISTRY_NAMESPACE=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("in the namespace: %v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	e := newEnds()
	r := open(t, nil, Options{OnEnd: e.on})
	r.watch.close() // only the comparison is under test, as after a restart of the daemon
	first, p := sleeper(t)
	register(t, r, "first", "/src", "", p)
	first.Process.Kill()
	first.Wait()
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(p.PID-1)), 0); err != nil {
		t.Skipf("the kernel does not let us choose a pid: %v", err)
	}
	second, q := sleeper(t)
	defer second.Process.Kill()
	if q.PID != p.PID {
		t.Skipf("the pid %d was not recycled (got %d)", p.PID, q.PID)
	}
	t.Logf("recycled %d: start %d → %d, inode %d → %d", p.PID, p.Start, q.Start, p.Inode, q.Inode)
	if !exists(p.PID) {
		t.Fatal("kill(pid, 0) does not find the second process")
	}
	if p.Inode == 0 && p.Start == q.Start {
		t.Skip("same clock tick and no pidfd inodes: this kernel cannot tell")
	}
	r.Sweep()
	e.want(t, "first exited")
}
