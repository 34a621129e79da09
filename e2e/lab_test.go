//go:build e2e && systemd

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A lab is a machine with a systemd of its own: pid 1 of new namespaces, over an overlay of this machine's root that is
// thrown away, with its own /tmp (which systemd empties at boot), /run, /dev, cgroups and network. Nothing outside is changed.
// It dies with the test process, whatever happens to that, and after labLife at the latest.
//
//	test process ── clone(pid, mnt, uts, ipc, net) ──► this binary as labBoot ── mounts, pivot_root, exec ──► systemd
const (
	labEnv   = "CLAUDEMESH_LAB" // tells this binary that it is the inside of a lab
	labLife  = 4 * time.Minute
	labAlice = 4242 // her uid in the lab
)

func init() {
	var err error
	switch dir := os.Getenv("CLAUDEMESH_LAB_DIR"); os.Getenv(labEnv) {
	case "boot":
		err = labBoot(dir)
	case "sweep":
		err = labSweep(dir)
	default:
		return
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	os.Exit(map[bool]int{true: 0, false: 1}[err == nil])
}

type lab struct {
	t   *testing.T
	cmd *exec.Cmd
	log *buffer
}

// bootLab boots one, with alice as its user and the executable under test in /usr/local/bin, or skips the test.
func bootLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a systemd of its own takes root")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("systemd is not installed here")
	}
	dir, err := os.MkdirTemp("/var/tmp", "cmlab")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), labLife)
	l := &lab{t: t, log: &buffer{}, cmd: labCommand(ctx, "boot", dir)}
	l.cmd.Stdout, l.cmd.Stderr = l.log, l.log
	l.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	started, done := make(chan error), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // Pdeathsig is about this thread
		err := l.cmd.Start()
		started <- err
		if err == nil {
			l.cmd.Wait()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if out, err := labCommand(context.Background(), "sweep", dir).CombinedOutput(); err != nil {
			t.Errorf("clean up after the lab: %v\n%s", err, out)
		}
		if t.Failed() {
			t.Logf("the lab's console:\n%s", l.log)
		}
	})
	if err := <-started; err != nil {
		t.Skipf("no namespaces here: %v", err)
	}
	eventually(t, "systemd is up", func() bool {
		out, _ := l.root("systemctl", "is-system-running").Output() // degraded is up, and an error
		return strings.HasPrefix(string(out), "running") || strings.HasPrefix(string(out), "degraded")
	})
	l.must(l.root("useradd", "--create-home", "--uid", strconv.Itoa(labAlice), "--shell", "/bin/sh", "alice"))
	l.put(bin, "/usr/local/bin/claudemesh")
	return l
}

func labCommand(ctx context.Context, what, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{labEnv + "=" + what, "CLAUDEMESH_LAB_DIR=" + dir, "PATH=" + os.Getenv("PATH"), "container=other"}
	return cmd
}

// root makes a command that runs in the lab as root.
func (l *lab) root(args ...string) *exec.Cmd { return l.in(0, 0, "/root", args...) }

// alice makes one that runs as she would in a login shell.
func (l *lab) alice(args ...string) *exec.Cmd {
	return l.in(labAlice, labAlice, "/home/alice", args...)
}

func (l *lab) in(uid, gid int, home string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(l.cmd.Process.Pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root",
		"--setuid", strconv.Itoa(uid), "--setgid", strconv.Itoa(gid), "--", "/usr/bin/env", "-i", "-C", home, "HOME=" + home, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
		"NO_COLOR=1", fmt.Sprintf("XDG_RUNTIME_DIR=/run/user/%d", uid)}
	return exec.Command("nsenter", append(enter, args...)...)
}

// must runs a command and returns what it printed.
func (l *lab) must(cmd *exec.Cmd) string {
	l.t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args[18:], " "), err, out)
	}
	return string(out)
}

// put copies a file of this machine into the lab, as an upgrade does: under another name, then renamed.
func (l *lab) put(from, to string) {
	l.t.Helper()
	f, err := os.Open(from)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	cmd := l.root("sh", "-c", `cat > "$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"`, to)
	cmd.Stdin = f
	l.must(cmd)
}

// labBoot makes the machine around this process and becomes its pid 1.
func labBoot(dir string) error {
	runtime.LockOSThread() // the cgroup namespace is of this thread, which is what exec keeps
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount the scratch: %w", err)
	}
	up, work, root, groups := dir+"/up", dir+"/work", dir+"/root", dir+"/cgroup"
	for _, d := range []string{up, work, root, groups} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := ownCgroup(groups, filepath.Base(dir)); err != nil {
		return err
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+up+",workdir="+work); err != nil {
		return fmt.Errorf("mount the overlay: %w", err)
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := furnish(); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("bring loopback up: %w: %s", err, out)
	}
	// Not chroot: units with mount namespaces of their own bind "/", which must then be a mount.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Systemd hands credentials to services through a mount that it makes elsewhere; in a container the sharing is for others to do.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts: %w", err)
	}
	return unix.Exec("/lib/systemd/systemd", []string{"systemd", "--system", "--unit=multi-user.target", "--show-status=no"},
		[]string{"container=other", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"})
}

// ownCgroup moves this process into a cgroup of its own that it then sees as the root.
func ownCgroup(at, name string) error {
	if err := unix.Mount("cgroup2", at, "cgroup2", 0, ""); err != nil {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	if err := os.Mkdir(filepath.Join(at, name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, name, "cgroup.procs"), []byte("0"), 0); err != nil { // 0 is the writer
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	return unix.Unmount(at, 0)
}

// furnish mounts what a machine has beside its root, relative to the working directory, and keeps units away that would
// touch hardware which is not this machine's.
func furnish() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{"proc", "proc", "proc", 0, ""},
		{"tmpfs", "run", "tmpfs", 0, "mode=755"},
		{"tmpfs", "tmp", "tmpfs", 0, "mode=1777"},
		{"tmpfs", "dev", "tmpfs", 0, "mode=755"},
		{"sysfs", "sys", "sysfs", unix.MS_RDONLY, ""},
		{"cgroup2", "sys/fs/cgroup", "cgroup2", 0, ""},
	}
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, d := range []string{"run/lock", "dev/shm", "dev/pts", "etc/systemd/system", "etc/systemd/logind.conf.d"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", "dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return fmt.Errorf("mount dev/pts: %w", err)
	}
	for _, node := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile("dev/"+node, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+node, "dev/"+node, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", node, err)
		}
	}
	if err := os.WriteFile("etc/systemd/logind.conf.d/lab.conf", []byte("[Login]\nUserStopDelaySec=0\n"), 0o644); err != nil {
		return err
	}
	for at, to := range map[string]string{"dev/fd": "/proc/self/fd", "dev/ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, at); err != nil {
			return err
		}
	}
	// This machine may be a container that says so, or an old lab's user may be here: a lab is neither.
	for _, p := range []string{".dockerenv", "home/alice"} {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	for _, unit := range []string{"systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-clean.timer", "systemd-udevd.service",
		"systemd-udev-trigger.service", "systemd-sysctl.service", "systemd-modules-load.service", "systemd-random-seed.service", "systemd-networkd.service",
		"getty.target", "apt-daily.timer", "apt-daily-upgrade.timer", "networking.service", "postgresql.service", "ssh.service", "cron.service", "docker.service"} {
		if err := os.Symlink("/dev/null", "etc/systemd/system/"+unit); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// labSweep removes what a lab that is dead left outside of its mounts: its cgroups and its directory.
func labSweep(dir string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	at, err := os.MkdirTemp("/var/tmp", "cmlab")
	if err != nil {
		return err
	}
	if err := unix.Mount("cgroup2", at, "cgroup2", 0, ""); err != nil {
		return err
	}
	err = removeCgroup(filepath.Join(at, filepath.Base(dir)))
	return errors.Join(err, unix.Unmount(at, 0), os.Remove(at), os.Remove(dir))
}

// removeCgroup removes a cgroup and those in it. Processes that were just killed may keep one busy for a moment.
func removeCgroup(path string) error {
	var dirs []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		for range 100 {
			if err = unix.Rmdir(dirs[i]); err == nil || err != unix.EBUSY {
				break
			}
			time.Sleep(20 * time.Millisecond) // the kernel tells nobody when a cgroup is empty of dying tasks
		}
	}
	return err
}
