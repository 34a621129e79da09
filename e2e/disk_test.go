//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roomAgain is how soon sending works again once a full disk has room.
const roomAgain = 5 * time.Second

// smallDisk mounts one over dir, with what dir holds. It belongs to this test's namespace and goes with it.
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	script := `t=$(mktemp -d) && cp -a "$0"/. "$t" && mount -t tmpfs -o mode=700,size="$1" tmpfs "$0" && cp -a "$t"/. "$0" && rm -r "$t"`
	if out, err := exec.Command("sh", "-c", script, dir, size).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
}

// fill leaves no room in dir and returns what makes room again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	exec.Command("sh", "-c", `cat /dev/zero >"$0" 2>/dev/null`, path).Run() // fails when the disk is full, as it should
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The disk runs full, the broker's or alice's own. What she is told is true, nothing that was accepted is lost, and sending
// works again within 5 s of there being room.
func TestFullDisks(t *testing.T) {
	if os.Getenv("CLAUDEMESH_E2E_BIN") == "" {
		alone(t, "--mount", "--propagation", "private")
		return
	}
	body := strings.Repeat("x", 50<<10)
	for name, full := range map[string]func(*broker, *home) string{
		"the broker's": func(b *broker, _ *home) string { return b.data() },
		"alice's":      func(_ *broker, a *home) string { return a.dir },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			alice, bob := newHome(t, "alice"), newHome(t, "bob")
			mesh(t, b, "ws://"+b.addr, alice, bob)
			dir := full(b, alice)
			alice.kill()
			b.kill()
			smallDisk(t, dir, "12m")
			b.start()
			alice.startDaemon()
			alice.must("send", "bob", "before", "--require", "delivered", "--wait", "20s")
			empty := fill(t, dir)
			var last result
			for range 60 { // the store has room of its own for some
				if last = alice.try("send", "bob", body); last.code != 0 || strings.Contains(last.out, "not sent yet") {
					break
				}
			}
			t.Logf("full: exit %d: %s%s", last.code, last.out, last.err)
			if told := last.out + last.err; !strings.Contains(told, "full") {
				t.Errorf("she is not told: %s", told)
			}
			empty()
			began := time.Now()
			last = alice.try("send", "bob", "after", "--require", "delivered", "--wait", "20s")
			if took := time.Since(began); last.code != 0 || took > roomAgain {
				t.Errorf("after %s: exit %d: %s%s", took, last.code, last.out, last.err)
			} else {
				t.Logf("delivered %s after there was room", took)
			}
			eventually(t, "nothing waits", func() bool { return strings.TrimSpace(alice.must("daemon", "outbox", "list", "--json")) == "[]" })
		})
	}
}

// A system that shows no processes still runs a daemon, and verbs that start it.
func TestWithoutProc(t *testing.T) {
	if os.Getenv("CLAUDEMESH_E2E_BIN") == "" {
		alone(t, "--mount", "--propagation", "private")
		return
	}
	h := newHome(t, "alice")
	h.under = []string{"unshare", "--mount", "sh", "-c", `umount -l /proc && exec "$@"`, "sh"}
	if r := h.try("mesh", "list", "--json"); r.code != 0 || strings.TrimSpace(r.out) != "[]" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := h.try("daemon", "status"); r.code != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := h.try("daemon", "down"); r.code != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}
