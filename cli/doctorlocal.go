package cli

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

	"github.com/claudemesh/claudemesh/claude"
	"github.com/claudemesh/claudemesh/daemon/config"
	"github.com/claudemesh/claudemesh/daemon/table"
	"github.com/claudemesh/claudemesh/localsocket"
	"github.com/claudemesh/claudemesh/service"
	"github.com/claudemesh/claudemesh/store"
)

// binary checks that a person, a hook and Claude Code would all start this executable.
func (e *examination) binary() {
	exe, err := service.Executable()
	if err != nil {
		e.fails("binary", "install claudemesh again", err)
		return
	}
	b := thisBuild()
	found, err := exec.LookPath("claudemesh")
	switch {
	case err != nil:
		e.warn("binary", "add "+filepath.Dir(exe)+" to PATH", "%s (%s) is not on the PATH: Claude Code and its hooks start claudemesh by name", exe, b.Version)
	case !sameFile(found, exe):
		e.warn("binary", "remove one of the two", "this is %s (%s), but the PATH finds %s first", exe, b.Version, found)
	default:
		e.ok("binary", "%s, version %s", exe, b.Version)
	}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// home checks the directory before anything opens it, because opening closes it to others.
func (e *examination) home() (config.Home, bool) {
	dir, err := config.DefaultDir()
	if err != nil {
		e.fails("home", "set HOME", err)
		return config.Home{}, false
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e.homeToBe(dir)
		return config.Home{}, false
	}
	if err != nil {
		e.fails("home", "look at the modes of the directories above it", err)
		return config.Home{}, false
	}
	if err := config.CheckHomeOwner(dir); err != nil {
		e.fails("home", "", err)
		return config.Home{}, false
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		e.problem("home", "chmod 700 "+dir, "others may enter %s (mode %o), which has your keys; nothing in it was looked at", dir, info.Mode().Perm()).
			by(func(context.Context) error { return os.Chmod(dir, 0o700) })
		return config.Home{}, false
	}
	home, err := config.OpenHome(dir)
	if err != nil {
		e.fails("home", "check the directory", err)
		return config.Home{}, false
	}
	if foreign, err := home.ForeignFiles(); err == nil && len(foreign) > 0 {
		e.problem("home", "sudo chown -R "+strconv.Itoa(os.Geteuid())+" "+dir, "another user owns %s: the daemon cannot use what is not yours", listAnd(foreign))
		return home, true
	}
	if err := writable(dir); err != nil {
		e.problem("home", "mount it read-write, or move it with "+config.EnvDir, "%s cannot be written: %s", dir, err)
		return home, true
	}
	e.ok("home", "%s, closed to others", dir)
	return home, true
}

// homeToBe judges whether a directory that does not exist yet can be made.
func (e *examination) homeToBe(dir string) {
	above := dir
	for {
		above = filepath.Dir(above)
		if info, err := os.Stat(above); err == nil {
			if !info.IsDir() {
				e.problem("home", "move it with "+config.EnvDir, "%s cannot be made: %s is a file", dir, above)
				return
			}
			break
		}
		if above == filepath.Dir(above) {
			break
		}
	}
	if err := writable(above); err != nil {
		e.problem("home", "move it with "+config.EnvDir, "%s does not exist, and cannot be made: %s: %s", dir, above, err)
		return
	}
	e.ok("home", "%s does not exist yet: no mesh was made or joined", dir)
}

// socket tries whether a daemon could listen here, where none does.
func (e *examination) socket(home config.Home) {
	path := filepath.Join(home.Dir(), "doctor.sock") // not the daemon's: one may start at this moment
	ln, err := localsocket.Listen(path, func(uint32, error) {})
	if err == nil {
		err = errors.Join(ln.Close(), ln.Remove())
	}
	if err != nil {
		e.problem("socket", "a directory that this user may write to: set XDG_RUNTIME_DIR or "+config.EnvDir, "a daemon could not listen: %s", err)
	}
}

func (e *examination) config(home config.Home) *config.Config {
	cfg, err := home.Load()
	if err != nil {
		e.fails("config", "mend the file, or put a backup in its place", err)
		return &config.Config{}
	}
	words := plural(len(cfg.Meshes), "mesh")
	if len(cfg.Meshes) != 1 {
		words = fmt.Sprintf("%d meshes", len(cfg.Meshes))
	}
	if n := len(cfg.Originals); n > 0 {
		words += fmt.Sprintf(", and %d of an original claudemesh, left alone", n)
	}
	e.ok("config", "%s", words)
	return cfg
}

// keys checks the files that hold secrets.
func (e *examination) keys(home config.Home) {
	var open []string
	entries, err := os.ReadDir(home.Dir())
	if err != nil {
		e.fails("keys", "check the directory", err)
		return
	}
	owners := 0
	for _, d := range entries {
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(d.Name(), "owner-") && strings.HasSuffix(d.Name(), ".key") {
			owners++
		}
		if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			open = append(open, filepath.Join(home.Dir(), d.Name()))
		}
	}
	if len(open) > 0 {
		e.problem("keys", "chmod 600 "+strings.Join(open, " "), "others may read %s", listAnd(open)).by(func(context.Context) error {
			var all error
			for _, path := range open {
				all = errors.Join(all, os.Chmod(path, 0o600))
			}
			return all
		})
		return
	}
	e.ok("keys", "readable by you alone; %s here", plural(owners, "owner key"))
	if seeds, err := home.RecoverySeeds(); err == nil && len(seeds) > 0 {
		e.warn("recovery", "copy it to a place that is offline, then remove the file", "a recovery seed that could not be shown lies in %s", listAnd(seeds))
	}
}

// store reads the whole store, which no daemon has open.
func (e *examination) store(home config.Home) {
	switch err := table.Check(home); {
	case errors.Is(err, fs.ErrNotExist):
		e.ok("store", "none yet")
	case errors.Is(err, store.ErrLocked):
		e.problem("store", "claudemesh daemon logs, then end that process", "a process that does not answer has %s open", home.DBFile())
	case err != nil:
		e.fails("store", "keep a copy of "+home.DBFile()+", then move it away: a new one is made, with no messages in it", err)
	default:
		e.ok("store", "%s is sound", home.DBFile())
	}
}

// claude checks the registration with Claude Code.
func (e *examination) claude() {
	user, err := config.UserDir()
	if err != nil {
		return // said under home
	}
	_, missing := exec.LookPath("claude")
	st := claude.Inspect(claude.Options{Paths: claude.FindPaths(user, os.Getenv("CLAUDE_CONFIG_DIR"))})
	switch {
	case len(st.Problems) > 0:
		e.warn("claude code", "mend the file: claudemesh leaves it alone until it parses", "%s", strings.Join(st.Problems, "; "))
	case st.Server == "" && missing != nil:
		e.ok("claude code", "not installed here")
	case st.Server == "":
		e.warn("claude code", "claudemesh install", "claudemesh is not registered")
	case len(st.Hooks) > 0 && len(st.Missing) > 0:
		e.warn("claude code", "claudemesh install", "hooks are missing for %s", listAnd(st.Missing))
	default:
		if _, err := exec.LookPath(st.Server); err != nil {
			e.problem("claude code", "claudemesh install", "it is to start %s, which is not there", st.Server)
			return
		}
		e.ok("claude code", "starts %s; %s", st.Server, plural(len(st.Hooks), "hook"))
	}
}
