//go:build unix

package service

import (
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The property of install-service and its inverse: whatever was done in between and in whatever order, an uninstall leaves the
// user's directory as it would be if there had never been a service, and an install that fails changes nothing.

// owner is the user of a machine: what he has, and what is ours.
type owner struct {
	*machine
	system  string
	files   map[string]string // what there is without us
	lingers bool
	count   int
}

func (o *owner) service(t *rapid.T) *Service {
	return Daemon(o.host, rapid.SampledFrom([]string{"/opt/claude mesh/claudemesh", "/usr/bin/claudemesh"}).Draw(t, "executable"), o.home())
}

func (o *owner) options(t *rapid.T) InstallOptions {
	opts := InstallOptions{Linger: o.system == "linux" && rapid.Bool().Draw(t, "linger")}
	if rapid.Bool().Draw(t, "environment") {
		opts.Environment = Environment{"HTTPS_PROXY": rapid.SampledFrom([]string{"http://a", "http://b"}).Draw(t, "proxy")}
	}
	return opts
}

// tree is everything in the user's directory with its content.
func (o *owner) tree(t *rapid.T) map[string]string {
	all := map[string]string{}
	ok(t, filepath.WalkDir(o.host.Home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == o.host.Home {
			return err
		}
		rel, _ := filepath.Rel(o.host.Home, path)
		all[rel] = "directory"
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			all[rel], err = os.Readlink(path)
		case !d.IsDir():
			var b []byte
			b, err = os.ReadFile(path)
			all[rel] = string(b)
		}
		return err
	}))
	return all
}

func ok(t interface{ Fatal(...any) }, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (o *owner) install(t *rapid.T) {
	if _, err := o.service(t).Install(o.t.Context(), o.options(t)); err != nil && !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
}

// installFails has a verb of the manager fail. Then all is as before.
func (o *owner) installFails(t *rapid.T) {
	verbs := map[string][]string{"linux": {"enable", "daemon-reload", "start restart", "enable-linger"}, "darwin": {"enable", "bootstrap"}}
	before, lingered := o.tree(t), o.host.Lingers()
	o.set("fail", rapid.SampledFrom(verbs[o.system]).Draw(t, "fails"))
	_, err := o.service(t).Install(o.t.Context(), o.options(t))
	o.set("fail", "")
	if err == nil {
		return // it was not needed
	}
	after := o.tree(t)
	for path := range after {
		if strings.Contains(path, ".changed-") { // what he changed by hand is kept whatever comes
			delete(after, path)
		}
	}
	for path := range before {
		if strings.Contains(path, ".changed-") {
			delete(before, path)
		}
	}
	if !maps.Equal(before, after) || lingered != o.host.Lingers() {
		t.Fatalf("%v: it is\n%v\nand was\n%v", err, after, before)
	}
	o.keep(t)
}

func (o *owner) uninstall(t *rapid.T) {
	_, err := o.service(t).Uninstall(o.t.Context())
	if err != nil && !errors.Is(err, ErrNotInstalled) && !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
	o.keep(t)
	if now := o.tree(t); !maps.Equal(now, o.files) {
		t.Fatalf("it is\n%v\nwithout us it would be\n%v", now, o.files)
	}
	if o.host.Lingers() != o.lingers {
		t.Fatalf("lingers: %v", !o.lingers)
	}
}

// keep counts copies of what he changed by hand as his own, with the directories that they are in.
func (o *owner) keep(t *rapid.T) {
	for path, text := range o.tree(t) {
		if strings.Contains(path, ".changed-") {
			o.files[path] = text
			o.count++
			o.parents(path)
		}
	}
}

func (o *owner) parents(path string) {
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		o.files[dir] = "directory"
	}
}

// changes edits our file by hand.
func (o *owner) changes(t *rapid.T) {
	path := o.service(t).Path()
	b, err := os.ReadFile(path)
	if err == nil && strings.Contains(string(b), "install-service wrote this file") {
		line := map[string]string{"linux": "Nice=5\n", "darwin": "<!-- mine -->\n"}[o.system]
		ok(t, os.WriteFile(path, append([]byte(line), b...), 0o600))
	}
}

// adds puts a file of his own beside ours.
func (o *owner) adds(t *rapid.T) {
	rel := rapid.SampledFrom([]string{
		".config/systemd/user/mine.service", ".config/systemd/user/claudemesh-daemon.service.d/20-mine.conf", ".config/other", "Library/LaunchAgents/mine.plist",
	}).Draw(t, "file")
	path := filepath.Join(o.host.Home, rel)
	ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
	ok(t, os.WriteFile(path, []byte("mine\n"), 0o600))
	o.files[rel] = "mine\n"
	o.parents(rel)
}

// links puts a link that leads nowhere in the place of our file, where there is none.
func (o *owner) links(t *rapid.T) {
	path := o.service(t).Path()
	if _, err := os.Lstat(path); err == nil {
		return
	}
	rel, _ := filepath.Rel(o.host.Home, path)
	ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
	ok(t, os.Symlink("/nonexistent/unit", path))
	o.files[rel] = "/nonexistent/unit"
	o.parents(rel)
}

func (o *owner) unlinks(t *rapid.T) {
	path := o.service(t).Path()
	rel, _ := filepath.Rel(o.host.Home, path)
	if o.files[rel] == "/nonexistent/unit" {
		ok(t, os.Remove(path))
		delete(o.files, rel)
	}
}

// makes a directory that is not there, empty.
func (o *owner) makes(t *rapid.T) {
	rel := rapid.SampledFrom([]string{".config", ".config/systemd/user", ".config/systemd/user/claudemesh-daemon.service.d", "Library/LaunchAgents"}).Draw(t, "directory")
	path := filepath.Join(o.host.Home, rel)
	if _, err := os.Lstat(path); err == nil {
		return
	}
	ok(t, os.MkdirAll(path, 0o700))
	o.files[rel] = "directory"
	o.parents(rel)
}

func TestServiceTakesBackExactlyItsOwn(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		ok(t, f.Value.Set("8")) // each step starts processes
	}
	rapid.Check(t, func(rt *rapid.T) {
		system := "linux" // launchd would run agents
		m := newMachine(t, system)
		o := &owner{machine: m, system: system, files: map[string]string{}, lingers: rapid.Bool().Draw(rt, "lingers")}
		if o.lingers {
			ok(rt, os.WriteFile(m.host.Root+"/var/lib/systemd/linger/alice", nil, 0o600))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"install": o.install, "install again": o.install, "install fails": o.installFails, "uninstall": o.uninstall,
			"change ours": o.changes, "add a file": o.adds, "make a directory": o.makes, "link": o.links, "unlink": o.unlinks,
		})
		o.uninstall(rt)
	})
}
