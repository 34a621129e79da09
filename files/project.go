package files

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/protocol"
)

// FromProject opens a file that an agent wants to send. It must lie in the directory that the agent works in, without a link on the
// way out, and be nothing that people keep to themselves: no hidden file, none that git ignores, none whose name says that it holds
// a secret. The user may send any file with the command line.
func FromProject(ctx context.Context, project, name string) (*os.File, error) {
	rel, err := within(project, name)
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(rel); err != nil {
		return nil, err
	}
	if err := checkIgnored(ctx, project, rel); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(project)
	if err != nil {
		return nil, cannotRead(project, err)
	}
	defer root.Close()
	before, err := root.Lstat(rel)
	if err != nil {
		return nil, inProject(name, err)
	}
	if err := checkSource(filepath.Join(project, rel), before); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(rel, os.O_RDONLY|nonBlocking, 0)
	if err != nil {
		return nil, inProject(name, err)
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(before, now) {
		err = protocol.Refuse(protocol.CodeInvalid, "%s was replaced while it was opened", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// inProject says why a path cannot be opened. A link that leads out of the project is such a reason.
func inProject(name string, err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok && strings.Contains(pe.Err.Error(), "escapes") {
		return private(name, "it lies outside of the project")
	}
	return cannotRead(name, err)
}

func private(name, why string) *protocol.Error {
	return protocol.Refuse(protocol.CodeForbidden, "%s is not sent: %s", name, why).
		WithHint("your user may send it: claudemesh send NAME --file %s", name)
}

// within returns the path below the project.
func within(project, name string) (string, error) {
	rel := name
	if filepath.IsAbs(name) {
		var err error
		if rel, err = filepath.Rel(project, name); err != nil {
			return "", private(name, "it lies outside of the project")
		}
	}
	if rel = filepath.Clean(rel); !filepath.IsLocal(rel) || strings.ContainsRune(rel, 0) {
		return "", private(name, "it lies outside of the project")
	}
	return rel, nil
}

// secretNames are patterns of names, in lower case, that say what is inside.
var secretNames = []string{
	"id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc",
	"*.gpg", "*.age", "*.ovpn", "*.tfstate*", "*.tfvars", "credentials*", "secret*", "*secrets*", "*password*", "*token*.txt", "*.env", "*.env.*",
	"service-account*.json", "kubeconfig*", "htpasswd*", "*.mobileprovision",
}

func checkPrivate(rel string) error {
	for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		if strings.HasPrefix(part, ".") {
			return private(rel, "it is hidden")
		}
	}
	for part := range strings.SplitSeq(strings.ToLower(filepath.ToSlash(rel)), "/") {
		for _, pattern := range secretNames {
			if ok, _ := path.Match(pattern, part); ok {
				return private(rel, "its name says that it may hold a secret")
			}
		}
	}
	return nil
}

// gitPatience is how long git may take to say whether it ignores a file.
const gitPatience = 5 * time.Second

// checkIgnored asks git where the file is in a repository, which may lie within the project. Where git cannot be asked nobody knows, and the file is not sent.
func checkIgnored(ctx context.Context, project, rel string) error {
	dir, base := filepath.Split(filepath.Join(project, rel))
	if !inRepository(filepath.Clean(dir)) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, gitPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "-c", "core.fsmonitor=false", "-C", dir, "check-ignore", "--quiet", "--", "./"+base)
	err := cmd.Run()
	exit, ran := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return private(rel, "git ignores it")
	case ran && exit.ExitCode() == 1:
		return nil
	}
	return private(rel, "git does not say whether it is ignored")
}

func inRepository(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}
