//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What an idle daemon costs with five meshes and twenty sessions, and how long one takes to answer.
func TestIdleDaemonIsSmall(t *testing.T) {
	b := newBroker(t)
	alice := newHome(t, "alice")
	alice.env = append(alice.env, "CLAUDEMESH_ADMIN_TOKEN="+strings.TrimSpace(read(t, filepath.Join(b.data(), "admin-token"))))
	for i := range 5 {
		alice.must("create", fmt.Sprintf("mesh%d", i), "--broker", "ws://"+b.addr+"/ws", "--name", "alice")
	}
	alice.must("daemon", "down")

	api := socketClient(filepath.Join(alice.dir, ".claudemesh", "daemon.sock"))
	began := time.Now()
	alice.process = spawn(t, alice.env, "daemon")
	for {
		res, err := api.Get("http://localhost/v1/health")
		if err == nil {
			res.Body.Close()
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the daemon does not answer")
		}
	}
	t.Logf("start to serving: %v", time.Since(began).Round(time.Millisecond))

	for i := range 20 {
		sleep := exec.Command("sleep", "300")
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
		res, err := api.Post("http://localhost/v1/sessions", "application/json", strings.NewReader(fmt.Sprintf(`{"id":"session-%d","pid":%d,"cwd":"/src/p%d"}`, i, sleep.Process.Pid, i)))
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("register: %v %v", err, res)
		}
		res.Body.Close()
	}
	eventually(t, "all sessions are on all meshes", func() bool {
		res, err := api.Get("http://localhost/v1/sessions")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		var all []struct{ Meshes map[string]string }
		json.NewDecoder(res.Body).Decode(&all)
		open := 0
		for _, s := range all {
			for _, state := range s.Meshes {
				if state == "open" {
					open++
				}
			}
		}
		return open == 100
	})

	pid := alice.cmd.Process.Pid
	before := cpu(t, pid)
	select { // how much it does when there is nothing to do can only be seen over time
	case <-time.After(5 * time.Second):
	case <-alice.done:
		t.Fatal("the daemon ended")
	}
	used, rss := cpu(t, pid)-before, rssKiB(t, pid)
	t.Logf("5 meshes, 20 sessions, 105 connections: %.1f MB resident, %v of CPU in 5 s", float64(rss)/1024, used)
	if rss > 40<<10 {
		t.Errorf("%d KiB resident, at most 40 MB", rss)
	}
}

func socketClient(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

// cpu is the user and system time of a process, in the kernel's ticks of 10 ms.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat := read(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

func rssKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return kib
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
