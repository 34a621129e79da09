package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/claudemesh/claudemesh/protocol"
)

// EnvOtherHome lets verbs work in a home that belongs to another user, when it is 1. The flag --allow-other-home sets it.
const EnvOtherHome = "CLAUDEMESH_ALLOW_OTHER_HOME"

// CheckHomeOwner is the first thing that OpenHome does. It changes nothing.
func CheckHomeOwner(dir string) error { return checkHomeOwner(dir, os.Geteuid()) }

// checkHomeOwner refuses a home that belongs to another user than uid, and one that would be made among another user's files:
// what root leaves in it, its user cannot open any more.
func checkHomeOwner(dir string, uid int) error {
	at, owner, known := ownerOf(dir)
	switch {
	case !known || owner == uid || os.Getenv(EnvOtherHome) == "1":
		return nil
	case at == dir:
		return protocol.Refuse(protocol.CodeForbidden, "%s belongs to %s, and you are %s", dir, userName(owner), userName(uid)).
			WithHint("%s", otherHomeHint(dir, owner, uid))
	case owner == 0: // the system's: /tmp, a volume
		return nil
	}
	return protocol.Refuse(protocol.CodeForbidden, "%s is not there yet, %s belongs to %s, and you are %s", dir, at, userName(owner), userName(uid)).
		WithHint("%s", otherHomeHint(dir, owner, uid))
}

// CheckDataOwner refuses a directory for data that belongs to another user than this one, root excepted: a volume that the
// system provides is root's. A directory that is not there yet goes by the one that it would be made in.
func CheckDataOwner(dir string) error {
	if _, owner, known := ownerOf(dir); known && owner == 0 && os.Geteuid() != 0 {
		return nil
	}
	return checkHomeOwner(dir, os.Geteuid())
}

func otherHomeHint(dir string, owner, uid int) string {
	switch {
	case uid == 0:
		return "run it as that user: sudo -u " + login(owner, "'#%d'") + " -H claudemesh …; or in root's own home: sudo -H claudemesh …; " +
			"--allow-other-home if you mean " + dir
	case owner == 0 && liesWith(dir, uid):
		return giveBack(dir, uid) + " makes it yours"
	}
	return "point " + EnvDir + " at a directory of your own"
}

// DeniedHint says whose a file is that could not be used, and how to get on; "" for other errors than permission denied, and
// where the owner is not to blame.
func DeniedHint(err error) string {
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	at, owner, known := ownerOf(pathOf(err))
	uid := os.Geteuid()
	switch {
	case !known || at == "" || owner == uid:
		return ""
	case owner == 0 && liesWith(at, uid):
		return at + " belongs to root, perhaps since a claudemesh under sudo: " + giveBack(at, uid)
	}
	return at + " belongs to " + userName(owner)
}

// liesWith tells whether a file lies in a directory of the user's: then it is not the system's, and may be given to him.
func liesWith(path string, uid int) bool {
	at, owner, known := ownerOf(filepath.Dir(path))
	return known && owner == uid && at == filepath.Dir(path)
}

func giveBack(path string, uid int) string { return "sudo chown -R " + login(uid, "%d") + " " + path }

// pathOf is the file that an error of the system is about.
func pathOf(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Path
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.New
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Addr != nil {
		return e.Addr.String()
	}
	return ""
}

// ForeignFiles lists what in the home belongs to another user: a daemon cannot open it, or not replace it.
func (h Home) ForeignFiles() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, err
	}
	var foreign []string
	for _, e := range entries {
		path := filepath.Join(h.dir, e.Name())
		if at, owner, known := ownerOf(path); known && at == path && owner != os.Geteuid() {
			foreign = append(foreign, path)
		}
	}
	return foreign, nil
}

// ownerOf is who owns the file or, where it is not there or not to be seen, the nearest directory above it that is.
func ownerOf(path string) (at string, uid int, known bool) {
	for at = path; at != ""; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err == nil {
			uid, known = uidOf(info)
			return at, uid, known
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	return "", 0, false
}

// userName is how people call a user.
func userName(uid int) string { return login(uid, "user %d") }

// login is a user's name, or his number as the format writes it.
func login(uid int, format string) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf(format, uid)
}
