//go:build linux

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
)

const aliceID = 12345 // a user who has no entry in the password file

// commonDir is a directory that everybody may enter, with the executable in it; who is alice's, is alice's.
func commonDir(t *testing.T) (dir, exe string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	dir, err := os.MkdirTemp("", "cm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	found, err := exec.LookPath("claudemesh") // this test's own binary, by testscript.Main
	if err != nil {
		t.Skip("no executable: ", err)
	}
	b, err := os.ReadFile(found)
	if err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(dir, "claudemesh")
	if err := errors.Join(os.WriteFile(exe, b, 0o755), os.Chmod(dir, 0o755), os.Chmod(exe, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir, exe
}

// alicesHome is a home directory of alice's with an empty config.json of hers.
func alicesHome(t *testing.T, dir string) (home, meshes string) {
	t.Helper()
	home = filepath.Join(dir, "alice")
	meshes = filepath.Join(home, ".claudemesh")
	config := filepath.Join(meshes, "config.json")
	err := errors.Join(os.MkdirAll(meshes, 0o700), os.WriteFile(config, []byte("{\"version\":1,\"meshes\":[]}\n"), 0o600),
		os.Chown(home, aliceID, aliceID), os.Chown(meshes, aliceID, aliceID), os.Chown(config, aliceID, aliceID))
	if err != nil {
		t.Fatal(err)
	}
	return home, meshes
}

// as runs the executable as a user in a home, with nothing on stdin.
func as(t *testing.T, exe string, uid uint32, home string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = []string{"TESTSCRIPT_COMMAND=claudemesh", "HOME=" + home, "PATH=/usr/bin:/bin", "GORACE=" + os.Getenv("GORACE")}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), 0
}

// tree lists the files below dir with owner, mode and size.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		all = append(all, fmt.Sprintf("%s %d %s %d", path, st.Uid, info.Mode(), info.Size()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sudo with HOME kept: whatever verb root runs in alice's home, nothing in it changes.
func TestRootChangesNothingInAnotherHome(t *testing.T) {
	dir, exe := commonDir(t)
	home, meshes := alicesHome(t, dir)
	before := tree(t, home)
	apart := []string{"bench", "demo"} // make directories of their own
	refused := 0
	verbs().walk(nil, func(path []string, v *verb) {
		if v.run == nil || len(path) == 0 || slices.Contains(apart, path[0]) {
			return
		}
		args := slices.Clone(path)
		for range v.min {
			args = append(args, "acme")
		}
		out, code := as(t, exe, 0, home, args...)
		if after := tree(t, home); !slices.Equal(after, before) {
			t.Fatalf("%q changed alice's home: exit %d %s\nbefore %q\nafter  %q", args, code, out, before, after)
		}
		if code == exitDenied && strings.Contains(out, meshes+" belongs to user 12345, and you are root") && strings.Contains(out, "--allow-other-home") {
			refused++
		}
	})
	if refused < 50 {
		t.Errorf("only %d verbs were refused", refused)
	}
	if err := os.RemoveAll(meshes); err != nil {
		t.Fatal(err)
	}
	out, code := as(t, exe, 0, home, "peers")
	if code != exitDenied || !strings.Contains(out, "is not there yet") {
		t.Errorf("a home that is not there yet: exit %d %s", code, out)
	}
	if _, err := os.Stat(meshes); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// Who means it, may.
func TestOtherHomeIsAllowedToWhoMeansIt(t *testing.T) {
	dir, exe := commonDir(t)
	home, meshes := alicesHome(t, dir)
	if out, code := as(t, exe, 0, home, "--allow-other-home", "daemon", "rest", "token"); code != 0 {
		t.Errorf("flag in front: exit %d %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(meshes, "rest-token")); err != nil {
		t.Error(err)
	}
	if out, code := as(t, exe, 0, home, "daemon", "up", "--allow-other-home"); code != 0 {
		t.Errorf("a daemon: exit %d %s", code, out)
	}
	if out, code := as(t, exe, 0, home, "daemon", "down", "--allow-other-home"); code != 0 || !strings.Contains(out, "stopped") {
		t.Errorf("its end: exit %d %s", code, out)
	}
}

// What root left in alice's home is told to her as what it is: not as a daemon that is away, nor as a mesh that she never joined.
func TestDeniedIsNotAbsent(t *testing.T) {
	dir, exe := commonDir(t)
	home, meshes := alicesHome(t, dir)
	config, socket := filepath.Join(meshes, "config.json"), filepath.Join(meshes, "daemon.sock")
	if err := os.Chown(config, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"mesh", "inbound", "acme", "hold"}, {"daemon", "rest", "on"}} {
		out, code := as(t, exe, aliceID, home, args...)
		if code == 0 || !strings.Contains(out, "permission denied") || !strings.Contains(out, "sudo chown -R 12345 "+config) {
			t.Errorf("%q with root's config.json: exit %d %s", args, code, out)
		}
	}
	out, code := as(t, exe, aliceID, home, "doctor")
	if code != exitUnreachable || !strings.Contains(out, "another user owns "+config) || !strings.Contains(out, "sudo chown -R 12345 "+meshes) {
		t.Errorf("doctor: exit %d %s", code, out)
	}
	if err := os.Chown(config, aliceID, aliceID); err != nil {
		t.Fatal(err)
	}

	ln, err := net.Listen("unix", socket) // of a daemon that root started
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := os.Chmod(socket, 0o600); err != nil {
		t.Fatal(err)
	}
	before := tree(t, home)
	for _, args := range [][]string{{"peers"}, {"status"}, {"daemon", "status"}, {"daemon", "up"}, {"daemon", "down"}, {"send", "bob", "hello"}, {"doctor"}} {
		out, code := as(t, exe, aliceID, home, args...)
		if code == 0 || !strings.Contains(out, "permission denied") && !strings.Contains(out, "belongs to root") || strings.Contains(out, "not running") || strings.Contains(out, "no daemon") {
			t.Errorf("%q at root's socket: exit %d %s", args, code, out)
		}
	}
	if after := tree(t, home); !slices.Equal(after, before) {
		t.Errorf("a daemon was started beside it: %q", after)
	}

	if err := os.Chown(meshes, 0, 0); err != nil {
		t.Fatal(err)
	}
	if out, code := as(t, exe, aliceID, home, "inbox"); code != exitDenied || !strings.Contains(out, "sudo chown -R 12345 "+meshes) {
		t.Errorf("a home that is root's: exit %d %s", code, out)
	}
}

// A broker that answers nobody else, and one that is not there, are two things.
func TestDeniedBrokerIsNotAbsent(t *testing.T) {
	dir, exe := commonDir(t)
	home, _ := alicesHome(t, dir)
	data := filepath.Join(dir, "data")
	if out, code := as(t, exe, aliceID, home, "broker", "status", "--data", data); code != exitUnreachable || !strings.Contains(out, "no broker runs") {
		t.Errorf("none: exit %d %s", code, out)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(data, broker.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if out, code := as(t, exe, aliceID, home, "broker", "status", "--data", data); code != exitDenied || !strings.Contains(out, "somebody else's") {
		t.Errorf("root's: exit %d %s", code, out)
	}
	hers := filepath.Join(dir, "hers")
	if err := errors.Join(os.Mkdir(hers, 0o700), os.Chown(hers, aliceID, aliceID)); err != nil {
		t.Fatal(err)
	}
	if out, code := as(t, exe, 0, "/root", "broker", "--data", hers, "--listen", "127.0.0.1:0"); code != exitDenied || len(tree(t, hers)) != 1 {
		t.Errorf("root's broker on alice's data: exit %d %s, %q", code, out, tree(t, hers))
	}
}
