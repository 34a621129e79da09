//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// image is what the Dockerfile of this project describes, without a container engine: directories in place of layers, an overlay of
// this machine, which has Go, in place of the golang image, and chroot in place of containers.
type image struct {
	t      *testing.T
	stages map[string]string // name → root
	root   string            // of the stage that is built
	dir    string            // WORKDIR
	goTag  string

	env            []string
	user, volume   string
	port, stop     string
	entry, command []string
}

// build carries out a Dockerfile. An instruction that it does not know is an error: then this test says nothing any more.
func (m *image) build(file string) {
	m.t.Helper()
	text := strings.ReplaceAll(read(m.t, file), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		do, known := map[string]func(string){
			"FROM": m.from, "WORKDIR": m.workdir, "COPY": m.copy, "RUN": m.run, "ENV": m.setenv,
			"USER": func(s string) { m.user = s }, "VOLUME": func(s string) { m.volume = s }, "EXPOSE": func(s string) { m.port = s },
			"STOPSIGNAL": func(s string) { m.stop = s }, "ENTRYPOINT": func(s string) { m.entry = m.words(s) }, "CMD": func(s string) { m.command = m.words(s) },
		}[name]
		if !known {
			m.t.Fatalf("%s: this test does not know %s", file, name)
		}
		do(strings.TrimSpace(rest))
	}
}

func (m *image) words(s string) (words []string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(s), &words); err != nil {
		m.t.Fatalf("%s: not the exec form, and there is no shell: %v", s, err)
	}
	return words
}

func (m *image) sh(script string, args ...string) {
	m.t.Helper()
	if out, err := exec.Command("sh", append([]string{"-ec", script}, args...)...).CombinedOutput(); err != nil {
		m.t.Fatalf("%s %q: %v\n%s", script, args, err, out)
	}
}

func (m *image) from(s string) {
	m.t.Helper()
	base, name, _ := strings.Cut(s, " AS ")
	dir, err := os.MkdirTemp("/var/tmp", "cmimage")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { os.RemoveAll(dir) })
	m.root, m.dir = filepath.Join(dir, "root"), "/"
	m.stages[name] = m.root
	tag, isGo := strings.CutPrefix(base, "golang:")
	switch {
	case isGo:
		m.goTag = tag
		m.sh(`cd "$0" && mkdir root upper work && mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root &&
			mount --bind /dev root/dev && mount -t proc proc root/proc`, dir)
		m.t.Cleanup(func() { exec.Command("umount", "-R", filepath.Join(dir, "root")).Run() })
	case base == "scratch":
		m.sh(`mkdir "$0"`, m.root)
	default:
		m.t.Fatalf("this test does not know the image %s", base)
	}
}

func (m *image) workdir(s string) {
	m.dir = s
	m.sh(`mkdir -p "$0"`, m.root+s)
}

// copy copies from the project, less what .dockerignore names, or from another stage.
func (m *image) copy(s string) {
	m.t.Helper()
	from, owner := "", "0:0"
	words := strings.Fields(s)
	for ; strings.HasPrefix(words[0], "--"); words = words[1:] {
		switch flag, value, _ := strings.Cut(words[0], "="); flag {
		case "--from":
			from = m.stages[value]
		case "--chown":
			owner = value
		default:
			m.t.Fatalf("this test does not know COPY %s", flag)
		}
	}
	target := words[len(words)-1]
	if !filepath.IsAbs(target) {
		target = filepath.Join(m.dir, target) + "/"
	}
	for _, source := range words[:len(words)-1] {
		switch {
		case from != "":
			m.sh(`case "$2" in */) mkdir -p "$2";; esac; cp -a "$0$1" "$2" && if test -d "$2" && test -f "$0$1"; then set -- "$1" "$2/$(basename "$1")" "$3"; fi; chown -R "$3" "$2"`,
				from, source, m.root+target, owner)
		case source == ".":
			var ignored []string
			for line := range strings.Lines(read(m.t, "../.dockerignore")) {
				ignored = append(ignored, "--exclude=./"+strings.TrimSpace(line))
			}
			m.sh(`to=$0; tar -C .. "$@" -c . | tar -C "$to" -x`, append([]string{m.root + target}, ignored...)...)
		default:
			m.sh(`cp "$0" "$1"`, filepath.Join("..", source), m.root+target)
		}
	}
}

func (m *image) run(s string) {
	m.t.Helper()
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOPROXY=" + os.Getenv("GOPROXY")}
	cmd := exec.Command("chroot", m.root, "sh", "-c", "cd "+m.dir+" && "+s)
	cmd.Env = slices.DeleteFunc(env, func(e string) bool { return strings.HasSuffix(e, "=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("RUN %s: %v\n%s", s, err, out)
	}
}

func (m *image) setenv(s string) {
	m.env = append(m.env, strings.Fields(s)...)
}

// container is how the image runs as a process without a network but its own: as its user, with its environment, and nothing of this
// machine, not even /proc and /dev.
func (m *image) container(args ...string) *exec.Cmd {
	if len(args) == 0 {
		args = m.command
	}
	line := append([]string{"-n", "sh", "-c", `ip link set lo up && exec chroot --userspec="$0" --groups= "$@"`, m.user, m.root}, m.entry...)
	cmd := exec.Command("unshare", append(line, args...)...)
	cmd.Env = m.env
	return cmd
}

// There is no container engine where this runs. What the Dockerfile says is carried out by other means: its RUN lines as they stand,
// and its image, which holds three files, as its user. The broker in it becomes ready, serves its operator, stops at the signal and
// finds its data again.
func TestImage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts and chroot")
	}
	if os.Getenv("CLAUDEMESH_E2E_BIN") == "" {
		alone(t, "--mount")
		return
	}
	m := &image{t: t, stages: map[string]string{}, env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}}
	m.build("../Dockerfile")
	if mod := read(t, "../go.mod"); !regexp.MustCompile(`(?m)^go ` + regexp.QuoteMeta(m.goTag)).MatchString(mod) {
		t.Errorf("the image is built with Go %s, go.mod wants another", m.goTag)
	}
	if uid, _, _ := strings.Cut(m.user, ":"); uid == "" || uid == "0" || m.stop != "SIGTERM" {
		t.Errorf("runs as %q, is stopped by %q", m.user, m.stop)
	}
	var files []string
	filepath.WalkDir(m.root, func(path string, d os.DirEntry, err error) error {
		if !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, m.root))
		}
		return err
	})
	if want := []string{"/claudemesh", "/etc/ssl/certs/ca-certificates.crt"}; !slices.Equal(files, want) {
		t.Errorf("holds %q, want %q", files, want)
	}

	token := ""
	for range 2 { // and again, with the same volume
		p := spawnCommand(t, m.env, m.container())
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("container:\n%s", p.log)
			}
		})
		curl := func(path string) string {
			out, _ := exec.Command("nsenter", "-t", fmt.Sprint(p.cmd.Process.Pid), "-n", "curl", "-s", "http://127.0.0.1:"+m.port+path).Output()
			return string(out)
		}
		ready := func() bool { return strings.Contains(curl("/health/ready"), `"ok":true`) }
		eventually(t, "the broker in the image is ready", ready)
		var st syscall.Stat_t
		if err := syscall.Stat(fmt.Sprintf("/proc/%d", p.cmd.Process.Pid), &st); err != nil || st.Uid == 0 {
			t.Errorf("runs as %d, %v", st.Uid, err)
		}
		if out, err := m.container("broker", "status", "--data", m.volume).CombinedOutput(); err != nil || !strings.Contains(string(out), "connections") {
			t.Errorf("broker status: %v\n%s", err, out)
		}
		got := read(t, filepath.Join(m.root, m.volume, "admin-token"))
		if token == "" {
			token = got
		}
		if got != token {
			t.Error("the second start made a token of its own")
		}
		p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("stopped with %d:\n%s", code, p.log)
		}
	}
}
